"""Downloads one file over HTTP so that no byte is fetched twice and no wrong content is kept.

Rules:
    - Bytes go to `<name>.part`; an interrupted download resumes from there (`Range`, guarded by `If-Range` if the server sent a strong
      validator). If a server ignores the range, the file is written from the beginning.
    - Failures that may pass are retried by the policy of all HTTP clients (`empg_gym.net.retry`), counted from the last new byte;
      then the next mirror is tried.
    - Without a known checksum, only bytes of the same address and the same edition are combined.
    - Size and SHA-256 are checked before the file gets its name. Wrong content is discarded, and the next address is tried.
    - No more bytes are kept than the known size, or else than the server announced, or else than `LARGEST`; `RESERVE` bytes of the disk
      stay free.
"""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx

from empg_gym.data.registry import DataFile
from empg_gym.errors import DataError
from empg_gym.net.retry import RetryPolicy, is_retryable

DOWNLOAD_RETRY = RetryPolicy(retries=3, first_wait=1.0)
"""Retries are counted from the last new byte."""
TIMEOUT = httpx.Timeout(connect=15.0, read=60.0, write=30.0, pool=15.0)

LARGEST = 256 << 30
"""Bytes: longest file whose length nobody knows."""
RESERVE = 64 << 20
"""Bytes of the disk that a download or an unpacked archive leaves free."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes on disk and the total size in bytes (None if unknown)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A downloaded and verified file."""

    path: Path
    sha256: str
    size: int
    url: str


class _Unusable(Exception):
    """This address can't provide the file; the text says why."""


class _WrongContent(_Unusable):
    """This address sent other content."""


