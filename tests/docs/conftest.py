"""The setup of a reader of the pages: a clone, the installed package, an API key, and local servers in place of the network."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from empg_gym.data.registry import official_sets
from tests.agents.server import ChatServer
from tests.agents.server import serving as serving_chat
from tests.data.server import Route
from tests.data.server import serving as serving_files
from tests.docs.pages import ROOT
from tests.docs.small_sets import VARIABLE, content

_CLONED = (
    "Makefile", "README.md", "LICENSE", "pyproject.toml", "setup.py", "constraints.txt", "configs", "examples", "scripts", "empg_gym",
    "envs", "trainers", "tests",
)  # fmt: skip


@pytest.fixture(scope="module")
def chat_server() -> Iterator[str]:
    """Base URL of a chat server that accepts the reader's key."""
    with serving_chat(ChatServer(key="key-of-the-reader")) as server:
        yield server.url


@pytest.fixture(scope="module")
def file_server() -> Iterator[str]:
    """Address that serves a small version of every file of the official sets."""
    with serving_files() as server:
        for data_set in official_sets().values():
            server.routes.update({f"/{file.name}": Route(body=content(file.name, file.unpack)) for file in data_set.files})
        yield server.base


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Folder with the project's files, for commands that are run in a clone."""
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in _CLONED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True)
        else:
            shutil.copy2(ROOT / name, folder / name)
    return folder


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def reader_environment(tmp_path: Path, chat_server: str, file_server: str) -> dict[str, str]:
    """Variables of the reader's shell, without those of the test runner.

    Bytecode is written, which is Python's default: without it each of the many commands compiles all of torch and transformers again.
    """
    own = {"PYTHONDONTWRITEBYTECODE", *(name for name in os.environ if name.startswith("PYTEST_"))}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "EMPG_GYM_CACHE": str(tmp_path / "cache"),
        "OPENAI_API_KEY": "key-of-the-reader",
        "OPENAI_BASE_URL": chat_server,
        VARIABLE: file_server,
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        "TERM": "dumb",
    }
