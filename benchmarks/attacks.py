"""Hostile clients, servers, pages and files against the parts that meet them; each case is tried and either held or not.

A case holds if the attack is refused or survived as documented, within its limits of memory, and the part works afterwards. Traffic goes to
loopback addresses only.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import ipaddress
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

from benchmarks.soak import MAIN, ROOT
from benchmarks.soak_memory import resident_mb
from empg_gym.data.unpack import unpack
from empg_gym.envs.deepsearch.web.extract import from_html
from empg_gym.errors import AgentError, DataError
from empg_gym.net.exchange import ExchangeError, exchange
from empg_gym.net.guard import AddressError, Guard
from empg_gym.net.json_client import JSONClient
from empg_gym.net.retry import RetryPolicy
from empg_gym.net.special_networks import CLOUD_METADATA, IPV4_SPECIAL, IPV6_SPECIAL

Outcome = tuple[int, int, str]
"""Tried, held, and a remark with what was measured."""
POST = "POST /retrieve HTTP/1.1\r\nHost: 127.0.0.1\r\n"
ENDLESS = 512 << 20


def attacks() -> list[dict[str, Any]]:
    """Return the outcome of every case."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cases: list[tuple[str, Callable[[], Outcome]]] = [
            *((name, lambda case=case: server_case(Path(folder), case)) for name, case in SERVER_CASES.items()),  # type: ignore[misc]
            ("addresses that are not public, in 12 spellings", addresses),
            ("agent's server: endless and unpacking bodies", agent_bodies),
            ("page: endless and unpacking bodies, junk after compressed data", page_bodies),
            ("page: character references, unclosed and nested tags", pages),
            ("archive: entries outside the folder, links, bombs, damage", lambda: archives(Path(folder))),
        ]
        for name, case in cases:
            tried, held, remark = case()
            rows.append({"attack": name, "tried": tried, "held": held, "remark": remark})
            print(rows[-1], flush=True)
    return rows


# The retrieval server, as the command starts it


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


def server_case(folder: Path, case: tuple[bytes, int, float]) -> Outcome:
    """Open connections that send `data` and never read; ask three times for /health meanwhile, and then search."""
    data, count, most = case
    with served(folder) as server, contextlib.ExitStack() as held:
        before, peak, answered = server.memory(), 0.0, 0
        for _ in range(count):
            connection = held.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            connection.settimeout(10)
            with contextlib.suppress(OSError):
                connection.connect(("127.0.0.1", server.port))
                connection.sendall(data)
            peak = max(peak, server.memory())
        for _ in range(3):
            answered += server.healthy()
            peak = max(peak, server.memory())
        searched = server.searches()
        growth = max(peak, server.memory()) - before
        fine = answered == 3 and searched and growth < most
        said = "others' search answered" if searched else "others' search not answered"
        return count, count if fine else 0, f"/health answered {answered} of 3 times, {said}; memory grew by {growth:.0f} MB"


