"""The environment over the real retrieval server gives the observations that it gives over the corpus itself."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.retrieval.corpus import Corpus, open_corpus
from tests.deepsearch.helpers import toy_files

uvicorn = pytest.importorskip("uvicorn")
server = pytest.importorskip("empg_gym.retrieval.server")


@contextmanager
def serving(corpus: Corpus) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    running = uvicorn.Server(uvicorn.Config(server.create_app(corpus), log_level="error"))
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        running.should_exit = True
        thread.join(20)


def test_over_the_server_as_over_the_corpus(tmp_path: Path) -> None:
    files: dict[str, Any] = {**toy_files(tmp_path), "split": "all", "protocol": "hermes"}
    local = DeepSearchEnv(**files)
    with serving(open_corpus(files["corpus"])) as address:
        remote = DeepSearchEnv(**{**files, "corpus": None}, backend=address, visit=True)
        for env in (local, remote):
            env.reset(options={"task": "q1"})
        for name, arguments in (
            ("search", {"query": ["mayor of Velden", "river"]}),
            ("search", {"query": "nothing of the kind"}),
            ("visit", {"url": "https://corpus.local/brook", "goal": "birthplace"}),
            ("visit", {"url": "https://corpus.local/none"}),
            ("answer", {"answer": "Harrow Bay"}),
        ):
            steps = [env.step(env.tool_action(name, arguments)) for env in (local, remote)]
            assert steps[0] == steps[1]
        assert remote.success
