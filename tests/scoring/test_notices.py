"""Notices: limits and formats that spoiled more than 5 % of the episodes or of their responses."""

from __future__ import annotations

import pytest

from empg_gym.scoring.aggregate import aggregate
from empg_gym.scoring.notices import notices
from empg_gym.scoring.record import record_of
from empg_gym.trajectory import Step, StopReason, Trajectory
from tests.scoring.test_aggregate import record


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stop_reason": "row_tokens"}, "{} of 100 episodes ended because the model's context was full"),
        ({"stop_reason": "time_limit"}, "{} of 100 episodes ended at the time limit"),
        ({"cut": 10}, "{}0 of 1000 responses were cut at the limit"),
        ({"malformed": 10, "invalid": 10}, "{}0 of 1000 responses were not in the dialogue's format"),
        ({"invalid": 10}, "{}0 of 1000 actions could not be carried out"),
    ],
)
def test_a_notice_comes_above_five_percent(values, says):
    for count, noticed in ((5, False), (6, True)):
        records = [record(steps=10, **(values if index < count else {})) for index in range(100)]
        found = notices(records)
        assert [one.startswith(says.format(count)) for one in found] == [True] * noticed
        assert aggregate(records)["notices"] == found


def test_errors_and_no_episodes_give_no_notice():
    assert notices([]) == [] and notices([record(stop_reason="error", steps=3, malformed=3, invalid=3)]) == []


def test_cut_responses_are_counted():
    values = {"observation": "", "response": "", "thought": "", "action": "", "valid_action": True, "reward": 0.0}
    steps = [Step(**values, finish_reason=end) for end in ("length", "stop")]
    episode = Trajectory(env_id="E", env_version="1", data_fingerprint="", split="t", task="t", instruction="", steps=steps)
    episode.stop_reason = StopReason.TERMINATED
    assert record_of(episode).cut == 1
