"""An environment that hangs, dies, exits and raises on request."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

from empg_gym.errors import DataError
from tests.toy import DoorsEnv


class TroubleEnv(DoorsEnv):
    """Doors, plus the actions "hang", "deaf", "spin", "die", "exit" and "raise".

    Args:
        broken: "make", "make-data" or "reset", to fail there.
        once: a file; trouble is made only while it exists, and deletes it.
        child: a file for the id of a process that the environment starts.
    """

    def __init__(self, broken: str = "", once: str = "", child: str = "", **kwargs):
        if broken == "make":
            raise OSError("no game files")
        if broken == "make-data":
            raise DataError("the game files are missing; get them")
        super().__init__(**kwargs)
        self.broken, self.once = broken, once
        if child:
            Path(child).write_text(str(subprocess.Popen(["sleep", "600"]).pid))

    def _start(self, task):
        if self.broken == "reset":
            time.sleep(600)
        return super()._start(task)

    def _apply(self, action):
        if self.once:
            try:
                Path(self.once).unlink()
            except FileNotFoundError:
                action = self.expert()
        if action == "hang":
            time.sleep(600)
        while action == "deaf":
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(600)
        if action == "spin":
            while True:
                pass
        if action == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "exit":
            os._exit(3)
        if action == "raise":
            raise ValueError("the door is a wall")
        return super()._apply(action)
