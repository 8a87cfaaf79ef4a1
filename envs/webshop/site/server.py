"""The site on a free loopback port, in a thread of this process."""

from __future__ import annotations

import socket
import threading
import time
from types import TracebackType

import uvicorn

from empg_gym.envs.webshop.site.app import Visitor, make_app, page_path
from empg_gym.errors import EnvironmentFailure

START_SECONDS = 20.0


class SiteServer:
    """Serves shopping sessions on 127.0.0.1 until it is closed.

    Args:
        port: port of the server; 0 chooses a free one.

    Raises:
        EnvironmentFailure: the port is not available, or the server did not start.
    """

    def __init__(self, port: int = 0) -> None:
        self.sessions: dict[str, Visitor] = {}
        self._socket = socket.socket()
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError as error:
            self._socket.close()
            raise EnvironmentFailure(
                f"the shop's site can't use port {port}: {error.strerror}; choose another, or 0 for a free one"
            ) from None
        config = uvicorn.Config(make_app(self.sessions), log_level="error", lifespan="off", ws="none", timeout_graceful_shutdown=1)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]}, name="webshop-site", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if time.monotonic() > deadline or not self._thread.is_alive():
                self.close()
                raise EnvironmentFailure("the shop's site did not start")
            time.sleep(0.005)

    @property
    def address(self) -> str:
        """Base of all addresses, such as "http://127.0.0.1:40123"."""
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def page_address(self, session: str) -> str:
        """Return the address of a session's page."""
        return self.address + page_path(session)

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        self._thread.join(timeout=5)
        self._socket.close()

    def __enter__(self) -> SiteServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
