"""SIGTERM and SIGHUP end a command as Ctrl-C does, and in bounded time.

Rules:
    - A signal that the caller had ignored (nohup) stays ignored.
    - The first signal asks the command to end: episodes are cancelled, processes closed, the summary written. If that takes longer than
      `ASK_SECONDS`, it is interrupted where it is; after another `FORCE_SECONDS`, the process exits, and its guardian ends the rest.
    - Ctrl-C itself is left to Python and asyncio; its shutdown is bounded from the moment that the command has ended.
    - The exit code is 128 plus the number of the first signal: 129 SIGHUP, 130 SIGINT, 143 SIGTERM.
    - Python runs a handler when the main thread executes its next instruction. A signal that comes just before that thread waits, for an
      episode or a lock, or that another thread receives, would take effect when the wait is over: a thread that Python wakes at once
      (`signal.set_wakeup_fd`) interrupts the wait.
    - After SIGHUP there is no terminal to write to: what is still written is discarded.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
import stat
import threading
import time
from types import FrameType

from empg_gym.children import end_children

INTERRUPTED = 130
"""What typer and the commands return for a KeyboardInterrupt, whichever signal it stands for."""
ASK_SECONDS = 10.0
FORCE_SECONDS = 10.0
_WAKE_SECONDS = 0.05
_WAKES = 20
"""How often the main thread is woken after a signal: each time may come just before it waits."""


class Interruption:
    """The handlers of one command."""

    def __init__(self) -> None:
        self._first: int | None = None
        self._bounded = False
        self._leaving = False

    def install(self) -> None:
        """Handle SIGTERM and SIGHUP, unless they are ignored or handled already. Only the main thread can."""
        if threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            # The background job of a script. Blocked instead of ignored: asyncio then has a handler that SIGTERM can call.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
            signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._handle)
        if signal.getsignal(signal.SIGURG) is signal.SIG_DFL:
            signal.signal(signal.SIGURG, lambda number, frame: None)
            received, sent = os.pipe()
            os.set_blocking(sent, False)
            signal.set_wakeup_fd(sent, warn_on_full_buffer=False)
            # Not a `threading.Thread`, of which `empg_gym.retrieval.invert` must find none before it forks; this one never holds a lock.
            _thread.start_new_thread(_wake, (received, threading.get_ident()))

    def leave(self) -> int:
        """Return the exit code of the interrupted command; end its processes, for which a thread may be waiting, and bound the exit."""
        self._leaving = True
        self._bound()
        end_children()
        return self._exit_code()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._first = self._first or number
        if number == signal.SIGHUP:
            _discard_output()
        self._bound()
        if not self._leaving:
            _interrupt(frame)

    def _exit_code(self) -> int:
        return 128 + (self._first or signal.SIGINT)

    def _bound(self) -> None:
        if not self._bounded:
            self._bounded = True
            threading.Thread(target=self._insist, daemon=True, name="shutdown").start()

    def _insist(self) -> None:
        time.sleep(ASK_SECONDS)
        if not self._leaving and signal.getsignal(signal.SIGTERM) == self._handle:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(FORCE_SECONDS)
        with contextlib.suppress(OSError):
            os.write(2, b"the command did not end in time and was stopped\n")
        os._exit(self._exit_code())


def _wake(received: int, thread: int) -> None:
    """Interrupt the thread's wait after every signal that ends the command; `received` is the pipe of `signal.set_wakeup_fd`."""
    while True:
        if os.read(received, 1)[0] in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for _ in range(_WAKES):
                time.sleep(_WAKE_SECONDS)
                signal.pthread_kill(thread, signal.SIGURG)


def _interrupt(frame: FrameType | None) -> None:
    """Do what SIGINT would do now: asyncio cancels its task, a server shuts down, other code is interrupted."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


def _discard_output() -> None:
    """Let the standard streams that belong to the terminal lead nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        with contextlib.suppress(OSError):
            if stat.S_ISCHR(os.fstat(stream).st_mode):
                os.dup2(nowhere, stream)
    os.close(nowhere)
