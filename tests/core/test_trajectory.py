"""Trajectories survive the disk exactly; damaged files are named."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from empg_gym.errors import DataError
from empg_gym.trajectory import Step, StopReason, Trajectory, read_trajectories, write_trajectories

floats = hnp.arrays(np.float32, st.integers(0, 20), elements=st.floats(width=32, allow_nan=False))
ids = hnp.arrays(np.int32, st.integers(0, 20), elements=st.integers(0, 2**31 - 1))
steps = st.builds(
    Step,
    observation=st.text(),
    response=st.text(),
    thought=st.text(),
    action=st.text(),
    valid_action=st.booleans(),
    reward=st.floats(allow_nan=False, allow_infinity=False),
    admissible_actions=st.lists(st.text()).map(tuple),
    prompt_token_ids=st.none() | ids,
    response_token_ids=st.none() | ids,
    logprobs=st.none() | floats,
    entropies=st.none() | floats,
    entropy=st.none() | st.floats(0, 10),
    diagnostics=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False)),
)


def make(step_list=(), **fields) -> Trajectory:
    known = {"env_id": "E", "env_version": "1", "data_fingerprint": "f", "split": "train", "task": "t", "instruction": "i"}
    return Trajectory(**{**known, "steps": list(step_list), "stop_reason": StopReason.TERMINATED, **fields})


@given(st.lists(steps, max_size=4), st.text(st.characters(exclude_categories=[])))
def test_a_round_trip_is_exact(step_list, error):
    line = make(step_list, error=error).to_json()
    assert "\n" not in line
    back = Trajectory.from_json(line)
    assert back.to_json() == line
    assert back.stop_reason is StopReason.TERMINATED
    for before, after in zip(step_list, back.steps, strict=True):
        assert after.observation == before.observation
        assert after.admissible_actions == before.admissible_actions
        if before.logprobs is not None:
            assert after.logprobs.dtype == np.float32
            np.testing.assert_array_equal(after.logprobs, before.logprobs)


def test_a_file_is_appended_to_and_read_back(tmp_path):
    path = tmp_path / "t.jsonl"
    assert write_trajectories(path, [make(task="a"), make(task="b")]) == 2
    write_trajectories(path, [make(task="c")])
    assert [trajectory.task for trajectory in read_trajectories(path)] == ["a", "b", "c"]


def test_a_path_may_be_a_text(tmp_path):
    path = str(tmp_path / "t.jsonl")
    assert write_trajectories(path, [make(task="a")]) == 1
    assert [trajectory.task for trajectory in read_trajectories(path)] == ["a"]
    with pytest.raises(DataError, match="no trajectories at none"):
        next(read_trajectories("none.jsonl"))


def test_a_lone_surrogate_survives_the_file(tmp_path):
    write_trajectories(tmp_path / "t.jsonl", [make(error="\ud800")])
    assert next(read_trajectories(tmp_path / "t.jsonl")).error == "\ud800"


def test_a_line_cut_by_a_kill_is_skipped(tmp_path):
    path = tmp_path / "t.jsonl"
    write_trajectories(path, [make(task="a")])
    path.write_text(path.read_text() + make(task="b").to_json()[:50])
    assert [trajectory.task for trajectory in read_trajectories(path)] == ["a"]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("{", "not JSON"),
        ("[]", "format"),
        ('{"format": "empg-gym/trajectory", "version": 99}', "99"),
        ('{"format": "empg-gym/trajectory", "version": 1, "steps": [{"x": 1}]}', "damaged"),
        ('{"format": "empg-gym/trajectory", "version": 1, "steps": 3}', "damaged"),
    ],
)
def test_a_damaged_line_is_named(tmp_path, line, text):
    path = tmp_path / "t.jsonl"
    path.write_text(make().to_json() + "\n" + line + "\n")
    with pytest.raises(DataError, match="line 2") as caught:
        list(read_trajectories(path))
    assert text in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match="expected a JSON-lines file"):
        list(read_trajectories(tmp_path / "none.jsonl"))


def test_the_line_says_its_format():
    record = json.loads(make().to_json())
    assert (record["format"], record["version"]) == ("empg-gym/trajectory", 1)
