"""`ServerProcess`: a vLLM server that this process starts, watches and ends.

Rules:
    - The server has its own interpreter, so that vLLM's pinned packages need not be the trainer's.
    - It ends with this process, however that ends.
    - A server that does not start is a `ConfigError` with the last error of its log, and the log is kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections.abc import Sequence
from pathlib import Path

import httpx

from empg_gym.errors import ConfigError

_FILES = Path(__file__).parent / "vllm_process"
_END_SECONDS = 20
_ENVIRONMENT = {
    "VLLM_SERVER_DEV_MODE": "1",  # the calls that reload weights and reset the cache
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


class ServerProcess:
    """A running server.

    Args:
        python: interpreter of an environment with vLLM.
        arguments: of the server, without the address.
        folder: where the server runs.
        log: file for what the server prints.
        start_seconds: time limit for the start.

    Raises:
        ConfigError: the interpreter does not exist, or the server did not start.
    """

    def __init__(self, python: str, arguments: Sequence[str], folder: Path, log: Path, start_seconds: float) -> None:
        self.log = log
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        command = [python, str(_FILES / "empg_vllm_serve.py"), str(os.getpid()), "--host", "127.0.0.1", "--port", str(port), *arguments]
        path = os.pathsep.join([str(_FILES), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**_ENVIRONMENT, **os.environ, "PYTHONPATH": path, "VLLM_SERVER_DEV_MODE": "1"}
        try:
            with self.log.open("wb") as output:
                self._process = subprocess.Popen(
                    command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder, start_new_session=True
                )
        except OSError as error:
            self.log.unlink(missing_ok=True)
            raise ConfigError(
                f"the interpreter {python!r} can't be started ({error.strerror}); set rollout.backend_options.python to that of an "
                "environment with vLLM"
            ) from None
        self._end = weakref.finalize(self, _end, self._process)
        self._wait_until_ready(python, start_seconds)

    @property
    def pid(self) -> int:
        """Process id of the server, which is also that of its process group."""
        return self._process.pid

    def state(self) -> str:
        """Return "" while the server runs, else how it ended."""
        status = self._process.poll()
        return "" if status is None else f"it ended with status {status}"

    def close(self) -> None:
        """End the server and its engine."""
        self._end()

    def _wait_until_ready(self, python: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.state() and time.monotonic() < deadline:
            if is_healthy(self.url):
                return
            time.sleep(0.5)
        state = self.state() or f"it did not answer within {seconds:g} s (rollout.backend_options.start_seconds)"
        self.close()
        raise ConfigError(f"vLLM's server did not start under {python}: {state}; {_last_error(self.log)} (log: {self.log})")


def is_healthy(url: str) -> bool:
    """Return whether a server answers and its engine runs."""
    try:
        return httpx.get(f"{url}/health", timeout=10).status_code == 200
    except httpx.HTTPError:
        return False


def default_python() -> str:
    """Return this interpreter."""
    return sys.executable


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _last_error(log: Path) -> str:
    """Return the last line of a log that names an error, else its last line."""
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if "Error" in line and "raise" not in line]
    return (errors or lines or ["its log is empty"])[-1][-300:]


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
