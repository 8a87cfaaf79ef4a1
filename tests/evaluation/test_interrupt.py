"""SIGTERM and SIGHUP end a command as Ctrl-C does, and nothing that it started is left, on every way out; with real processes."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.rollout.test_backends import gone
from tests.toy import TOY_ID

ROOT = Path(__file__).parents[2]
AGENT = Path(__file__).with_name("family_agent.sh")
MAIN = "import sys; from empg_gym.cli import main; import tests.toy, tests.rollout.trouble; {setup}; sys.argv[0] = 'empg-gym'; main()"
SECONDS = 300
"""Longest wait for what must happen; other processes may need the machine."""


def start(*arguments, setup="pass", **options):
    command = [sys.executable, "-c", MAIN.format(setup=setup), *map(str, arguments)]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, **{**streams, **options})


def evaluation(folder, *more, agent_seconds=0.15, episodes=40):
    agent = f"exec:sh {AGENT} {agent_seconds} {folder / 'pids'}"
    return ["eval", TOY_ID, "-a", agent, "-n", episodes, "-c", 2, "--out", folder / "run", "--no-report", *more]


def wait(condition):
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.01)


def lines(folder):
    path = folder / "run" / "trajectories.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def pids(folder):
    path = folder / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def summary(folder):
    return json.loads((folder / "run" / "summary.json").read_text())


def test_signals_end_an_evaluation_and_the_same_command_resumes_it(tmp_path):
    """With a summary and without a process, after each of them; `kill -9` writes no summary."""
    done, seen = 0, 0
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL):
        process = start(*evaluation(tmp_path))
        wait(lambda: lines(tmp_path) >= done + 2)  # noqa: B023
        process.send_signal(number)
        _, err = process.communicate(timeout=SECONDS)
        done, family, seen = lines(tmp_path), pids(tmp_path)[seen:], len(pids(tmp_path))
        assert gone(family) and len(family) >= 6
        if number == signal.SIGKILL:
            assert process.returncode == -9
            continue
        assert process.returncode == 128 + number and "Traceback" not in err
        assert number == signal.SIGHUP or "interrupted; to resume: empg-gym eval" in err
        assert summary(tmp_path)["complete"] is False and summary(tmp_path)["results"][TOY_ID]["episodes"] == done < 40
    (tmp_path / "pids.fast").touch()
    again = start(*evaluation(tmp_path))
    again.communicate(timeout=SECONDS)
    assert again.returncode == 0 and summary(tmp_path)["complete"] is True and lines(tmp_path) == 40
    assert gone(pids(tmp_path))


def test_an_error_of_the_user_leaves_no_process(tmp_path):
    """The agent of some episodes is under way when another one aborts the run: its folder can't be written to any more."""
    full = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (9000,) * 2)"
    process = start(*evaluation(tmp_path, agent_seconds=0.05), setup=full)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 2 and "can't be written to" in err and "Traceback" not in err, err
    assert gone(pids(tmp_path)) and len(pids(tmp_path)) >= 6


@pytest.mark.parametrize(("number", "action"), [(signal.SIGTERM, "spin"), (signal.SIGKILL, "hang")])
def test_environments_that_hang_in_their_processes_are_ended(tmp_path, number, action):
    process = start(*trouble(tmp_path, action, "--backend", "processes", "--set", f"env.child={tmp_path / 'pids'}"))
    wait(lambda: not (tmp_path / "once").exists())
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    assert pids(tmp_path) and gone(pids(tmp_path))


@pytest.mark.parametrize("action", ["hang", "deaf"])
def test_the_shutdown_is_bounded(tmp_path, action):
    """An environment in this process hangs, so the command can't cancel the episode: it is interrupted, and still writes its summary; code
    that ignores every interrupt is stopped."""
    process = start(*trouble(tmp_path, action), setup="import empg_gym.cli.interrupt as i; i.ASK_SECONDS = i.FORCE_SECONDS = 0.3")
    wait(lambda: not (tmp_path / "once").exists())
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 143
    if action == "hang":
        assert summary(tmp_path)["complete"] is False
    else:
        assert "did not end in time" in err


