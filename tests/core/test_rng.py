"""Streams of a seed never coincide, and are the same wherever they are opened."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.rng import Stream, stream


def first(seed, name, *key):
    return tuple(stream(seed, name, *key).integers(2**63, size=4).tolist())


@given(st.integers(0, 2**31), st.lists(st.integers(0, 5), min_size=2, max_size=2))
def test_no_two_streams_of_a_seed_coincide(seed, key):
    keys = set(itertools.product(*([[0, *key]] * 2)))
    opened = [(name, numbers[: name.value[1]]) for name in Stream for numbers in keys]
    drawn = {place: first(seed, place[0], *place[1]) for place in opened}
    assert len(set(drawn.values())) == len(drawn)


def test_the_numbers_of_the_streams_are_distinct():
    assert len({name.value[0] for name in Stream}) == len(Stream)
    assert all(name.value[0] > 0 for name in Stream)


def test_a_key_of_another_length_is_refused():
    with pytest.raises(ValueError, match="takes a key of 1 numbers"):
        stream(0, Stream.DEMONSTRATIONS)
    assert np.array_equal(np.random.default_rng([0, 3]).random(3), np.random.default_rng([0, 3, 0]).random(3)), "why keys have one length"
