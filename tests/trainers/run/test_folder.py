"""Run folders: where a run may start, where it resumes, and how a damaged one is reported."""

import io
import json
import shutil

import pytest
import torch
from rich.console import Console

from empg_gym.errors import ConfigError, DataError, OutputExistsError
from empg_gym.trainers.run.folder import find_checkpoint, is_finished, lock_run_folder, reset_run_files
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config


def short_config(folder, **sections):
    return corridor_config(str(folder), warmstart={"steps": 2}, rl={"steps": 1}, eval={"tasks": 2, "every": None}, **sections)


def train(config):
    return Trainer(config, ProgressView(Console(file=io.StringIO())), resume=True).run()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    train(short_config(folder))
    return folder


@pytest.fixture
def run(whole, tmp_path):
    """A finished run, to be damaged."""
    return shutil.copytree(whole, tmp_path / "run")


def test_resume_starts_where_there_is_no_checkpoint_yet(tmp_path):
    """Killed before the first checkpoint: its files are removed, and the run starts from the beginning."""
    config = short_config(tmp_path)
    reset_run_files(config, None)
    (tmp_path / "metrics.jsonl").write_text('{"phase": "warmstart", "step": 1, "seconds": 0.1}\n')
    (tmp_path / "trajectories.jsonl").write_text("{}\n")
    (tmp_path / "checkpoints" / ".partial-warmstart-000002").mkdir(parents=True)
    assert not is_finished(config)
    train(config)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["phase"], line["step"]) for line in lines] == [("warmstart", 1), ("warmstart", 2), ("rl", 0), ("rl", 1)]
    assert "{}" not in (tmp_path / "trajectories.jsonl").read_text().splitlines()
    assert is_finished(config)


def test_a_finished_run_that_is_made_longer_is_not_finished(run):
    longer = corridor_config(str(run), warmstart={"steps": 2}, rl={"steps": 2}, eval={"tasks": 2, "every": None})
    assert is_finished(short_config(run))
    assert not is_finished(longer)


def truncated(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def with_more_fields(path):
    torch.save(torch.load(path, weights_only=True) | {"colour": 1}, path)


def with_wrong_values(path):
    torch.save(torch.load(path, weights_only=True) | {"phase": "sleep"}, path)


def of_another_kind(path):
    path.write_text("[]")


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", lambda path: path.unlink()),
        ("config.json", truncated),
        ("config.json", of_another_kind),
        ("checkpoints/rl-000001/trainer_state.pt", truncated),
        ("checkpoints/rl-000001/trainer_state.pt", of_another_kind),
        ("checkpoints/rl-000001/trainer_state.pt", with_more_fields),
        ("checkpoints/rl-000001/trainer_state.pt", with_wrong_values),
        ("checkpoints/rl-000001/trainer_state.pt", lambda path: path.unlink()),
        ("checkpoints/rl-000001/model.safetensors", truncated),
    ],
)
def test_a_damaged_folder_is_named_and_left_as_it_is(run, name, damage):
    damage(run / name)
    metrics = (run / "metrics.jsonl").read_bytes()
    with pytest.raises((ConfigError, DataError), match="rl-000001" if "rl-" in name else name) as caught:
        train(short_config(run))
    assert "\n" not in str(caught.value)
    assert (run / "metrics.jsonl").read_bytes() == metrics


def test_one_run_writes_at_a_time(run):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    lock = lock_run_folder(short_config(run), run / "checkpoints" / "rl-000001")
    for action in (train, is_finished, lambda config: find_checkpoint(config, resume=False)):
        with pytest.raises(OutputExistsError, match="another run is writing to"):
            action(short_config(run))
    with pytest.raises(OutputExistsError, match="another run is writing to"):
        lock_run_folder(short_config(run), run / "checkpoints" / "rl-000001")
    lock.close()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert is_finished(short_config(run))


def test_a_run_that_started_in_between_keeps_its_folder(run):
    """Two runs found the folder empty; one finished before the other locked it."""
    with pytest.raises(OutputExistsError, match=r"has just written to"):
        lock_run_folder(short_config(run), None)
    lock_run_folder(short_config(run), run / "checkpoints" / "rl-000001").close()


def test_a_run_holds_its_folder_to_its_end(tmp_path, monkeypatch):
    config = short_config(tmp_path / "run")
    seen = []

    def second(trainer):
        with pytest.raises(OutputExistsError, match="another run is writing to"):
            train(config)
        seen.append(trainer.state.name)
        return finish(trainer)

    finish = Trainer._finish
    monkeypatch.setattr(Trainer, "_finish", second)
    train(config)
    assert seen == ["rl-000001"]
    assert is_finished(config)


def test_a_folder_that_cannot_be_created_is_refused(tmp_path, monkeypatch):
    config = short_config(tmp_path / "locked" / "run")
    with monkeypatch.context() as patch:
        patch.setattr("os.access", lambda *_: False)
        with pytest.raises(ConfigError, match="no permission to write"):
            find_checkpoint(config, resume=False)

    def refuse(*_, **__):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("pathlib.Path.mkdir", refuse)
    for action in (lock_run_folder, reset_run_files):
        with pytest.raises(ConfigError, match="can't be written to: Read-only file system"):
            action(config, None)
