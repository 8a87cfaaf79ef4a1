"""The registry of official data sets, read from `sets.toml`."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

import pydantic

from empg_gym.errors import DataError, TaskError, nearest


class DataFile(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A file of a data set."""

    name: str
    """Name on disk, and the name that `--from` searches for."""
    urls: tuple[str, ...] = pydantic.Field(min_length=1)
    """Addresses of the file: the publisher's first, then mirrors."""
    size: int | None = None
    """Size in bytes, if known."""
    sha256: str | None = pydantic.Field(default=None, pattern="^[0-9a-f]{64}$")
    """Checksum, if known; otherwise it is recorded on first use."""
    unpack: Literal["zip", "tar", "gz", "xz"] | None = None
    """Type of archive to unpack into the set's folder; None = not an archive."""

    @pydantic.field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if PurePosixPath(value).name != value or value in (".", ".."):
            raise ValueError("expected a file name without folders")
        return value


class DataSet(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A data set that can be downloaded by name."""

    name: str = pydantic.Field(pattern="^[a-z0-9][a-z0-9._-]*$")
    title: str
    benchmark: str
    licence: str
    terms: str
    """Conditions and exceptions of the licence, in one sentence."""
    homepage: str
    use: str
    """How to pass the set to an environment; PATH is a placeholder for its folder."""
    files: tuple[DataFile, ...] = pydantic.Field(min_length=1)

    @property
    def size(self) -> int | None:
        """Bytes to download; None if a file's size is unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def read_registry(text: str) -> dict[str, DataSet]:
    """Parse a registry in the format of `sets.toml`.

    Raises:
        DataError: the text is not a valid registry.
    """
    try:
        return {name: DataSet(name=name, **entry) for name, entry in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, pydantic.ValidationError, TypeError) as error:
        raise DataError(f"the registry of data sets is not valid: {error}") from None


@lru_cache(maxsize=1)
def official_sets() -> dict[str, DataSet]:
    """Return the data sets of this release, by name."""
    return read_registry(files("empg_gym.data").joinpath("sets.toml").read_text(encoding="utf-8"))


def find_set(name: str, registry: dict[str, DataSet] | None = None) -> DataSet:
    """Return the data set with this name.

    Raises:
        TaskError: the name is unknown.
    """
    known = official_sets() if registry is None else registry
    if name not in known:
        raise TaskError(f"unknown data set {name!r}; {nearest(name, known)}")
    return known[name]


def set_folder(root: Path, data_set: DataSet) -> Path:
    """Return the folder of a set below the data root."""
    return root / data_set.name
