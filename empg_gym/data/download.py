"""Fetches one file over HTTP so that nothing is fetched twice and nothing wrong is kept.

Rules:
    - Bytes go to `<name>.part`; a run that was cut off goes on from there (`Range`, guarded by `If-Range` where the server gave a strong
      validator). A server that ignores the range sends the file from the beginning, and so it is written.
    - An address is tried `attempts` times while it makes no progress, then the next mirror.
    - Where no checksum is known, only bytes of the same address and the same edition are put together.
    - Size and SHA-256 are checked before the file gets its name. Wrong content from one address is thrown away and the next one is tried.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from empg_gym.data.registry import DataFile
from empg_gym.errors import DataError
from empg_gym.net.retry_after import retry_after

LONGEST_WAIT = 120.0
"""Seconds that a server's wish to wait is followed."""
TIMEOUT = httpx.Timeout(connect=15.0, read=60.0, write=30.0, pool=15.0)

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and the bytes that there will be (None if unknown)."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that was fetched and checked."""

    path: Path
    sha256: str
    size: int
    url: str


class _Unusable(Exception):
    """This address can't give the file; the text says why."""


class _WrongContent(_Unusable):
    """This address gave something else."""


def fetch(
    file: DataFile,
    folder: Path,
    *,
    expected: str | None = None,
    if_other: str = "",
    attempts: int = 4,
    progress: Progress | None = None,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Fetched:
    """Fetch `file` into `folder`.

    Args:
        file: what to fetch.
        folder: where it goes; the unfinished part lies beside it.
        expected: SHA-256 to hold it to; None takes the one of `file`, and where that has none, whatever comes.
        if_other: sentence of the error where an address gave other content than `expected`.
        attempts: runs of one address without a new byte.
        progress: told how far it is.
        client: HTTP client; None makes one that follows redirects.
        sleep: waits between attempts.

    Raises:
        DataError: no address gave the file; the text says what each of them answered.
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
            # Once more from the beginning: what was there may have come from another address or of another edition.
            for again in (False, True):
                resumed = part.size > 0
                try:
                    _fill(http, url, part, file.size, attempts, report, sleep)
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
    told = "\n  ".join(failures)
    hint = f"{if_other}\n" if other and if_other else ""
    raise DataError(
        f"{file.name} could not be fetched:\n  {told}\n{hint}"
        "Try again later (what is there is kept), or fetch it elsewhere and hand it over with --from FILE"
    )


class _Part:
    """The unfinished file, where it came from and what the server said of its edition."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._notes = path.with_name(path.name + ".json")
        self._url = ""
        self._strict = False

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    def open(self, url: str, *, mixed: bool) -> None:
        """Go on with `url`; `mixed` allows bytes that came from elsewhere, as a checksum will tell."""
        self._url, self._strict = url, not mixed
        if self._strict and (self._read("url") != url or self.validator is None):
            self.discard()

    @property
    def validator(self) -> str | None:
        """What the server called the edition that these bytes are of."""
        return self._read("validator") if self._read("url") == self._url else None

    def note(self, response: httpx.Response) -> None:
        tag = response.headers.get("ETag", "")
        validator = tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified")
        self._notes.write_text(json.dumps({"url": self._url, "validator": validator}), encoding="utf-8")

    def cut_off(self) -> None:
        """The connection ended early: without a name for the edition the bytes can't be trusted to fit the next ones."""
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
    http: httpx.Client, url: str, part: _Part, size: int | None, attempts: int, report: Progress, sleep: Callable[[float], None]
) -> None:
    """Bring the part to its end from one address."""
    idle = 0
    while True:
        before = part.size
        if size is not None and before == size:
            return
        wait = 0.0
        try:
            if _request(http, url, part, size, report):
                return
            problem = "the connection ended early"
        except httpx.HTTPStatusError as error:
            status = error.response.status_code
            if status not in (408, 425, 429) and status < 500:
                raise _Unusable(f"answered {status}") from None
            problem = f"answered {status}"
            wait = retry_after(error.response.headers, longest=LONGEST_WAIT) or 0.0
        except httpx.HTTPError as error:
            problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        part.cut_off()
        idle = 0 if part.size > before else idle + 1
        if idle >= attempts:
            raise _Unusable(problem)
        sleep(wait or min(30.0, 2.0**idle) * random.uniform(0.5, 1.0))


def _request(http: httpx.Client, url: str, part: _Part, size: int | None, report: Progress) -> bool:
    """Ask once and return whether the file is whole."""
    have = part.size
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if part.validator is not None:
            headers["If-Range"] = part.validator
    with http.stream("GET", url, headers=headers) as response:
        if response.status_code == 416:
            part.discard()
            raise httpx.RemoteProtocolError("the server has fewer bytes than were here already")
        response.raise_for_status()
        goes_on = response.status_code == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        if response.status_code == 206 and not goes_on:
            part.discard()
            raise httpx.RemoteProtocolError("the server sent another range than it was asked for")
        if not goes_on:
            part.discard()
            have = 0
            part.note(response)
        length = response.headers.get("Content-Length", "")
        total = have + int(length) if length.isdecimal() else size
        if size is not None and total is not None and total != size:
            raise _WrongContent(f"offers {total:,} bytes, expected {size:,} (a web page instead of the file, or another edition)")
        report(have, total)
        with part.path.open("ab") as target:
            for block in response.iter_raw():
                target.write(block)
                have += len(block)
                report(have, total)
    return total is None or have == total


def _checked(part: _Part, file: DataFile, expected: str | None) -> str:
    if file.size is not None and part.size != file.size:
        raise _WrongContent(f"gave {part.size:,} bytes, expected {file.size:,}")
    digest = sha256(part.path)
    if expected is not None and digest != expected:
        raise _WrongContent(f"gave other content: its SHA-256 is {digest}, expected {expected}")
    return digest


def sha256(path: Path) -> str:
    """Return the checksum of a file."""
    with path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()
