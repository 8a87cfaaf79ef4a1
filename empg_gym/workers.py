"""One environment in a process of its own, which can be ended when it hangs.

Rules:
    - The parent asks, the process answers, one question at a time. An answer has a deadline; there is no waiting without one.
    - A process that is late, dead, or whose environment raised is lost: it is ended with all that it started, and never asked again.
    - A process ends by itself when its parent is gone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import gymnasium as gym

_LAST_LINES = 3


class WorkerLost(Exception):
    """The environment's process was late, died, or its environment raised; the text says which."""


class Worker:
    """The parent's side of one process.

    Args:
        env_fn: makes the environment, in the process.
        context: how processes are started.
        siblings: connections of other workers, which a forked process must not keep open.
    """

    def __init__(self, env_fn: Callable[[], gym.Env[Any, Any]], context: BaseContext, siblings: Sequence[Connection] = ()) -> None:
        self.connection, theirs = context.Pipe()
        inherited = [self.connection, *siblings] if context.get_start_method() == "fork" else []
        self._process = context.Process(  # type: ignore[attr-defined]
            target=_serve, args=(cloudpickle.dumps(env_fn), theirs, inherited), daemon=True, name="empg-gym-environment"
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Number of the process."""
        return int(self._process.pid or 0)

    def ask(self, name: str, *arguments: Any) -> None:
        """Send a question; `answer` gets what comes back."""
        with contextlib.suppress(OSError):
            self.connection.send((name, arguments))

    def answer(self, deadline: float) -> Any:
        """Return the answer to the last question.

        Args:
            deadline: moment of `time.monotonic` after which the process counts as hanging.

        Raises:
            WorkerLost: no answer in time, no process, or the environment raised.
        """
        ready = wait([self.connection, self._process.sentinel], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise WorkerLost("the environment did not answer in time")
        try:
            if not self.connection.poll():
                raise EOFError
            kind, value = self.connection.recv()
        except (EOFError, OSError):
            self._process.join(1)
            raise WorkerLost(f"the environment's process died (exit code {self._process.exitcode})") from None
        if kind == "error":
            raise WorkerLost(str(value))
        return value

    def end(self, grace: float = 0.0) -> None:
        """End the process and what it started; with `grace` it may close its environment first."""
        if grace > 0:
            self.ask("close")
            self._process.join(grace)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        if self._process.is_alive():
            self._process.kill()
        self._process.join()
        self.connection.close()


def _serve(pickled: bytes, connection: Connection, inherited: Sequence[Connection]) -> None:
    """The process: make the environment, then answer until told to close or until the parent is gone."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for other in inherited:
        other.close()
    env: gym.Env[Any, Any] | None = None
    try:
        env = cloudpickle.loads(pickled)()
        while True:
            name, arguments = connection.recv()
            if name == "close":
                return
            connection.send(("answer", _carry_out(env, name, arguments)))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        where = " | ".join(line.strip() for line in traceback.format_exc().strip().splitlines()[-_LAST_LINES:])
        with contextlib.suppress(OSError):
            connection.send(("error", f"{type(error).__name__}: {error} ({where})"))
    finally:
        if env is not None:
            with contextlib.suppress(Exception):
                env.close()
        connection.close()


def _carry_out(env: gym.Env[Any, Any], name: str, arguments: tuple[Any, ...]) -> Any:
    match name:
        case "describe":
            return env.observation_space, env.action_space, dict(env.metadata), env.spec
        case "reset":
            seed, options = arguments
            return env.reset(seed=seed, options=options)
        case "step":
            return env.step(arguments[0])
        case "call":
            attribute, given, named = arguments
            found = env.get_wrapper_attr(attribute)
            return found(*given, **named) if callable(found) else found
    raise ValueError(name)
