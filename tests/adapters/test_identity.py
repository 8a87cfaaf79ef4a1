"""The same episodes through every door that is installed here, and locally: observations, rewards and endings are equal."""

from __future__ import annotations

import json

import pytest

from benchmarks.identity import DOORS, RESULT, differences, is_installed
from benchmarks.identity.episodes import KWARGS, local_episodes

EPISODES = 10
"""Of each environment: 30 in all. The benchmark plays 1,000."""


@pytest.fixture(scope="module", params=KWARGS)
def played(request):
    return request.param, local_episodes(request.param, EPISODES)


def test_the_episodes_end_in_every_way(played):
    _, episodes = played
    assert len(episodes) == EPISODES and all(len(episode.entries) == len(episode.actions) + 1 for episode in episodes)
    assert any(episode.entries[-1][2] for episode in episodes) and all(any(episode.entries[-1][2:]) for episode in episodes)


@pytest.mark.parametrize("door", DOORS)
def test_episodes_are_equal(door, played):
    if not is_installed(door):
        pytest.skip(f"{door} is not installed here")
    assert differences(DOORS[door].play, *played) == []


def test_a_difference_is_found():
    episodes = local_episodes("alfworld", 4)

    def wrong(env_id, given):
        seen = [list(episode.entries) for episode in given]
        text, *rest = seen[3][2]
        seen[3][2] = (text + " ", *rest)
        del seen[1][-1]
        return seen

    tasks, cut = [episode.task.task for episode in episodes], len(episodes[1].entries) - 1
    found = differences(wrong, "alfworld", episodes)
    assert found == [f"alfworld, task {tasks[1]}, step {cut}", f"alfworld, task {tasks[3]}, step 2"]


def test_the_committed_result_has_equal_episodes_only():
    doors = json.loads(RESULT.read_text())["doors"]
    assert set(doors) == set(DOORS)
    for row in doors.values():
        environments = row["environments"].values()
        assert not any(item["differing"] for item in environments) and sum(item["episodes"] for item in environments) == 1000
