"""Temporary folders are removed by the guardian of a process: at any moment of its end, and while others still write to them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from empg_gym import guardian

SECONDS = 300
KILLED = """
import os, sys
from pathlib import Path
from empg_gym import children
{setup}
children.make_folder("x")
{then}
os.kill(os.getpid(), 9)
"""
AT_ONCE = """
make = os.mkdir
def mkdir(*arguments, **options):
    make(*arguments, **options)
    os.kill(os.getpid(), 9)
os.mkdir = mkdir
"""


def run(tmp_path, setup="", then=""):
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(setup=setup, then=then)],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def emptied(folder):
    deadline = time.monotonic() + SECONDS
    while list(folder.iterdir()):
        assert time.monotonic() < deadline, list(folder.iterdir())
        time.sleep(0.02)


@pytest.mark.parametrize("setup", ["", AT_ONCE])
def test_the_folder_of_a_killed_process_is_removed(tmp_path, setup):
    run(tmp_path, setup)
    emptied(tmp_path)


def test_a_folder_that_is_left_is_removed_at_the_end(tmp_path):
    """The process continues without having removed it."""
    run(
        tmp_path, then="children.remove_folders = lambda *_: False; children.remove_folder(str(next(Path(os.environ['TMPDIR']).iterdir())))"
    )
    emptied(tmp_path)


def test_a_folder_that_a_dying_process_still_fills_is_removed(tmp_path, monkeypatch):
    folder, remove, calls = tmp_path / "x", shutil.rmtree, []

    def refilled(*arguments, **options):
        remove(*arguments, **options)
        calls.append(arguments)
        if len(calls) < 20:
            folder.mkdir()
            (folder / "Cookies").touch()

    folder.mkdir()
    monkeypatch.setattr(shutil, "rmtree", refilled)
    assert not guardian.remove_folders([str(folder)], 0)
    assert guardian.remove_folders([str(folder)], SECONDS)
    assert len(calls) == 20
    assert not folder.exists()
