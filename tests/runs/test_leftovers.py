"""What killed processes, full disks and hostile files leave: no folder becomes unusable, no user sees a traceback."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest

from empg_gym import cli
from empg_gym.errors import DataError, machine_problem
from empg_gym.evaluation import evaluate
from empg_gym.runs.atomic_write import atomic_write
from empg_gym.runs.folder import is_unused, new_folder
from empg_gym.runs.json_file import read_json
from tests.toy import TOY_ID


@pytest.mark.parametrize(
    "name", [".config.json.12.345", ".summary.json.7.1", ".trajectories.jsonl.7.1", ".rescored.building-0a1b", ".DS_Store", ".nfs00012"]
)
def test_a_folder_with_leftovers_is_unused(tmp_path, name):
    (tmp_path / name).touch()
    assert is_unused(tmp_path)
    evaluate(TOY_ID, "expert", episodes=1, out=tmp_path)
    assert (tmp_path / name).exists() == (not name.endswith((".345", ".1"))), "the run removes what is its own"


def test_a_run_that_is_resumed_removes_what_its_killed_writers_left(tmp_path):
    evaluate(TOY_ID, "expert", episodes=1, out=tmp_path)
    own, others = [".summary.json.7.1", ".failures.jsonl.moving.7.1"], [".report.html.7.1", ".summary.json.old", ".summary.json.7.x"]
    for name in (*own, *others):
        (tmp_path / name).touch()
    evaluate(TOY_ID, "expert", episodes=1, out=tmp_path)
    assert [name for name in (*own, *others) if (tmp_path / name).exists()] == others


@pytest.mark.parametrize("name", ["notes.txt", ".git", ".env", "config.json"])
def test_other_files_are_left_alone(tmp_path, name):
    (tmp_path / name).touch()
    assert not is_unused(tmp_path)


def test_a_killed_process_of_the_same_number_does_not_block_a_folder(tmp_path):
    """Numbers of processes repeat: in containers they are nearly always the same."""
    (tmp_path / f".new.{os.getpid()}").mkdir()
    left = tmp_path / ".new.building-abcd"
    left.mkdir()
    (left / "half").touch()
    with new_folder(tmp_path / "new") as folder:
        (folder / "whole").touch()
    assert (tmp_path / "new" / "whole").exists() and not left.exists()


def test_names_are_flushed_after_files(tmp_path, monkeypatch):
    flushed = []
    real = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (flushed.append(str(Path(f"/proc/self/fd/{descriptor}").readlink())), real(descriptor))[1]
    )
    atomic_write(tmp_path / "a", "x", sync=True)
    assert len(flushed) == 2 and flushed[0].startswith(str(tmp_path / ".a.")) and flushed[1] == str(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 50_000, "1" * 5000])
def test_a_hostile_json_file_is_one_sentence(tmp_path, content):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(DataError, match=r"a\.json can't be read"):
        read_json(tmp_path / "a.json", hint="put it back")


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/runs/x"),
        OSError(errno.EMFILE, os.strerror(errno.EMFILE)),
        RuntimeError("[enforce fail at inline_container.cc:595] . PytorchStreamWriter failed writing file data/0: file write failed"),
        RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_one_sentence(error, monkeypatch, capsys):
    outer = RuntimeError("outer")
    outer.__cause__ = error
    assert machine_problem(error) and machine_problem(outer)
    for raised in (error, outer):
        monkeypatch.setattr(cli, "app", lambda raised=raised, **_: (_ for _ in ()).throw(raised))
        monkeypatch.setattr(cli, "_mount", lambda: None)
        monkeypatch.setattr(sys, "argv", ["empg-gym"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr().err
        assert ended.value.code == 2 and shown.startswith("error: ") and "run" in shown and "Traceback" not in shown


def test_other_errors_are_no_problems_of_the_machine():
    assert machine_problem(ValueError("x")) is None and machine_problem(FileNotFoundError(errno.ENOENT, "x")) is None
