"""Run folders: killed, resumed, refused, torn, shared."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from empg_gym.agents import make_agent
from empg_gym.errors import ConfigError, DataError, OutputExistsError
from empg_gym.evaluation import evaluate
from empg_gym.evaluation.folder import RunFolder
from empg_gym.trajectory import read_trajectories
from tests.evaluation.agents import Watcher
from tests.toy import TOY_ID

SCRIPT = """
import sys
import tests.toy
from empg_gym.evaluation import evaluate
evaluate("Test/Doors-v0", "python:tests.evaluation.agents:SlowAgent", agent_options={"seconds": 0.05},
         episodes=40, repeats=2, concurrency=4, out=sys.argv[1])
"""


def lines(folder):
    path = folder / "trajectories.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def run(out, agent="random", **options):
    return evaluate(TOY_ID, agent, **{"episodes": 6, "repeats": 2, "out": out, **options})


def without_times(data):
    if isinstance(data, dict):
        return {name: without_times(value) for name, value in data.items() if "seconds" not in name}
    return data


def test_killed_twice_and_resumed(tmp_path):
    folder, root = tmp_path / "run", Path(__file__).parents[2]
    kept: list[str] = []
    for least in (5, 30):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(folder)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
        try:
            deadline = time.monotonic() + 300
            while lines(folder) < least and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.005)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        assert process.returncode == -signal.SIGKILL, "it should be killed midway"
        now = (folder / "trajectories.jsonl").read_text().splitlines()
        assert now[: len(kept)] == kept, "finished episodes stay as they were"
        kept = [line for line in now if line.endswith("}")]
        assert not (folder / "summary.json").exists()
    options = {"agent_options": {"seconds": 0.05}, "episodes": 40, "repeats": 2}
    summary = evaluate(TOY_ID, "python:tests.evaluation.agents:SlowAgent", concurrency=8, out=folder, **options)
    whole = evaluate(TOY_ID, "python:tests.evaluation.agents:SlowAgent", concurrency=40, out=tmp_path / "whole", **options)
    assert without_times(summary.data) == without_times(whole.data)
    keys = [(one.task, one.repeat) for one in read_trajectories(folder / "trajectories.jsonl")]
    assert len(keys) == len(set(keys)) == 80
    assert (folder / "trajectories.jsonl").read_text().splitlines()[: len(kept) - 1] == kept[:-1]


def test_an_episode_is_on_disk_as_soon_as_it_ends(tmp_path):
    class OnDisk(Watcher):
        def episode(self, record):
            super().episode(record)
            assert lines(tmp_path / "run") == self.seen

    watcher = OnDisk()
    run(tmp_path / "run", watch=watcher)
    assert watcher.seen == 12


def test_a_torn_line_is_run_again(tmp_path):
    first = run(tmp_path / "run")
    path = tmp_path / "run" / "trajectories.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    assert without_times(run(tmp_path / "run").data) == without_times(first.data)
    assert lines(tmp_path / "run") == 12 and path.read_bytes().endswith(b"}\n")


def test_a_finished_run_runs_no_episode(tmp_path):
    first = run(tmp_path / "run")
    before = (tmp_path / "run" / "trajectories.jsonl").read_bytes()
    again = run(tmp_path / "run", agent="random")
    assert without_times(again.data) == without_times(first.data)
    assert (tmp_path / "run" / "trajectories.jsonl").read_bytes() == before


def test_only_what_failed_is_run_again(tmp_path):
    marker = tmp_path / "marker"
    marker.touch()
    options = {"agent_options": {"marker": str(marker)}, "episodes": 30, "repeats": 1}
    first = run(tmp_path / "run", "python:tests.evaluation.agents:SlowAgent", retries=0, **options)
    failed = first.errors
    assert 0 < failed < 30
    good = [line for line in (tmp_path / "run" / "trajectories.jsonl").read_text().splitlines() if '"stop_reason":"error"' not in line]
    marker.unlink()
    second = run(tmp_path / "run", "python:tests.evaluation.agents:SlowAgent", retries=3, **options)
    assert second.errors == 0 and second.results[TOY_ID]["success_rate"] == 1.0
    now = (tmp_path / "run" / "trajectories.jsonl").read_text().splitlines()
    assert now[: len(good)] == good and len(now) == 30
    assert len(list(read_trajectories(tmp_path / "run" / "failures.jsonl"))) == failed


class _Killed(BaseException):
    """Simulates a kill."""


@pytest.mark.parametrize("writes", range(7))
def test_failures_are_moved_once_however_a_move_is_cut_off(tmp_path, monkeypatch, writes):
    folder, path = tmp_path / "run", "python:tests.evaluation.agents:SlowAgent"
    marker = tmp_path / "marker"
    marker.touch()
    options = {"agent_options": {"marker": str(marker)}, "episodes": 20, "repeats": 1}
    failed = run(folder, path, retries=0, **options).errors
    left = [writes]

    def counted(original):
        def write(self, *arguments, **keywords):
            if left[0] == 0:
                raise _Killed
            left[0] -= 1
            return original(self, *arguments, **keywords)

        return write

    with monkeypatch.context() as patch, pytest.raises(_Killed):
        patch.setattr(Path, "write_bytes", counted(Path.write_bytes))
        patch.setattr(Path, "replace", counted(Path.replace))
        run(folder, path, retries=0, **options)
    again = run(folder, path, retries=0, **options).errors
    assert 0 < again <= failed
    for errors in (failed, failed + again):
        assert len(list(read_trajectories(folder / "failures.jsonl"))) == errors
        assert len(set((folder / "trajectories.jsonl").read_text().splitlines())) == 20
        run(folder, path, retries=0, **options)


@pytest.mark.parametrize(
    "change, sign",
    [
        ({"repeats": 3}, "repeats was 2, is now 3"),
        ({"seed": 1}, "seed"),
        ({"agent": "expert"}, 'agent.name was "random", is now "expert"'),
        ({"env_kwargs": {"length": 2}}, "length"),
        ({"split": "train"}, "split"),
        ({"dialogue": "react"}, 'dialogue was "think-action", is now "react"'),
        ({"show_admissible": True}, "show_admissible"),
    ],
)
def test_another_configuration_is_refused(tmp_path, change, sign):
    run(tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(OutputExistsError, match=sign):
        run(tmp_path / "run", **change)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


@pytest.mark.parametrize(
    "tasks, expected",
    [
        (
            ["test-1", "test-2", "test-9"],
            'had 3 entries, now has 3 entries; the first difference is entry 3: was "test-3", is now "test-9"',
        ),
        (["test-1"], 'had 3 entries, now has 1 entry; the first difference is entry 2: was "test-2", is now nothing'),
        ([1, 2, 3, 4], 'had 3 entries, now has 4 entries; the first difference is entry 4: was nothing, is now "test-4"'),
    ],
)
def test_other_tasks_are_named(tmp_path, tasks, expected):
    run(tmp_path / "run", episodes=None, tasks=[1, 2, 3])
    with pytest.raises(OutputExistsError, match=re.escape(f"environments.{TOY_ID}.tasks {expected}; resume with")):
        run(tmp_path / "run", episodes=None, tasks=tasks)


def test_concurrency_retries_and_prices_may_change(tmp_path):
    run(tmp_path / "run")
    summary = run(tmp_path / "run", concurrency=3, retries=5, prices=(1.0, 1.0))
    assert summary.results[TOY_ID]["cost"] is not None


def test_the_folder_of_a_version_that_recorded_less_is_resumed(tmp_path):
    """The origin of data and options is extra; the arguments and the fingerprint identify what was played."""

    def play(**options):
        return evaluate("alfworld", "expert", tasks=[0], out=tmp_path / "run", env_kwargs={"size": "small"}, **options)

    play()
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    facts = config["environments"]["EMPG/ALFWorld-v0"]
    assert facts.pop("data") == "embedded world"
    path.write_text(json.dumps(config))
    assert play().data["complete"] is True and lines(tmp_path / "run") == 1
    for environments in (["alfworld"], {"EMPG/ALFWorld-v0": {**facts, "kwargs": {**facts["kwargs"], "data": "games"}}}):
        path.write_text(json.dumps({**config, "environments": environments}))
        with pytest.raises(OutputExistsError, match="environments"):
            play()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds no evaluation"):
        run(tmp_path)
    (tmp_path / "notes.txt").unlink()
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(DataError, match="can't be read"):
        run(tmp_path)


def test_a_damaged_line_is_named(tmp_path):
    run(tmp_path / "run")
    path = tmp_path / "run" / "trajectories.jsonl"
    text = path.read_text().splitlines(keepends=True)
    failed = json.dumps({**json.loads(text[0]), "stop_reason": "error", "error": "RuntimeError: no power"}) + "\n"
    path.write_text("".join([failed, *text[1:3], "{}\n", *text[4:]]))
    before = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    with pytest.raises(DataError, match="line 4"):
        run(tmp_path / "run")
    assert {file.name: file.read_bytes() for file in path.parent.iterdir()} == before, "nothing was written"


def test_one_process_writes_at_a_time(tmp_path):
    run(tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    folder.open(json.loads((tmp_path / "run" / "config.json").read_text()), lambda trajectory: True)
    try:
        with pytest.raises(OutputExistsError, match="another run is writing"):
            run(tmp_path / "run")
    finally:
        folder.close()
    run(tmp_path / "run")


class Stops:
    """Raises an error for the user to fix after some steps."""

    name, steps = "stops", 10

    def act(self, messages, *, tools=None):
        self.steps -= 1
        if self.steps < 0:
            raise ConfigError("the key was revoked")
        return "<think></think><action>open door 1</action>"


def test_an_interrupted_run_leaves_an_incomplete_summary(tmp_path):
    with pytest.raises(ConfigError, match="revoked"):
        run(tmp_path / "run", Stops(), concurrency=1, env_kwargs={"max_steps": 3})
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["complete"] is False and summary["results"][TOY_ID]["episodes"] == 3 == lines(tmp_path / "run")


def test_options_that_look_secret_are_not_written(tmp_path):
    agent = make_agent("random")
    run(tmp_path / "run", agent, agent_name="mine", agent_options={"api_key": "sk-1", "speed": 2})
    config = (tmp_path / "run" / "config.json").read_text()
    assert "sk-1" not in config and '"speed": 2' in config
