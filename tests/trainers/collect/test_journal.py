"""The journal: a killed run plays nothing twice and ends with the same numbers."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from empg_gym.agent_env import EpisodePoint
from empg_gym.errors import DataError
from empg_gym.rollout import EpisodeSpec
from empg_gym.trainers.collect.journal import Journal, is_recording_of
from empg_gym.trainers.run.metrics import MetricsWriter
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import Step, StopReason, Trajectory, read_trajectories
from tests.trainers.corridor import corridor_config

ROOT = Path(__file__).parents[3]
EPISODES = 16
"""Of a step."""
RARE = {"checkpoint_every": 100}


class Killed(BaseException):
    """Ends a run as a signal does: no handler of the trainer catches it."""


def config(folder, **run):
    rl = {"steps": 4, "tasks_per_step": 4, "repeats": 4, "minibatches": 2, "reward": "score", "optimizer": {"lr": 1e-3}}
    # No evaluation in between: a new best one would be a checkpoint.
    return corridor_config(str(folder), run=RARE | run, warmstart={"steps": 16}, rl=rl, eval={"every": None})


def train(wanted, *, resume=False):
    return Trainer(wanted, ProgressView(Console(file=io.StringIO())), resume=resume).run()


def metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if not name.startswith(("speed/", "seconds"))} for line in lines]


def weights(folder):
    return load_file(folder / "checkpoints" / "rl-000004" / "model.safetensors")


def assert_equal_runs(first, second):
    assert metrics(first) == metrics(second)
    expected, actual = weights(first), weights(second)
    assert all(torch.equal(expected[name], actual[name]) for name in expected)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("journal") / "whole"
    train(config(folder))
    assert all(line["loss/grad_norm"] > 0.1 for line in metrics(folder) if line["phase"] == "rl" and line["step"])
    return folder


@pytest.fixture
def played(monkeypatch):
    """The (step, group, repeat) of every episode that training plays."""
    found = []
    append = Journal.append

    def counted(self, trajectory):
        found.append((trajectory.info["step"], trajectory.group, trajectory.repeat))
        append(self, trajectory)

    monkeypatch.setattr(Journal, "append", counted)
    return found


def kill_after_episodes(monkeypatch, count):
    append, done = Journal.append, []

    def append_then_die(self, trajectory):
        append(self, trajectory)
        done.append(trajectory)
        if len(done) == count:
            raise Killed

    monkeypatch.setattr(Journal, "append", append_then_die)


@pytest.mark.parametrize("finished", [1, 7, 15])
def test_a_step_killed_in_its_rollout_plays_only_the_missing_episodes(whole, tmp_path, monkeypatch, request, finished):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        kill_after_episodes(patched, 2 * EPISODES + finished)
        with pytest.raises(Killed):
            train(config(folder))
    assert len(list(read_trajectories(Journal(folder).path(3)))) == finished
    played = request.getfixturevalue("played")
    train(config(folder), resume=True)
    assert [step for step, _, _ in played].count(3) == EPISODES - finished
    assert len(played) == len(set(played)) == EPISODES - finished + EPISODES, "steps 1 and 2 come from the journal"
    for expected, actual in zip(metrics(whole), metrics(folder), strict=True):
        assert expected.keys() == actual.keys()
        for name, value in expected.items():
            assert actual[name] == (value if isinstance(value, str) else pytest.approx(value, rel=1e-3, abs=1e-4)), name


def kill_after_update(monkeypatch, step):
    write = MetricsWriter.write

    def write_then_die(self, phase, number, seconds, values):
        write(self, phase, number, seconds, values)
        if (phase, number) == ("rl", step):
            raise Killed

    monkeypatch.setattr(MetricsWriter, "write", write_then_die)


def test_steps_after_the_checkpoint_are_updated_again_without_playing_anything(whole, tmp_path, monkeypatch, request):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        kill_after_update(patched, 3)
        with pytest.raises(Killed):
            train(config(folder))
    assert (folder / "checkpoints" / "latest").read_text().strip() == "rl-000000"
    with Journal(folder).path(3).open("a") as lines:
        lines.write('{"format":"empg-gym/traj')
    played = request.getfixturevalue("played")
    train(config(folder), resume=True)
    assert {step for step, _, _ in played} == {4}
    assert len(played) == EPISODES
    assert_equal_runs(whole, folder)


def test_files_are_dropped_after_a_checkpoint_unless_rollouts_are_kept(tmp_path):
    for name, run, expected in (
        ("dropped", {"checkpoint_every": 2}, []),
        ("kept", {"checkpoint_every": 2, "keep_rollouts": True}, [1, 2, 3, 4]),
    ):
        train(config(tmp_path / name, **run))
        assert sorted((tmp_path / name).glob("rollouts/*")) == [Journal(tmp_path / name).path(step) for step in expected]
    assert_equal_runs(tmp_path / "dropped", tmp_path / "kept")
    for step in (1, 2, 3, 4):
        episodes = list(read_trajectories(Journal(tmp_path / "kept").path(step)))
        assert {(item.group, item.repeat) for item in episodes} == {(group, repeat) for group in range(4) for repeat in range(4)}
        assert {(item.info["phase"], item.info["step"]) for item in episodes} == {("rl", step)}


def test_only_steps_after_the_checkpoint_are_journalled(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        kill_after_update(patched, 3)
        with pytest.raises(Killed):
            train(config(tmp_path / "run", checkpoint_every=2))
    assert list((tmp_path / "run" / "rollouts").iterdir()) == [Journal(tmp_path / "run").path(3)]


def test_a_fresh_run_removes_an_older_journal(whole, tmp_path, monkeypatch, played):
    """A run that was killed before its first checkpoint starts from the beginning, with none of the episodes found there."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config(folder).model_dump(mode="json")))
    stale = Journal(folder)
    stale.open(1)
    stale.append(episode(info={"phase": "rl", "step": 1}))
    stale.open(9)
    stale.close()
    played.clear()
    train(config(folder, keep_rollouts=True), resume=True)
    assert len(played) == 4 * EPISODES
    assert not stale.path(9).exists()
    assert_equal_runs(whole, folder)


