"""A scripted person at a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

COMMAND = "import typer; from empg_gym.cli.play import play; a = typer.Typer(pretty_exceptions_enable=False); a.command()(play); a()"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """Runs `empg-gym play` on a pseudo-terminal. A context manager that ends the process on exit."""

    def __init__(self, *arguments: str) -> None:
        self._main, side = pty.openpty()
        environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40", "BROWSER": "true"}
        self._process = subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments], stdin=side, stdout=side, stderr=side, env=environment, start_new_session=True,
            preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(side)
        self.text = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._main)

    def expect(self, part: str, seconds: float = 60.0) -> str:
        """Read until `part` appears and return the text before it."""
        self.wait(lambda shown: part in shown, seconds)
        before, _, self.text = self.text.partition(part)
        return before

    def wait(self, condition: Callable[[str], bool], seconds: float = 60.0) -> None:
        """Read until the text shown fulfils the condition."""
        until = time.monotonic() + seconds
        while not condition(self.text):
            if not self._read(until):
                raise AssertionError(f"the expected text did not appear; the terminal showed:\n{self.text}")

    def type(self, text: str) -> None:
        """Type a line."""
        os.write(self._main, text.encode() + b"\r")

    def press(self, key: bytes) -> None:
        """Press a key, such as Ctrl-C (3) or Ctrl-D (4), once the program waits for input, as a person does.

        An interrupt between Python's last check for signals and its read from the terminal would not be noticed until the next key.
        """
        stat, until = Path(f"/proc/{self._process.pid}/stat"), time.monotonic() + 60.0
        while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "S" and time.monotonic() < until:
            time.sleep(0.01)
        os.write(self._main, key)

    def ended(self, seconds: float = 60.0) -> int:
        """Wait for the end and return the exit code."""
        until = time.monotonic() + seconds
        while self._read(until):
            pass
        return self._process.wait(timeout=seconds)

    def _read(self, until: float) -> bool:
        ready, _, _ = select.select([self._main], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return False
        try:
            data = os.read(self._main, 65536)
        except OSError:
            return False
        self.text += _ESCAPES.sub("", data.decode("utf-8", "replace")).replace("\r\n", "\n")
        return bool(data)


def _own_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
