"""Samples of episodes for the report."""

from __future__ import annotations

import pytest

from empg_gym.trainers.run.samples import sample
from empg_gym.trajectory import Trajectory


def batch(groups: int, repeats: int) -> list[Trajectory]:
    facts = {"env_id": "e", "env_version": "1", "data_fingerprint": "", "split": "train", "instruction": ""}
    return [Trajectory(**facts, task=f"t{group}", group=group, repeat=repeat) for repeat in range(repeats) for group in range(groups)]


@pytest.mark.parametrize(("number", "wanted"), [(0, 0), (1, 8), (8, 8), (9, 16), (100, 24)])
def test_training_samples_are_whole_groups(number, wanted):
    episodes = batch(3, 8)
    chosen = sample(episodes, number, kind="training", phase="rl", step=5)
    assert len(chosen) == wanted and {item.group for item in chosen} == set(range(wanted // 8))
    assert all(item.info == {"phase": "rl", "step": 5, "kind": "training"} for item in chosen)
    assert all(not item.info for item in episodes if item not in chosen)
    assert sample([], number, kind="training", phase="rl", step=5) == []


def test_evaluation_samples_are_the_first_tasks():
    chosen = sample(batch(6, 1), 4, kind="evaluation", phase="rl", step=0)
    assert [item.task for item in chosen] == ["t0", "t1", "t2", "t3"]