MISSED = """
import asyncio, os, signal, threading, time
from empg_gym.cli.interrupt import Interruption
interruption = Interruption()
interruption.install()
def send():
    time.sleep(0.3)
    signal.pthread_kill(threading.get_ident(), signal.{signal})
threading.Thread(target=send).start()
try:
    {wait}
except KeyboardInterrupt:
    pass
os._exit(interruption.leave())
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("wait", ["asyncio.run(asyncio.sleep(3600))", "threading.Event().wait()"])
def test_a_signal_that_does_not_interrupt_what_the_main_thread_waits_for(number, wait):
    """Another thread receives it; one that comes just before the wait begins has the same effect."""
    script = MISSED.format(signal=number.name, wait=wait)
    assert subprocess.run([sys.executable, "-c", script], timeout=SECONDS, check=False).returncode == 128 + number


def trouble(folder, action, *more):
    """Return the command of an evaluation whose environment makes trouble as soon as it has deleted the file `once`."""
    (folder / "once").touch()
    options = ["--set", f"agent.says={action}", "--set", "backend.step_seconds=300", "--set", f"env.once={folder / 'once'}"]
    agent = "python:tests.evaluation.agents:SaysAgent"
    return ["eval", "Test/Trouble-v0", "-a", agent, "-n", 1, "--out", folder / "run", "--no-report", *options, *more]


def test_the_end_of_the_terminal_ends_an_evaluation(tmp_path):
    """The terminal that the live table is drawn on goes away: writing to it fails, and the summary is written all the same."""
    ours, theirs = pty.openpty()
    process = start(*evaluation(tmp_path), stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=_own_terminal)
    os.close(theirs)
    wait(lambda: lines(tmp_path) >= 2)
    os.close(ours)
    assert process.wait(SECONDS) == 128 + signal.SIGHUP
    assert gone(pids(tmp_path)) and summary(tmp_path)["complete"] is False


def _own_terminal():
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_nohup_keeps_a_command_running(tmp_path):
    def ignore():
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    process = start(*evaluation(tmp_path, episodes=4), preexec_fn=ignore)
    wait(lambda: lines(tmp_path) >= 1)
    process.send_signal(signal.SIGHUP)
    (tmp_path / "pids.fast").touch()
    process.communicate(timeout=SECONDS)
    assert process.returncode == 0 and summary(tmp_path)["complete"] is True


def test_the_background_job_of_a_script_is_ended(tmp_path):
    """There SIGINT is ignored, so that nothing may depend on it."""

    def ignore():
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    process = start(*evaluation(tmp_path), preexec_fn=ignore)
    wait(lambda: lines(tmp_path) >= 1)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=SECONDS)
    assert "Traceback" not in err and "Task was destroyed" not in err
    assert process.returncode == 143 and summary(tmp_path)["complete"] is False
    assert gone(pids(tmp_path))


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("number, backend", [(signal.SIGTERM, "inline"), (signal.SIGKILL, "processes")])
def test_no_browser_is_left(tmp_path, number, backend):
    with tempfile.TemporaryDirectory(prefix="b") as short:  # the browser's socket has a path of at most 107 characters
        _end_with_browser(tmp_path, Path(short), number, backend)


def _end_with_browser(tmp_path, temporary, number, backend):
    agent = f"exec:sh {AGENT} 0.3 {tmp_path / 'pids'}"
    options = ["--set", "env.backend=browser", "--set", "env.num_products=100", "--backend", backend, "--out", tmp_path / "run"]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN.format(setup="pass"), *map(str, ["eval", "webshop", "-a", agent, "-n", 4, "-c", 2, *options])],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait(lambda: pids(tmp_path) and (browsers := mentions(temporary)) and len(browsers) > 3)
    process.send_signal(number)
    process.communicate(timeout=SECONDS)
    assert process.returncode == (143 if number == signal.SIGTERM else -9)
    assert gone(pids(tmp_path))
    wait(lambda: not mentions(temporary))
    wait(lambda: not list(temporary.iterdir()))


def mentions(folder):
    """Return the processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if str(folder).encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                pass
    return found
