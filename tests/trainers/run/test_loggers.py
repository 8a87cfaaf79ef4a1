"""Loggers by name, with the real packages and without a network; a failing one never ends a run."""

import io
import json
from pathlib import Path
from typing import ClassVar

import pytest
from rich.console import Console

from empg_gym.errors import ConfigError, MissingDependencyError
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run import loggers
from empg_gym.trainers.run.loggers import LOGGERS, LoggerRun, bind_loggers
from empg_gym.trainers.run.metrics import MetricsWriter
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config

HERE = __name__


class Recorder:
    made: ClassVar[list["Recorder"]] = []

    def __init__(self, run, greeting):
        self.run, self.greeting, self.lines, self.closed = run, greeting, [], 0
        self.made.append(self)

    def log(self, phase, step, values):
        if (phase, step) == ("rl", 1):
            raise OSError("the disk is full")
        self.lines.append((phase, step, dict(values)))

    def close(self):
        self.closed += 1


def recorder(run, *, greeting="hello"):
    return Recorder(run, greeting)


def nothing(run):
    return None


def config(folder, *names, **sections):
    return corridor_config(
        str(folder), run={"loggers": list(names)}, warmstart={"steps": 2, "episodes": 4, "episodes_per_step": 4}, rl={"steps": 1},
        eval={"splits": []}, **sections,
    )  # fmt: skip


def test_an_own_logger_gets_every_step_and_its_failure_ends_nothing(tmp_path):
    Recorder.made.clear()
    shown = io.StringIO()
    settings = config(tmp_path / "run", {"name": f"{HERE}:recorder", "options": {"greeting": "hi"}})
    summary = Trainer(settings, ProgressView(Console(file=shown, width=300))).run()
    (logger,) = Recorder.made
    written = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [(phase, step) for phase, step, _ in logger.lines] == [("warmstart", 1), ("warmstart", 2), ("rl", 0)]
    assert logger.lines[0][2]["warmstart/loss"] == written[0]["warmstart/loss"]
    assert (logger.greeting, logger.run.resumed, logger.run.config["rl"]["steps"]) == ("hi", False, 1)
    assert summary["complete"] and len(written) == 4
    assert "recorder failed and gets no more metrics (OSError: the disk is full); metrics.jsonl has them all" in shown.getvalue()


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("wandbb", "unknown logger 'wandbb'; did you mean 'wandb'"),
        (f"{HERE}:nothing", r"must return an object with log\(phase, step, values\) and close\(\), not NoneType"),
        ({"name": f"{HERE}:recorder", "options": {"greting": 1}}, "no option 'greting'; did you mean 'greeting'"),
    ],
)
def test_a_logger_that_cannot_be_used_is_one_sentence(tmp_path, named, says):
    with pytest.raises(ConfigError, match=says):
        Trainer(config(tmp_path / "run", named), ProgressView(Console(file=io.StringIO())))


def test_a_missing_package_is_found_before_anything_is_written(tmp_path, monkeypatch):
    def missing(module, extra, purpose):
        raise MissingDependencyError(f"{purpose} needs {module}; run: pip install 'empg-gym[{extra}]'")

    monkeypatch.setattr(loggers, "require", missing)
    with pytest.raises(MissingDependencyError, match=r"run.loggers = \[\"wandb\"\] needs wandb; run: pip install 'empg-gym\[wandb\]'"):
        Trainer(config(tmp_path / "run", "wandb"), ProgressView(Console(file=io.StringIO())))
    assert not (tmp_path / "run").exists()


def test_what_is_always_written_may_be_named(tmp_path):
    assert bind_loggers(config(tmp_path, "jsonl", "tensorboard")) == []
    one = load_config(["tiny"], [f"run.loggers={HERE}:recorder"]), load_config(["tiny"], [f'run.loggers=["{HERE}:recorder"]'])
    assert [bound.name for item in one for bound in bind_loggers(item)] == [f"{HERE}:recorder"] * 2


def test_names_of_runs_differ_by_folder(tmp_path):
    names = {LoggerRun(folder=tmp_path / place / "demo", config={}, resumed=False).name for place in ("a", "b")}
    assert len(names) == 2 and all(name.startswith("demo-") for name in names)


def log_two_sessions(name, folder, options):
    """Log a run, and continue it as a resumed one does."""
    folder.mkdir(exist_ok=True)
    for resumed, steps in ((False, (1, 2)), (True, (2, 3))):
        made = LOGGERS.bind(name, options)(LoggerRun(folder=folder, config={"rl": {"steps": 3}}, resumed=resumed))
        with MetricsWriter(folder, loggers={name: made}, on_failure=pytest.fail) as writer:
            for step in steps:
                writer.write("rl", step, 1.0, {"train/success": step / 4})


def test_wandb_writes_offline(tmp_path, monkeypatch, capfd):
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    log_two_sessions("wandb", tmp_path / "run", {"project": "doors", "mode": "offline"})
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    marker = (tmp_path / "run" / "wandb" / "run-id").read_text().strip()
    assert {path.name for path in files} == {f"run-{marker}.wandb"}, "a resumed run continues under its id"
    content = b"".join(path.read_bytes() for path in files)
    assert b"rl/train/success" in content and b"rl/step" in content and b"doors" in content
    assert capfd.readouterr().out == ""


def test_trackio_writes_to_its_local_database(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio", reason="the extra trackio is not installed: it needs Pillow < 13, the test environment has 13")
    from trackio.sqlite_storage import SQLiteStorage

    log_two_sessions("trackio", tmp_path / "run", {"project": "doors"})
    run = LoggerRun(folder=tmp_path / "run", config={}, resumed=False)
    lines = SQLiteStorage.get_logs("doors", run.name)
    assert [(line["rl/step"], line["rl/train/success"]) for line in lines] == [(1, 0.25), (2, 0.5), (2, 0.5), (3, 0.75)]
    assert SQLiteStorage.get_runs("doors") == [run.name] and "Trackio project" not in capfd.readouterr().out
    assert Path(tmp_path / "trackio").is_dir()
