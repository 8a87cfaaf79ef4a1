"""The store of installed data sets.

Layout, below the data root (`data` in the cache folder):
    <set>/                     the unpacked files
    .downloads/<set>/          incomplete downloads
    lock.json                  for each download its checksum, size, address and kind of check, and every unpacked file with its checksum

Rules:
    - A set is installed completely or not at all: its files are assembled in a temporary folder, which is then renamed.
    - A checksum in the registry is authoritative. Without one, the first download is trusted and its checksum recorded in `lock.json`; a
      later download that differs is refused, unless a new edition is requested.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from empg_gym.cache import cache_root
from empg_gym.data.download import fetch, sha256
from empg_gym.data.registry import DataFile, DataSet, set_folder
from empg_gym.data.unpack import unpack
from empg_gym.errors import DataError
from empg_gym.runs.atomic_write import atomic_write

Report = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes present so far and the total bytes."""


@dataclass(frozen=True, slots=True)
class Checked:
    """Result of verifying a set."""

    files: int
    problems: tuple[str, ...]
    first_use: tuple[str, ...]
    """Files checked only against the first download, since the registry has no checksum."""


class DataStore:
    """The official data sets on this machine.

    Args:
        root: data root; None = `data` in the cache folder.
        client: HTTP client for downloads, for tests.
    """

    def __init__(self, root: Path | None = None, client: httpx.Client | None = None) -> None:
        self.root = cache_root() / "data" if root is None else root
        self._client = client

    def path(self, data_set: DataSet) -> Path | None:
        """Return the folder of a set, or None if it is not installed."""
        folder = set_folder(self.root, data_set)
        return folder if folder.is_dir() and data_set.name in self._lock() else None

    def fingerprint(self, data_set: DataSet) -> str | None:
        """Return a short hash of the set's downloaded files, or None if it is not installed."""
        entry = self._lock().get(data_set.name)
        if entry is None:
            return None
        import hashlib

        text = "".join(f"{name}:{record['sha256']};" for name, record in sorted(entry["downloads"].items()))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def get(
        self,
        data_set: DataSet,
        *,
        sources: Sequence[Path] = (),
        again: bool = False,
        new_edition: bool = False,
        report: Report | None = None,
    ) -> Path:
        """Install a set and return its folder.

        Args:
            data_set: the set to install.
            sources: local files, or folders that contain them, to use instead of the network.
            again: install it even if it is already installed.
            new_edition: like `again`, and also trust files without a checksum in the registry again.
            report: callback for progress.

        Raises:
            DataError: a file can't be downloaded or differs from the expected one, the disk is too small, or another process is installing
                the set.
        """
        with self._alone(data_set):
            here = self.path(data_set)
            if here is not None and not (again or new_edition):
                return here
            self._room(data_set)
            parts = self.root / ".downloads" / data_set.name
            built = parts / "unpacked"
            shutil.rmtree(built, ignore_errors=True)
            built.mkdir(parents=True)
            known = {} if new_edition else self._lock().get(data_set.name, {}).get("downloads", {})
            entry: dict[str, Any] = {"downloads": {}, "files": {}}
            for file in data_set.files:
                entry["downloads"][file.name] = self._bring(
                    data_set.name, file, parts, known.get(file.name, {}).get("sha256"), sources, report
                )
                entry["files"].update(_place(parts / file.name, file, built))
            folder = set_folder(self.root, data_set)
            shutil.rmtree(folder, ignore_errors=True)
            built.replace(folder)
            self._write(data_set.name, entry)
            shutil.rmtree(parts, ignore_errors=True)
            return folder

    def verify(self, data_set: DataSet, report: Report | None = None) -> Checked:
        """Compare every file of a set with the recorded checksums.

        Raises:
            DataError: the set is not installed.
        """
        folder = self.path(data_set)
        if folder is None:
            raise DataError(f"{data_set.name} is not installed; run: empg-gym data get {data_set.name}")
        entry = self._lock()[data_set.name]
        problems = []
        for number, (name, record) in enumerate(sorted(entry["files"].items()), 1):
            path = folder / name
            if not path.is_file():
                problems.append(f"{name} is missing")
            elif path.stat().st_size != record["size"]:
                problems.append(f"{name} has {path.stat().st_size:,} bytes, expected {record['size']:,}")
            elif sha256(path) != record["sha256"]:
                problems.append(f"{name} differs from the downloaded file")
            if report is not None:
                report(data_set.name, number, len(entry["files"]))
        for file in data_set.files:
            fetched = entry["downloads"].get(file.name)
            if fetched is None:
                problems.append(f"{file.name} was added to the set and is not installed")
            elif file.sha256 is not None and fetched["sha256"] != file.sha256:
                problems.append(f"{file.name} is not the edition that this release expects")
        first = tuple(name for name, record in entry["downloads"].items() if record["checked"] == "first use")
        return Checked(len(entry["files"]), tuple(problems), first)

    def glance(self, data_set: DataSet) -> str | None:
        """Return a problem of an installed set, judging by file sizes only, or None."""
        folder = set_folder(self.root, data_set)
        for name, record in self._lock()[data_set.name]["files"].items():
            path = folder / name
            if not path.is_file() or path.stat().st_size != record["size"]:
                return f"{name} is missing or differs in size from the downloaded file"
        return None

    def _bring(
        self, name: str, file: DataFile, parts: Path, recorded: str | None, sources: Sequence[Path], report: Report | None
    ) -> dict[str, Any]:
        expected = file.sha256 or recorded
        trusted = recorded is not None and file.sha256 is None
        if_other = (
            f"The first download is the expected edition; to accept another: empg-gym data get {name} --new-edition" if trusted else ""
        )
        if sources:
            given = _given(file, sources)
            digest = sha256(given)
            if expected is not None and digest != expected:
                problem = f"{given} is not the expected {file.name}: its SHA-256 is {digest}, expected {expected}"
                raise DataError(f"{problem}. {if_other}" if if_other else problem)
            shutil.copyfile(given, parts / file.name)
            origin, size = "--from", given.stat().st_size
        else:
            progress = None if report is None else (lambda done, total: report(file.name, done, total))
            fetched = fetch(file, parts, expected=expected, if_other=if_other, progress=progress, client=self._client)
            digest, size, origin = fetched.sha256, fetched.size, fetched.url
        checked = "registry" if file.sha256 else "earlier download" if recorded else "first use"
        return {"sha256": digest, "size": size, "from": origin, "checked": checked}

    def _room(self, data_set: DataSet) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        needed = sum((file.size or 0) * (4 if file.unpack else 1) for file in data_set.files)
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise DataError(
                f"{data_set.name} needs about {needed / 1e9:.1f} GB in {self.root}, but only {free / 1e9:.1f} GB are free; "
                "free some space, or set EMPG_GYM_CACHE to a folder on a larger disk"
            )

    @contextlib.contextmanager
    def _alone(self, data_set: DataSet) -> Iterator[None]:
        parts = self.root / ".downloads"
        try:
            parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(f"{self.root} is not writable ({error.strerror}); set EMPG_GYM_CACHE to a writable folder") from None
        with (parts / f"{data_set.name}.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataError(f"another process is downloading {data_set.name}; wait for it, or stop it") from None
            yield

    def _lock(self) -> dict[str, Any]:
        path = self.root / "lock.json"
        if not path.is_file():
            return {}
        try:
            value = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}); delete it and download the sets again") from None
        return dict(value)

    def _write(self, name: str, entry: dict[str, Any]) -> None:
        path = self.root / "lock.json"
        # Two processes may install different sets at once.
        with (self.root / ".downloads" / "lock.json.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            atomic_write(path, json.dumps({**self._lock(), name: entry}, indent=1))


def _given(file: DataFile, sources: Sequence[Path]) -> Path:
    for source in sources:
        candidate = source / file.name if source.is_dir() else source
        if candidate.is_file() and (source.is_dir() or candidate.name == file.name):
            return candidate
    named = ", ".join(str(source) for source in sources)
    raise DataError(f"--from ({named}) does not contain {file.name}; pass a folder that contains it, or a file with this name")


def _place(path: Path, file: DataFile, built: Path) -> dict[str, dict[str, Any]]:
    if file.unpack is not None:
        written = unpack(path, file.unpack, built)
        path.unlink()
        return written
    target = built / file.name
    path.replace(target)
    return {file.name: {"size": target.stat().st_size, "sha256": sha256(target)}}