_LARGE = b'{"queries": ' + str(["town"] * 512).replace("'", '"').encode() + b', "topk": 100}'
SERVER_CASES = {
    "server: connections that send nothing": (b"", 600, 64.0),
    "server: half-sent headers": (b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", 600, 64.0),
    "server: unfinished bodies": (f"{POST}Content-Length: 100\r\n\r\n{{".encode(), 260, 64.0),
    "server: unfinished large bodies": (f"{POST}Content-Length: {4 << 20}\r\n\r\n".encode() + bytes(2 << 20), 100, 128.0),
    "server: replies of 100 MB are refused": (f"{POST}Content-Length: {len(_LARGE)}\r\n\r\n".encode() + _LARGE, 2, 128.0),
    "server: clients that never read": (
        f"{POST}Content-Length: {len(_LARGE) - 2}\r\n\r\n".encode() + _LARGE.replace(b"100}", b"8}"),
        128,
        128.0,
    ),
    "server: posts of other sites": (f"{POST}Origin: http://evil.example\r\nContent-Length: 2\r\n\r\n{{}}".encode(), 50, 64.0),
    "server: foreign host names": (b"GET /health HTTP/1.1\r\nHost: evil.example\r\n\r\n", 50, 64.0),
}
"""Data of a connection, number of connections, and the growth in MB that is allowed."""


# Addresses


def addresses() -> Outcome:
    """Try the first, the middle and the last address of every special network, in several spellings."""
    guard = Guard(resolver=lambda host, port: ["127.0.0.1"])
    tried = held = 0
    networks = (*IPV4_SPECIAL, *IPV6_SPECIAL, *CLOUD_METADATA)
    for entry in networks:
        network = ipaddress.ip_network(entry)
        for place in {0, network.num_addresses // 2, network.num_addresses - 1}:
            for url in spellings(network[place]):
                tried += 1
                try:
                    guard.check(url, 1.0)
                except AddressError:
                    held += 1
    return tried, held, f"{len(networks)} networks"


def spellings(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> list[str]:
    """Return URLs that a client might read as this address."""
    if isinstance(address, ipaddress.IPv6Address):
        return [f"http://[{address}]/", f"https://[{address.exploded}]/", f"http://[{address}%25eth0]/", f"http://x@[{address}]/"]
    number, parts = int(address), str(address).split(".")
    return [
        *(f"http://{address}/", f"https://{address}:443/", f"http://{number}/", f"http://{number:#x}/", f"http://0{number:o}/"),
        *(f"http://{'.'.join(f'0{int(part):o}' for part in parts)}/", f"http://{'.'.join(f'{int(part):#x}' for part in parts)}/"),
        *(f"http://{parts[0]}.{number & 0xFFFFFF}/", f"http://[::ffff:{address}]/", f"http://{address}./", f"http://a@{address}/"),
        f"http://name-of-{number}.example/",
    ]


# Foreign servers


@contextlib.contextmanager
def endless(head: bytes, first: bytes, chunk: bytes) -> Iterator[tuple[str, list[int]]]:
    """Serve a body that does not end before `ENDLESS` bytes; yield the address and what was sent."""
    sent: list[int] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            total = 0
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n" + head + b"\r\n")
                for part in (first, *[chunk] * (ENDLESS // len(chunk))):
                    if part:
                        connection.sendall(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                        total += len(part)
            sent.append(total)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", sent
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(10)


_JUNK = b"x" * (1 << 16)
BODIES = {
    "endless": (b"", b"", _JUNK),
    "a bomb": (b"Content-Encoding: gzip\r\n", b"", gzip.compress(bytes(256 << 20))),
    "junk": (b"Content-Encoding: gzip\r\n", gzip.compress(b"{}"), _JUNK),
}


def agent_bodies() -> Outcome:
    async def ask(address: str) -> None:
        client = JSONClient(address, retry=RetryPolicy(retries=0), timeout=30)
        try:
            await client.post("/chat/completions", {}, lambda reply: reply)
        finally:
            await client.aclose()

    return _bodies(lambda address: asyncio.run(ask(address)), AgentError)


def page_bodies() -> Outcome:
    return _bodies(lambda address: exchange(httpx.Request("GET", address), end=time.monotonic() + 30, max_bytes=2_000_000), ExchangeError)


def _bodies(read: Callable[[str], object], error: type[Exception]) -> Outcome:
    before, most, held = resident_mb(os.getpid()), 0, 0
    for head, first, chunk in BODIES.values():
        with endless(head, first, chunk) as (address, sent), contextlib.suppress(OSError):
            try:
                read(address)
            except error:
                held += 1
        most = max([most, *sent])
    grown = resident_mb(os.getpid()) - before
    return len(BODIES), held, f"read at most {most / 2**20:.0f} MB of {ENDLESS >> 20}; memory grew by {grown:.0f} MB"


# Pages and archives


def pages() -> Outcome:
    pieces = ["<a <a ", "<div>", "</p>", "<!--", "<p title='", "&#", "&#x", "<b><i>", "<title>", "\0<", "<li><td>", "&", "<script>"]
    texts = [piece * (200_000 // len(piece)) for piece in pieces]
    texts += [f"&#{sign}{digit * count}{end}" for sign in ("", "x") for digit in "09f" for count in (4300, 100_000) for end in ("", ";")]
    began, held = time.process_time(), 0
    for text in texts:
        from_html(text)
        held += 1
    return len(texts), held, f"{time.process_time() - began:.1f} s of CPU time for {sum(map(len, texts)) / 1e6:.1f} million characters"


def archives(folder: Path) -> Outcome:
    names = ["../up", "/etc/passwd", "a/../../up", "C:\\up", "a\\..\\up", "./../up", "nul\0l", "a/" * 300 + "x", "x" * 300]
    cases: list[tuple[str, bytes]] = []
    for name in names:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as packed:
            packed.writestr(name, "x")
        cases.append(("zip", target.getvalue()))
        for kind in (tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            target = io.BytesIO()
            with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as tar:
                entry = tarfile.TarInfo(name.replace("\0", "0../../"))
                entry.type, entry.linkname = kind, "/etc/passwd"
                tar.addfile(entry)
            cases.append(("tar", target.getvalue()))
    cases += [("gz", gzip.compress(b"1" * (64 << 20))), ("zip", b"PK\x03\x04junk"), ("tar", b"junk" * 200), ("xz", b"junk"), ("gz", b"")]
    held = 0
    for number, (kind, content) in enumerate(cases):
        place = folder / f"archive-{number}"
        place.mkdir()
        path = place / f"a.{kind}"
        path.write_bytes(content)
        with contextlib.suppress(DataError):
            unpack(path, kind, place / "out", limit=1 << 20)
        outside = {found.name for found in place.iterdir()} - {path.name, "out"}
        links = [found for found in (place / "out").rglob("*") if found.is_symlink()]
        held += not outside and not links and not (folder / "up").exists()
    return len(cases), held, "nothing outside the folder, no link, at most 1 MB"
