"""Several worker processes behind one port.

Rules:
    - The parent opens the port and starts the workers; all of them accept from the same socket, one connection at a time. A worker with
      more sessions than another one leaves a new connection to it for a moment. The kernel keeps connections that nobody has accepted,
      whichever worker dies.
    - A WebSocket stays with the worker that accepted it, and so do its sessions. A worker that dies takes its sessions with it and no
      others; the parent frees their slots and starts another worker.
    - Sessions that are made by one HTTP request and used by others are the first worker's (`empg_gym.serve.forward`).
    - A worker ends when its parent is gone (`empg_gym.children`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import cloudpickle  # type: ignore[import-untyped]

import empg_gym.errors
from empg_gym.children import child_environment, guard, release
from empg_gym.errors import EMPGGymError, EnvironmentFailure
from empg_gym.guardian import kill_group
from empg_gym.serve.settings import ServerSettings
from empg_gym.serve.slots import SessionSlots, shared_bytes

_BOOT = (
    "import sys, socket, pickle; control = socket.socket(fileno=int(sys.argv[1]));"
    " sys.path[:], settings = pickle.load(control.makefile('rb')); from empg_gym.serve.workers import main; main(control, settings)"
)
_BACKLOG = 4096
_POLL_SECONDS = 0.1
_LEAVE_SECONDS = 0.03
"""Time for which a connection is left to other workers."""
_GRACE_SECONDS = 5.0
_EARLY_SECONDS = 10.0
"""A worker that ends sooner has not served anybody."""
_MOST_EARLY = 3
_LOG = logging.getLogger("empg_gym.serve")


class SharedListener(socket.socket):
    """A listening socket of several workers. Its queue keeps its length, whatever a worker asks for."""

    slots: SessionSlots | None = None
    """Says which worker has fewer sessions; None = accept at once."""
    _left_since: float | None = None

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a connection, unless a worker with fewer sessions may do so."""
        if self.slots is not None and self.slots.is_ahead:
            now = time.monotonic()
            self._left_since = now if self._left_since is None else self._left_since
            if now - self._left_since < _LEAVE_SECONDS:
                raise BlockingIOError
        self._left_since = None
        return super().accept()

    def listen(self, backlog: int = _BACKLOG) -> None:
        """Listen, with the queue of all workers."""
        super().listen(_BACKLOG)


@dataclass(frozen=True)
class _Place:
    """What the workers share, as file descriptors."""

    listener: int
    file: int
    """With the counts of sessions."""
    first: int
    """Unix socket on which the first worker listens, for the others."""
    address: str
    """Of this socket."""


@dataclass
class _Process:
    """One worker, as its parent sees it."""

    number: int
    process: subprocess.Popen[bytes]
    control: socket.socket
    started: float = field(default_factory=time.monotonic)
    ready: bool = False


def run_workers(settings: ServerSettings, listener: socket.socket, ready: Callable[[list[int]], None] = lambda pids: None) -> None:
    """Serve until SIGINT or SIGTERM.

    Args:
        settings: what is served, and by how many workers.
        listener: from `empg_gym.net.server.listen`.
        ready: called with the workers' process ids once all of them serve, and again after each restart.

    Raises:
        EMPGGymError: an environment can't be made.
        EnvironmentFailure: the workers end as soon as they have been started.
    """
    SharedListener(fileno=os.dup(listener.fileno())).listen()
    with tempfile.TemporaryFile() as file, tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as first:
        file.write(shared_bytes(settings.workers))
        file.flush()
        first.bind(f"{folder}/first")
        first.listen(_BACKLOG)
        place = _Place(listener.fileno(), file.fileno(), first.fileno(), f"{folder}/first")
        slots = SessionSlots(settings.limits.max_sessions, workers=settings.workers, file=file.fileno())
        workers: list[_Process] = []
        early = 0
        try:
            workers.extend(_start(number, settings, place) for number in range(settings.workers))
            while True:
                if any(_check_ready(worker) for worker in workers) and all(worker.ready for worker in workers):
                    ready([worker.process.pid for worker in workers])
                for worker in list(workers):
                    if worker.process.poll() is None:
                        continue
                    slots.clear(worker.number)
                    early = early + 1 if time.monotonic() - worker.started < _EARLY_SECONDS else 0
                    if early > _MOST_EARLY:
                        raise EnvironmentFailure(
                            "the workers of the server end as soon as they are started; serve with --workers 1 to see why"
                        )
                    _LOG.warning(
                        "worker %d ended (exit code %d) with its sessions; starting another", worker.number, worker.process.returncode
                    )
                    _forget(worker)
                    workers[worker.number] = _start(worker.number, settings, place)
                time.sleep(_POLL_SECONDS)
        finally:
            _end(workers)


def _start(number: int, settings: ServerSettings, place: _Place) -> _Process:
    ours, theirs = socket.socketpair()
    shared = [place.listener, place.file, *([place.first] if number == 0 else [])]
    process = subprocess.Popen(
        [sys.executable, "-c", _BOOT, str(theirs.fileno())],
        pass_fds=[theirs.fileno(), *shared],
        stdin=subprocess.DEVNULL,
        env=child_environment(),
        start_new_session=True,
    )
    theirs.close()
    guard(process.pid)
    with contextlib.suppress(OSError):
        ours.sendall(pickle.dumps((sys.path, cloudpickle.dumps((settings, number, place)))))
    ours.setblocking(False)
    return _Process(number, process, ours)


def _check_ready(worker: _Process) -> bool:
    """Read what a worker reports; return whether it has just begun to serve."""
    if worker.ready:
        return False
    try:
        report = worker.control.recv(1 << 16)
    except OSError:
        return False
    if not report:
        return False
    kind, text = json.loads(report)
    if kind:
        known = getattr(empg_gym.errors, kind, EnvironmentFailure)
        raise known(text)
    worker.ready = True
    return True


def _forget(worker: _Process) -> None:
    kill_group(worker.process.pid)
    release(worker.process.pid)
    worker.control.close()


def _end(workers: list[_Process]) -> None:
    for worker in workers:
        with contextlib.suppress(ProcessLookupError):
            worker.process.terminate()
    deadline = time.monotonic() + _GRACE_SECONDS
    for worker in workers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        _forget(worker)
        worker.process.wait()


def main(control: socket.socket, pickled: bytes) -> None:
    """Serve as one worker; the process's main function."""
    settings, number, place = pickle.loads(pickled)
    descriptors = [place.listener, *([place.first] if number == 0 else [])]
    for descriptor in (control.fileno(), place.file, *descriptors):
        os.set_inheritable(descriptor, False)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends its workers
    raise_open_files()
    try:
        from empg_gym.serve.app import make_env_server

        slots = SessionSlots(settings.limits.max_sessions, workers=settings.workers, worker=number, file=place.file)
        server = make_env_server(settings, slots, place.address if number else None)
    except EMPGGymError as error:
        control.sendall(json.dumps([type(error).__name__, str(error)]).encode())
        control.recv(1)  # until the parent has read it
        return
    server.config.backlog = 1  # accept one connection, then let the others have a look

    async def serve() -> None:
        shared = SharedListener(fileno=descriptors[0])
        shared.slots = slots
        listeners: list[socket.socket] = [shared, *(SharedListener(fileno=descriptor) for descriptor in descriptors[1:])]
        serving = asyncio.create_task(server.serve(sockets=listeners))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        slots.enter()
        control.sendall(json.dumps(["", ""]).encode())
        await serving

    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(serve())
    os._exit(0)  # threads may still wait for something outside the process


def raise_open_files() -> None:
    """Allow as many open files as the system lets this process have: each session is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