def test_a_damaged_journal_is_named_with_its_line(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        kill_after_update(patched, 2)
        with pytest.raises(Killed):
            train(config(folder))
    path = Journal(folder).path(1)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:4], lines[4][:-30], *lines[5:]]) + "\n")
    with pytest.raises(DataError, match=r"step-000001\.jsonl, line 5: not a trajectory.*delete the line.*--resume") as caught:
        train(config(folder), resume=True)
    assert "\n" not in str(caught.value)


KILLED = """
import os, signal, sys
from pathlib import Path
from empg_gym.trainers.collect.journal import Journal
from tests.trainers.collect.test_journal import config, train

append, done = Journal.append, []

def append_then_die(self, trajectory):
    append(self, trajectory)
    done.append(trajectory)
    if len(done) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)

Journal.append = append_then_die
train(config(Path({folder!r})))
"""


@pytest.mark.slow
def test_a_run_that_was_killed_by_the_system_resumes(whole, tmp_path):
    folder = tmp_path / "run"
    code = KILLED.format(count=3 * EPISODES, folder=str(folder))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not (folder / "summary.json").exists()
    summary = train(config(folder), resume=True)
    expected = json.loads((whole / "summary.json").read_text())
    assert without_seconds(summary) == without_seconds(expected)
    assert_equal_runs(whole, folder)


def without_seconds(tree):
    if isinstance(tree, dict):
        return {name: without_seconds(value) for name, value in tree.items() if "seconds" not in name}
    return [without_seconds(item) for item in tree] if isinstance(tree, list | tuple) else tree


# The file


def episode(**fields):
    given = {"stop_reason": StopReason.TERMINATED} | fields
    return Trajectory(env_id="", env_version="", data_fingerprint="", split="", task="", instruction="", **given)


def test_a_failed_episode_is_tried_again_and_the_last_attempt_counts(tmp_path):
    journal = Journal(tmp_path)
    assert journal.open(2) == {}
    journal.append(episode(repeat=0))
    journal.append(episode(repeat=1, stop_reason=StopReason.ERROR))
    assert journal.open(2).keys() == {(0, 0)}
    journal.append(episode(repeat=1, score=0.5))
    assert journal.open(2)[0, 1].score == 0.5
    assert len(list(read_trajectories(journal.path(2)))) == 3
    journal.close()


def test_failed_episodes_are_played_again_when_a_run_resumes(tmp_path, monkeypatch, request):
    folder = tmp_path / "run"
    with monkeypatch.context() as patched:
        kill_after_update(patched, 1)
        with pytest.raises(Killed):
            train(config(folder))
    path = Journal(folder).path(1)
    episodes = list(read_trajectories(path))
    failed = episodes[5]
    failed.stop_reason, failed.error, failed.steps = StopReason.ERROR, "gone", []
    path.write_text("".join(item.to_json() + "\n" for item in episodes))
    played = request.getfixturevalue("played")
    train(config(folder, keep_rollouts=True), resume=True)
    assert [(group, repeat) for step, group, repeat in played if step == 1] == [(failed.group, failed.repeat)]
    assert len(list(read_trajectories(path))) == EPISODES + 1
    assert metrics(folder)[17]["train/failed_episodes"] == 0.0


def test_a_torn_last_line_is_cut(tmp_path):
    journal = Journal(tmp_path)
    journal.open(1)
    journal.append(episode(repeat=0))
    journal.close()
    with journal.path(1).open("a") as lines:
        lines.write(episode(repeat=1).to_json())
    assert journal.open(1).keys() == {(0, 0)}
    journal.append(episode(repeat=2))
    journal.close()
    assert [item.repeat for item in read_trajectories(journal.path(1))] == [0, 2]


def test_a_recording_counts_only_for_the_episode_that_begins_where_it_does():
    start, branch = episode(repeat=3), episode(repeat=3, parent=1, branch_step=2)
    parent = episode(repeat=1, steps=[Step(observation="", response="", thought="", action="", valid_action=True, reward=0.0)] * 2)
    from_start = EpisodeSpec(seed=0, repeat=3)
    from_parent = EpisodeSpec(seed=0, repeat=3, branch=EpisodePoint(None, parent, (), ""))
    from_grandparent = EpisodeSpec(seed=0, repeat=3, branch=EpisodePoint(None, parent, tuple(parent.steps), ""))
    assert [is_recording_of(start, spec) for spec in (from_start, from_parent)] == [True, False]
    assert [is_recording_of(branch, spec) for spec in (from_start, from_parent, from_grandparent)] == [False, True, False]


def test_lines_that_were_edited_or_belong_to_another_step_are_refused(tmp_path, caplog):
    journal = Journal(tmp_path)
    journal.open(1)
    journal.append(episode(repeat=0))
    journal.close()
    text = journal.path(1).read_text()
    journal.path(2).write_text(text)
    with pytest.raises(DataError, match=r"step-000002\.jsonl, line 1 was edited or written by another run or step.*delete the line"):
        journal.open(2)
    journal.path(1).write_text(text.replace('"score":0.0', '"score":1.0'))
    with pytest.raises(DataError, match="line 1 was edited"):
        journal.open(1)
    journal.path(1).write_text(episode(repeat=0).to_json() + "\n")
    assert journal.open(1).keys() == {(0, 0)} and "1 lines" in caplog.text
    journal.close()
