"""Hostile servers, pages, archives and downloads."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import ipaddress
import os
import socket
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import httpx

from benchmarks.attacks.outcome import Case, Outcome, tally
from benchmarks.soak_memory import resident_mb
from empg_gym.data.download import fetch
from empg_gym.data.registry import DataFile
from empg_gym.data.unpack import unpack
from empg_gym.envs.deepsearch.web import Fetcher, PageGuard
from empg_gym.envs.deepsearch.web.extract import from_html
from empg_gym.errors import AgentError, DataError
from empg_gym.net.exchange import ExchangeError, exchange
from empg_gym.net.guard import AddressError, Guard
from empg_gym.net.json_client import JSONClient
from empg_gym.net.retry import RetryPolicy
from empg_gym.net.special_networks import CLOUD_METADATA, IPV4_SPECIAL, IPV6_SPECIAL
from empg_gym.retrieval.backends import VisitFailed
from tests.net.endless import JUNK, endless

ENDLESS = 512 << 20
"""Bytes after which the endless bodies end."""


def addresses(folder: Path) -> Outcome:
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


BODIES = {
    "endless": (b"", b"", JUNK),
    "a bomb": (b"Content-Encoding: gzip\r\n", b"", gzip.compress(bytes(256 << 20))),
    "junk": (b"Content-Encoding: gzip\r\n", gzip.compress(b"{}"), JUNK),
}


def agent_bodies(folder: Path) -> Outcome:
    async def ask(address: str) -> None:
        client = JSONClient(address, retry=RetryPolicy(retries=0), timeout=30)
        try:
            await client.post("/chat/completions", {}, lambda reply: reply)
        finally:
            await client.aclose()

    return _bodies(lambda address: asyncio.run(ask(address)), AgentError)


def page_bodies(folder: Path) -> Outcome:
    return _bodies(lambda address: exchange(httpx.Request("GET", address), end=time.monotonic() + 30, max_bytes=2_000_000), ExchangeError)


def _bodies(read: Callable[[str], object], error: type[Exception]) -> Outcome:
    before, most, held = resident_mb(os.getpid()), 0, 0
    for head, first, chunk in BODIES.values():
        with endless(ENDLESS, head, first, chunk) as (address, sent), contextlib.suppress(OSError):
            try:
                read(address)
            except error:
                held += 1
        most = max([most, *sent])
    grown = resident_mb(os.getpid()) - before
    return len(BODIES), held, f"read at most {most / 2**20:.0f} MB of {ENDLESS >> 20}; memory grew by {max(grown, 0):.0f} MB"


def pages(folder: Path) -> Outcome:
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
    cases += [
        ("zip", encrypted()),
        ("gz", gzip.compress(b"1" * (64 << 20))),
        ("zip", b"PK\x03\x04junk"),
        ("tar", b"junk" * 200),
        ("xz", b"junk"),
        ("gz", b""),
    ]
    held = 0
    for number, (form, given) in enumerate(cases):
        place = folder / f"archive-{number}"
        place.mkdir()
        path = place / f"a.{form}"
        path.write_bytes(given)
        with contextlib.suppress(DataError):  # any other exception would be a traceback of the command
            unpack(path, form, place / "out", limit=1 << 20)
        outside = {found.name for found in place.iterdir()} - {path.name, "out"}
        links = [found for found in (place / "out").rglob("*") if found.is_symlink()]
        held += not outside and not links and not (folder / "up").exists()
    return len(cases), held, "nothing outside the folder, no link, at most 1 MB"


def encrypted() -> bytes:
    """Return an archive that says that its entry is encrypted."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as packed:
        packed.writestr("a.txt", "x")
    content = bytearray(target.getvalue())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def redirects(folder: Path) -> Outcome:
    """Visit a public page (for the guard; the server is on 127.0.0.2) that redirects to places that are not."""
    targets = ["http://127.0.0.1/", "http://169.254.169.254/latest/meta-data/", "http://168.63.129.16/", "http://[::1]/", "//10.0.0.1/"]
    targets += [
        "http://2130706433/",
        "http://inside.example/",
        "file:///etc/passwd",
        "http://u:p@start.example/",
        "http://start.example:22/",
    ]
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.2"] if host == "start.example" else ["10.0.0.1"]

    def holds(target: str) -> bool:
        with socket.create_server(("127.0.0.2", 0)) as listener:
            port, asked[:] = listener.getsockname()[1], []

            def serve() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        connection, _ = listener.accept()
                        with connection:
                            asked.append(connection.recv(1 << 16).decode().split("\r\n")[0])
                            connection.sendall(f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            guard = PageGuard(ports=frozenset({port, 80, 443}), networks=("127.0.0.2/32",), resolver=resolver)
            refused = False
            try:
                Fetcher(guard, robots=False, tries=1).visit(f"http://start.example:{port}/")
            except VisitFailed:
                refused = True
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)
            return refused and len(asked) == 1

    return tally(targets, holds, "each is read and not followed")


def downloads(folder: Path) -> Outcome:
    """Serve more bytes than the registry knows, other bytes, and offer a set that the disk has no room for."""
    tried, held, sent_most = 3, 0, 0
    for first in (b"", b"y" * 500):
        with endless(ENDLESS, b"", first, JUNK) as (address, sent):
            file = DataFile(name="data.bin", urls=(address,), size=1000, sha256="0" * 64)
            try:
                fetch(file, folder, retry=RetryPolicy(retries=0), sleep=lambda seconds: None)
            except DataError:
                held += not (folder / "data.bin").exists() and sum(path.stat().st_size for path in folder.iterdir()) <= 1000
        sent_most = max([sent_most, *sent])
    with patch("shutil.disk_usage", lambda path: SimpleNamespace(free=1000)), endless(ENDLESS) as (address, sent):
        try:
            fetch(DataFile(name="large.bin", urls=(address,), size=1 << 40), folder, retry=RetryPolicy(retries=0))
        except DataError as error:
            held += "free some space" in str(error)
    return tried, held, f"read at most {sent_most / 2**20:.0f} MB of {ENDLESS >> 20}"


CASES: dict[str, Case] = {
    "addresses that are not public, in 12 spellings": addresses,
    "page: redirects to places that are not public": redirects,
    "agent's server: endless and unpacking bodies": agent_bodies,
    "page: endless and unpacking bodies, junk after compressed data": page_bodies,
    "page: character references, unclosed and nested tags": pages,
    "archive: entries outside the folder, links, bombs, damage, encryption, long names": archives,
    "download: more than the known size, other content, no room on the disk": downloads,
}