def fetch(
    file: DataFile,
    folder: Path,
    *,
    expected: str | None = None,
    if_other: str = "",
    retry: RetryPolicy = DOWNLOAD_RETRY,
    progress: Progress | None = None,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Fetch `file` into `folder`.

    Args:
        file: what to fetch.
        folder: destination folder; it also holds the partial download.
        expected: SHA-256 to verify; None uses that of `file`, and without one accepts any content.
        if_other: sentence added to the error if an address sent other content than expected.
        retry: how often one address is retried without a new byte, and how long to wait.
        progress: called as the download proceeds.
        client: HTTP client; None creates one that follows redirects.
        sleep: waits between attempts.

    Raises:
        DataError: no address provided the file; the text lists the answer of each.
    """
    expected = expected or file.sha256
    folder.mkdir(parents=True, exist_ok=True)
    part = _Part(folder / f"{file.name}.part")
    report = progress or (lambda _done, _total: None)
    failures: list[str] = []
    other = False
    own = client is None
    http = client or httpx.Client(timeout=TIMEOUT, follow_redirects=True, headers={"User-Agent": "empg-gym"})
    try:
        for url in file.urls:
            part.open(url, mixed=expected is not None)
            # Once more from the beginning: the partial file may stem from another address or edition.
            for again in (False, True):
                resumed = part.size > 0
                try:
                    _fill(http, url, part, file.size, retry, report, sleep)
                    digest = _checked(part, file, expected)
                except _WrongContent as problem:
                    part.discard()
                    if again or not resumed:
                        other = True
                        failures.append(f"{url}: {problem}")
                        break
                except _Unusable as problem:
                    failures.append(f"{url}: {problem}")
                    break
                else:
                    target = folder / file.name
                    size = part.path.stat().st_size
                    part.finish(target)
                    return Fetched(target, digest, size, url)
    finally:
        if own:
            http.close()
    answers = "\n  ".join(failures)
    hint = f"{if_other}\n" if other and if_other else ""
    raise DataError(
        f"{file.name} could not be fetched:\n  {answers}\n{hint}"
        "Try again later (partial downloads are kept), or download it elsewhere and pass it with --from FILE"
    )


class _Part:
    """The partial file, its address, and the edition that the server named."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notes = path.with_name(path.name + ".json")
        self._url = ""
        self._strict = False

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def open(self, url: str, *, mixed: bool) -> None:
        """Continue with `url`; `mixed` allows bytes from other addresses, since a checksum will detect a mismatch."""
        self._url, self._strict = url, not mixed
        if self._strict and (self._read("url") != url or self.validator is None):
            self.discard()

    @property
    def validator(self) -> str | None:
        """The server's name for the edition of these bytes, None if unknown."""
        return self._read("validator") if self._read("url") == self._url else None

    def note(self, response: httpx.Response) -> None:
        tag = response.headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        self._notes.write_text(json.dumps({"url": self._url, "validator": validator}), encoding="utf-8")

    def cut_off(self) -> None:
        """Handle a connection that ended early: without the edition's name, the bytes may not fit the next ones."""
        if self._strict and self.validator is None:
            self.discard()

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._notes.unlink(missing_ok=True)

    def finish(self, target: Path) -> None:
        self.path.replace(target)
        self._notes.unlink(missing_ok=True)

    def _read(self, name: str) -> str | None:
        try:
            value = json.loads(self._notes.read_text(encoding="utf-8"))[name]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return value if isinstance(value, str) else None


def _fill(
    http: httpx.Client, url: str, part: _Part, size: int | None, retry: RetryPolicy, report: Progress, sleep: Callable[[float], None]
) -> None:
    """Complete the partial file from one address."""
    rng = random.Random()
    idle = 0  # consecutive attempts without a new byte
    while True:
        before = part.size
        if size is not None and before == size:
            return
        headers: Mapping[str, str] | None = None
        try:
            if _request(http, url, part, size, report):
                return
            problem = "the connection ended early"
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if not is_retryable(status):
                raise _Unusable(f"answered {status}") from None
            problem = f"answered {status}"
            headers = error.response.headers
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        part.cut_off()
        idle = 0 if part.size > before else idle + 1
        if idle > retry.retries:
            raise _Unusable(problem)
        sleep(retry.wait(idle, rng, headers))


def _request(http: httpx.Client, url: str, part: _Part, size: int | None, report: Progress) -> bool:
    """Send one request and return whether the file is complete."""
    have = part.size
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if part.validator is not None:
            headers["If-Range"] = part.validator
    with http.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            part.discard()
            raise httpx.RemoteProtocolError("the server has fewer bytes than were already downloaded")
        response.raise_for_status()
        resumes = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status_code == 206 and not resumes:
            part.discard()
            raise httpx.RemoteProtocolError("the server sent another range than requested")
        if not resumes:
            part.discard()
            have = 0
            part.note(response)
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else size
        if size is not None and total is not None and total != size:
            raise _WrongContent(f"offers {total:,} bytes, expected {size:,} (a web page instead of the file, or another edition)")
        report(have, total)
        limit = LARGEST if total is None else total
        check_room(part.path.parent, 0 if total is None else total - have)
        with part.path.open("ab") as target:
            for block in response.iter_raw():
                have += len(block)
                if have > limit:
                    raise _WrongContent(f"sends more than the {limit:,} bytes that are expected")
                check_room(part.path.parent, len(block))
                target.write(block)
                report(have, total)
    return total is None or have == total


def _checked(part: _Part, file: DataFile, expected: str | None) -> str:
    if file.size is not None and part.size != file.size:
        raise _WrongContent(f"sent {part.size:,} bytes, expected {file.size:,}")
    digest = sha256(part.path)
    if expected is not None and digest != expected:
        raise _WrongContent(f"sent other content: its SHA-256 is {digest}, expected {expected}")
    return digest


def check_room(folder: Path, count: int) -> None:
    """Check that `count` more bytes fit on the disk of `folder`, with `RESERVE` bytes to spare.

    Raises:
        DataError: they don't.
    """
    free = shutil.disk_usage(folder).free
    if free - count < RESERVE:
        raise DataError(
            f"{folder} needs {count / 1e9:.2f} GB more, but only {free / 1e9:.2f} GB of its disk are free; free some space, "
            "or set EMPG_GYM_CACHE to a folder on a larger disk"
        )


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
