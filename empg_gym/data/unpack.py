"""Unpack untrusted archives safely.

Rules:
    - Entries stay inside the folder: absolute paths, `..`, drive letters and backslashes are refused, and so are links and devices.
    - An archive that unpacks to more than `limit` bytes is refused before the disk is full, whatever sizes its entries claim. If their sum
      does not fit on the disk, nothing is unpacked.
    - A `.gz` or `.xz` file that contains a tar is unpacked as a tar (wiki-18 is published this way as `.jsonl.gz`).
"""

from __future__ import annotations

import errno
import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from empg_gym.data.download import check_room
from empg_gym.errors import DataError

LIMIT = 64 << 30
"""Maximum unpacked size of an archive, in bytes."""
_BLOCK = 1 << 20


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def unpack(archive: Path, kind: str, folder: Path, *, limit: int = LIMIT) -> dict[str, dict[str, Any]]:
    """Unpack `archive` into `folder` and return the size and SHA-256 of each file, by relative path.

    Args:
        archive: the file.
        kind: "zip", "tar" (compressed or not), "gz" or "xz" (a single file, named without the suffix).
        folder: target folder, created if missing. Files with the same names are replaced.
        limit: maximum unpacked size, in bytes.

    Raises:
        DataError: the archive is damaged or too large, or an entry would leave the folder.
    """
    written: dict[str, dict[str, Any]] = {}
    left = limit
    folder.mkdir(parents=True, exist_ok=True)
    try:
        check_room(folder, _claimed(archive, kind))
        for name, source in _entries(archive, kind):
            target = folder / _inside(name, archive)
            target.parent.mkdir(parents=True, exist_ok=True)
            digest, size = hashlib.sha256(), 0
            with target.open("wb") as out:
                while block := source.read(_BLOCK):
                    size += len(block)
                    left -= len(block)
                    if left < 0:
                        raise DataError(f"{archive.name} unpacks to more than {limit:,} bytes, so it is not the expected file")
                    digest.update(block)
                    check_room(folder, len(block))
                    out.write(block)
            written[target.relative_to(folder).as_posix()] = {"size": size, "sha256": digest.hexdigest()}
    except (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError, gzip.BadGzipFile, NotImplementedError) as error:
        raise DataError(f"{archive.name} is damaged and can't be unpacked ({error}); download it again") from None
    except (IsADirectoryError, NotADirectoryError, FileExistsError) as error:
        raise DataError(f"{archive.name} has a file and a folder with the same name ({error.filename}); download it again") from None
    except (RuntimeError, UnicodeError, ValueError) as error:  # zipfile: an encrypted entry, a name that is not text; tarfile: a number
        raise DataError(f"{archive.name} can't be unpacked ({str(error)[:200]}); download it again") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise DataError(f"{archive.name} has an entry with a longer name than this disk can hold; nothing of it is used") from None
        raise
    return written


def _claimed(archive: Path, kind: str) -> int:
    """Return the unpacked size that an archive claims, in bytes; its own size where it claims none."""
    if kind == "zip":
        with zipfile.ZipFile(archive) as packed:
            return sum(entry.file_size for entry in packed.infolist())
    return archive.stat().st_size


def _inside(name: str, archive: Path) -> PurePosixPath:
    path = PurePosixPath(name)
    unsafe = path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or ":" in (path.parts[0] if path.parts else ":")
    if unsafe:
        raise DataError(f"{archive.name} has an entry that would leave its folder ({name[:80]!r}); nothing of it is used")
    return path


def _entries(archive: Path, kind: str) -> Iterator[tuple[str, _Readable]]:
    if kind == "zip":
        yield from _zip(archive)
    elif kind == "tar" or tarfile.is_tarfile(archive):
        yield from _tar(archive)
    else:
        opener = gzip.open if kind == "gz" else lzma.open
        with opener(archive, "rb") as source:
            yield archive.name.removesuffix(f".{kind}"), source


def _zip(archive: Path) -> Iterator[tuple[str, _Readable]]:
    with zipfile.ZipFile(archive) as packed:
        for entry in packed.infolist():
            _inside(entry.orig_filename, archive)
            mode = entry.external_attr >> 16
            if mode and (mode & 0o170000) not in (0, 0o100000, 0o040000):
                raise DataError(f"{archive.name} has a link or a device ({entry.filename[:80]!r}); nothing of it is used")
            if not entry.is_dir():
                with packed.open(entry) as source:
                    yield entry.filename, source


def _tar(archive: Path) -> Iterator[tuple[str, _Readable]]:
    with tarfile.open(archive) as packed:
        for entry in packed:
            _inside(entry.name, archive)
            if entry.isdir():
                continue
            source = packed.extractfile(entry) if entry.isreg() else None
            if source is None:
                raise DataError(f"{archive.name} has a link or a device ({entry.name[:80]!r}); nothing of it is used")
            with source:
                yield entry.name, source
