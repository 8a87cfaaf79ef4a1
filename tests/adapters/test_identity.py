"""The same episodes through every adapter that is installed here, and locally: observations, rewards and endings are equal."""

from __future__ import annotations

import json

import pytest

from benchmarks.adapter_identity import DOORS, KWARGS, RESULT, differences, installed, local_episodes

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
    if door not in installed():
        pytest.skip(f"{door} is not installed here")
    assert differences(door, *played) == []


def test_the_committed_result_has_equal_episodes_only():
    doors = json.loads(RESULT.read_text())["doors"]
    assert {"trl", "skyrl", "inspect", "verl"} <= set(doors) <= set(DOORS)
    for row in doors.values():
        environments = row["environments"].values()
        assert not any(item["differing"] for item in environments) and all(item["episodes"] >= 30 for item in environments)
