"""A process of its own for an object that may hang, die or exit: the parent's side (`Worker`) and the process's (`serve`).

Rules:
    - The parent asks, the process answers, one question at a time. Every answer has a deadline.
    - An `EMPGGymError` in the process is an answer: it is raised in the parent. Anything else that goes wrong (a late answer, another
      exception, the death of the process) is a `WorkerLost`: the process is ended with everything that it started.
    - A process is a new interpreter with the parent's import path: it inherits no threads, no locks and no open files.
    - A process ends when its parent is gone, even while its object hangs (`empg_gym.children`).
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Protocol

import cloudpickle  # type: ignore[import-untyped]

from empg_gym.children import child_environment, guard, release
from empg_gym.errors import EMPGGymError
from empg_gym.guardian import kill_group

_LAST_LINES = 3
"""Lines of a traceback that are reported."""
_BOOT = """
import sys
from multiprocessing.connection import Connection
connection = Connection(int(sys.argv[1]))
try:
    sys.path[:] = connection.recv()
except (EOFError, OSError):
    sys.exit()  # the parent was killed
from empg_gym.rollout.worker import serve
serve(connection)
"""


class WorkerLost(Exception):
    """The process was late, died, or its object raised; the text says which."""


class Served(Protocol):
    """What a worker process holds."""

    def answer(self, name: str, arguments: tuple[Any, ...]) -> Any:
        """Answer a question of the parent with a picklable value."""
        ...

    def close(self) -> None:
        """Release everything."""
        ...


class Worker:
    """The parent's side of one process.

    Args:
        make: makes the served object, in the process.
    """

    def __init__(self, make: Callable[[], Served]) -> None:
        self._connection, theirs = multiprocessing.Pipe()
        number = theirs.fileno()
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, str(number)],
            pass_fds=[number],
            stdin=subprocess.DEVNULL,
            env=child_environment(),
            start_new_session=True,
        )
        theirs.close()
        guard(self.pid)
        self._lost: str | None = None
        with contextlib.suppress(OSError):
            self._connection.send(sys.path)
            self._connection.send(cloudpickle.dumps(make))

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._process.pid

    def ask(self, name: str, *arguments: Any, seconds: float, setting: str = "seconds") -> Any:
        """Return the answer to a question; `setting` is the name of its time limit, for the error.

        Raises:
            WorkerLost: there was no answer within `seconds`, the process is gone, or the object raised.
            EMPGGymError: what the object raised.
        """
        if self._lost is not None:
            raise WorkerLost(self._lost)
        deadline = time.monotonic() + seconds
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.send((name, arguments))
            kind, value = self._receive(deadline, f"{seconds:g} s ({setting})")
        except WorkerLost as loss:
            self._lost = str(loss)
            self.end()
            raise
        if kind == "raised":
            raise pickle.loads(value)
        return value

    def end(self, grace: float = 0.0) -> None:
        """End the process and everything that it started; with `grace` seconds it may close its object first."""
        if grace > 0 and self._lost is None:
            with contextlib.suppress(OSError):
                self._connection.send(("close", ()))
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(grace)
        self._lost = self._lost or "the process has been ended"
        kill_group(self.pid)
        self._process.wait()
        release(self.pid)
        self._connection.close()

    def _receive(self, deadline: float, limit: str) -> tuple[str, Any]:
        try:
            if not self._connection.poll(max(0.0, deadline - time.monotonic())):
                raise WorkerLost(f"no answer within {limit}")
            kind, value = self._connection.recv()
        except (EOFError, OSError):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1)
            raise WorkerLost(f"its process died (exit code {self._process.poll()})") from None
        if kind == "failed":
            raise WorkerLost(str(value))
        return str(kind), value


def serve(connection: Connection) -> None:
    """Make the object and answer questions until the parent asks to close or is gone; the process's main function."""
    os.set_inheritable(connection.fileno(), False)
    served: Served | None = None
    # What making the object raises is the answer to the first question.
    waiting: Exception | None = None
    try:
        pickled = connection.recv()
        try:
            served = pickle.loads(pickled)()
        except Exception as error:
            waiting = error
        while True:
            name, arguments = connection.recv()
            if name == "close":
                return
            try:
                if served is None or waiting is not None:
                    raise waiting or RuntimeError("nothing is served")
                connection.send(("answer", served.answer(name, arguments)))
            except Exception as error:
                connection.send(_report(error))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    finally:
        if served is not None:
            with contextlib.suppress(Exception):
                served.close()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # skips the interpreter's shutdown, which can take longer than an episode


def _report(error: Exception) -> tuple[str, Any]:
    if isinstance(error, EMPGGymError):
        with contextlib.suppress(Exception):
            pickled = pickle.dumps(error)
            pickle.loads(pickled)
            return "raised", pickled
    lines = traceback.format_exception(error)
    place = " | ".join(line.strip() for line in "".join(lines).strip().splitlines()[-_LAST_LINES:])
    return "failed", f"{type(error).__name__}: {error} ({place})"
