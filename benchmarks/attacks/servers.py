"""Hostile clients of the local servers: `empg-gym serve retrieval` as the command starts it, and WebShop's site."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx

from benchmarks.attacks.outcome import Case, Outcome
from benchmarks.soak import MAIN, ROOT
from benchmarks.soak_memory import resident_mb
from empg_gym.envs.webshop.site.server import SiteServer

POST = "POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Served:
    """A running `empg-gym serve retrieval`."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def memory(self) -> float:
        """Resident memory in MB."""
        return resident_mb(self.process.pid)

    def healthy(self) -> bool:
        """Whether the server answers /health within ten seconds."""
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{self.port}/health", timeout=10, trust_env=False).status_code == 200
        return False

    def searches(self) -> bool:
        """Whether the server answers a search; those of the attackers, which are valid, may come first."""
        with contextlib.suppress(httpx.HTTPError):
            request = {"queries": "town", "topk": 1}
            return httpx.post(f"http://127.0.0.1:{self.port}/retrieve", json=request, timeout=90, trust_env=False).status_code == 200
        return False


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Served]:
    """Start the server on a small corpus of long documents, with few files to open."""
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(f'{{"id": "{n}", "contents": "Town {n}\\n{"town " * 400}"}}\n' for n in range(100)))
    command = ["serve", "retrieval", "--corpus", str(corpus), "--port", "0", "--cache", str(folder)]
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -n 512; exec "$@"', "sh", sys.executable, "-c", MAIN, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200"},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "serving" in line)
        port = int(line.rpartition(":")[2].partition("/")[0])
        threading.Thread(target=process.stderr.read, daemon=True).start()
        running = Served(process, port)
        while not running.healthy():
            time.sleep(0.1)
        yield running
    finally:
        process.terminate()
        process.wait(90)


def server_case(folder: Path, case: tuple[bytes, int, float, bytes]) -> Outcome:
    """Open connections that send `data` and don't read, but for a status; ask three times for /health meanwhile, and then search."""
    data, count, most, status = case
    with served(folder) as server, contextlib.ExitStack() as held:
        before, peak, answered, refused = server.memory(), 0.0, 0, 0
        for _ in range(count):
            connection = held.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                connection.connect(("127.0.0.1", server.port))
                connection.sendall(data)
                refused += not status or status in connection.recv(64)
            peak = max(peak, server.memory())
        for _ in range(3):
            answered += server.healthy()
            peak = max(peak, server.memory())
        searched = server.searches()
        growth = max(peak, server.memory()) - before
        fine = answered == 3 and searched and growth < most
        said = "others' search answered" if searched else "others' search not answered"
        remark = f"/health answered {answered} of 3 times, {said}; memory grew by {growth:.0f} MB"
        return count, (refused if status else count) if fine else 0, remark


_LARGE = b'{"queries": ' + str(["town"] * 512).replace("'", '"').encode() + b', "topk": 100}'
SERVER_CASES = {
    "server: connections that send nothing": (b"", 600, 64.0, b""),
    "server: half-sent headers": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", 600, 64.0, b""),
    "server: unfinished bodies": (f"{POST}Content-Length: 100\r\n\r\n{{".encode(), 260, 64.0, b""),
    "server: unfinished large bodies": (f"{POST}Content-Length: {4 << 20}\r\n\r\n".encode() + bytes(2 << 20), 100, 128.0, b""),
    "server: replies of 100 MB are refused": (f"{POST}Content-Length: {len(_LARGE)}\r\n\r\n".encode() + _LARGE, 2, 128.0, b" 400 "),
    "server: clients that never read": (
        f"{POST}Content-Length: {len(_LARGE) - 2}\r\n\r\n".encode() + _LARGE.replace(b"100}", b"8}"),
        128,
        128.0,
        b"",
    ),
    "server: posts of other sites": (f"{POST}Origin: http://evil.example\r\nContent-Length: 2\r\n\r\n{{}}".encode(), 50, 64.0, b" 403 "),
    "server: foreign host names": (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 50, 64.0, b" 421 "),
}
"""Data of a connection, number of connections, the growth in MB that is allowed, and the status that each must get; b"" reads nothing."""


class Watched:
    """A session of WebShop's site that counts what is done to it."""

    page, step, actions = None, 0, 0

    def search(self, words: str) -> bool:
        self.actions += 1
        return True

    act = search


def forms(folder: Path) -> Outcome:
    """Post forms to WebShop's site that must not reach the session; one of its own must."""
    large, small = b"words=" + b"x" * (48 << 20), b"words=x"
    with SiteServer() as site:
        site.sessions["abc"] = watched = Watched()  # type: ignore[assignment]
        host, port = site.address.removeprefix("http://").split(":")
        own = {"Host": f"{host}:{port}", "Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(small))}
        attempts = [
            ("abc", {"Content-Length": str(len(large))}, large),
            ("abc", {"Content-Length": "60000"}, small),
            ("abc", {"Host": "evil.example"}, small),
            *(("abc", {"Origin": origin}, small) for origin in ("http://evil.example", "null", f"http://{host}:1")),
            *(("abc", {"Sec-Fetch-Site": kind}, small) for kind in ("cross-site", "same-site")),
            *((guess, {}, small) for guess in ("fixed_0", "0", "session", "..%2Fabc")),
        ]
        before, held = resident_mb(os.getpid()), 0
        for session, headers, body in attempts:
            head = "".join(f"{name}: {value}\r\n" for name, value in {**own, **headers}.items())
            with socket.create_connection((host, int(port)), timeout=60) as connection, contextlib.suppress(OSError):
                connection.sendall(f"POST /{session}/act HTTP/1.1\r\n{head}\r\n".encode() + body)
                if "60000" not in head:
                    connection.recv(64)
            held += watched.actions == 0
        grown = resident_mb(os.getpid()) - before
        httpx.post(f"{site.address}/abc/act", data={"words": "x"}, trust_env=False)
        fine = watched.actions == 1 and grown < 64
    return len(attempts), held if fine else 0, f"memory grew by {grown:.0f} MB"


CASES: dict[str, Case] = {
    **{name: partial(server_case, case=case) for name, case in SERVER_CASES.items()},
    "WebShop's site: forms of other sites, of 48 MB, unfinished, for guessed sessions": forms,
}
