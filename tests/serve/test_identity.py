"""30 episodes through every door that can run here; `benchmarks.serve_identity` plays 1,000."""

from __future__ import annotations

import pytest

from benchmarks.serve_identity import DOORS, ENVIRONMENTS, differences, is_installed, local_episodes


@pytest.fixture(scope="module")
def episodes():
    return {env_id: local_episodes(env_id, 10) for env_id in ENVIRONMENTS}


@pytest.mark.parametrize("name", DOORS)
def test_a_door_changes_nothing(name, episodes):
    if not is_installed(name):
        pytest.skip(f"{DOORS[name][0]} is not installed here")
    for env_id in ENVIRONMENTS:
        assert sum(len(episode.actions) for episode in episodes[env_id]) > 20
        assert differences(DOORS[name][1], env_id, episodes[env_id]) == []


def test_a_difference_is_found(episodes):
    env_id = ENVIRONMENTS[0]

    def wrong(env_id, played):
        seen = [list(episode.entries) for episode in played]
        text, *rest = seen[3][2]
        seen[3][2] = (text + " ", *rest)
        return seen

    assert differences(wrong, env_id, episodes[env_id]) == [f"{env_id}, seed 3, step 2"]
