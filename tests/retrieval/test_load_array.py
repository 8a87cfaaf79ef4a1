"""Arrays are mapped by many threads at once."""

import gc
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from empg_gym.retrieval.strings import load_array


@pytest.fixture
def switching():
    """Let threads take turns in the middle of allocations, as a garbage collection with finalizers does."""

    def pause(*_):
        time.sleep(0)

    threshold = gc.get_threshold()
    gc.set_threshold(20)
    gc.callbacks.append(pause)
    yield
    gc.callbacks.remove(pause)
    gc.set_threshold(*threshold)


def test_threads_load_at_once(tmp_path, switching):
    np.save(tmp_path / "numbers.npy", np.arange(5))

    def load(_):
        return [load_array(tmp_path, "numbers").sum() for _ in range(200)]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(load, range(8))) == [[10] * 200] * 8
