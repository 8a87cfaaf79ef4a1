"""The site on a free loopback port, in a thread of this process."""

from __future__ import annotations

from types import TracebackType

from empg_gym.envs.webshop.site.app import Visitor, make_app, page_path
from empg_gym.net.server import BackgroundServer, ServerLimits, listen, make_server

LIMITS = ServerLimits(max_body=64 << 10, max_bytes=32 << 20)
"""A form holds one search."""


class SiteServer:
    """Serves shopping sessions on 127.0.0.1 until it is closed.

    Args:
        port: port of the server; 0 chooses a free one.

    Raises:
        EnvironmentFailure: the port is not available, or the server did not start.
    """

    def __init__(self, port: int = 0) -> None:
        self.sessions: dict[str, Visitor] = {}
        server = make_server(make_app(self.sessions), limits=LIMITS, forms=True, log_level="error", shutdown_seconds=1)
        self._server = BackgroundServer(server, listen("127.0.0.1", port))
        self.address = f"http://127.0.0.1:{self._server.port}"
        """Base of all addresses, such as "http://127.0.0.1:40123"."""

    def page_address(self, session: str) -> str:
        """Return the address of a session's page."""
        return self.address + page_path(session)

    def close(self) -> None:
        """Stop serving."""
        self._server.close()

    def __enter__(self) -> SiteServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
