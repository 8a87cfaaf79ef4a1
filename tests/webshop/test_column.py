import pickle

import numpy as np
import pytest

from empg_gym.envs.webshop.column import Column
from empg_gym.errors import DataError


@pytest.mark.parametrize("numbers", [np.arange(-3, 4, dtype=np.int32), np.array([0.1, -2.5, 1e300]), np.zeros(0)])
def test_reads_what_was_written(tmp_path, numbers):
    np.save(tmp_path / "numbers.npy", numbers)
    column = Column(tmp_path, "numbers")
    assert list(column) == numbers.tolist() and len(column) == len(numbers)
    assert list(pickle.loads(pickle.dumps(column))) == numbers.tolist()
    for outside in (-1, len(numbers)):
        with pytest.raises(IndexError):
            column[outside]


def test_a_missing_column_is_named(tmp_path):
    with pytest.raises(DataError, match=r"prices\.npy is missing"):
        Column(tmp_path, "prices")


def test_no_file_stays_open(tmp_path):
    np.save(tmp_path / "numbers.npy", np.ones(3))
    column = Column(tmp_path, "numbers")
    again = Column(tmp_path, "numbers")
    descriptor = column._file
    del column
    assert Column(tmp_path, "numbers")._file == descriptor, "the first one's number is free again"
    assert again[2] == 1.0
