"""The chat server that the pages' commands talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.agents.server import ChatServer, serving


@pytest.fixture(scope="module")
def chat_server() -> Iterator[str]:
    """Base URL of a server on the loopback that takes the reader's key."""
    with serving(ChatServer(key="key-of-the-reader")) as server:
        yield server.url
