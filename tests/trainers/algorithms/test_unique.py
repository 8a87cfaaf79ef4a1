"""Distinct steps of a batch."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.trainers.algorithms.unique import unique_steps


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40) | st.integers(0, 3), st.integers(0, 4)), max_size=20))
def test_against_sorted_sets(entries):
    trajectory, step = (torch.tensor([entry[axis] for entry in entries], dtype=torch.long) for axis in (0, 1))
    steps = unique_steps(trajectory, step)
    pairs = sorted(set(entries))
    assert list(zip(steps.trajectory.tolist(), steps.step.tolist(), strict=True)) == pairs
    assert steps.first.tolist() == [entries.index(pair) for pair in pairs]
    assert steps.origin.tolist() == [pairs.index(entry) for entry in entries]
    assert steps.next.tolist() == [pairs.index((i, t + 1)) if (i, t + 1) in pairs else -1 for i, t in pairs]
