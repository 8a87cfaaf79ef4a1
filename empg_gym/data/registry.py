"""The official data sets by name, as `sets.toml` lists them."""

from __future__ import annotations

import tomllib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Literal

import pydantic

from empg_gym.errors import DataError, TaskError, nearest


class DataFile(pydantic.BaseModel, frozen=True, extra="forbid"):
    """One file of a set."""

    name: str
    """Name on disk, and the name that `--from` looks for."""
    urls: tuple[str, ...] = pydantic.Field(min_length=1)
    """Where to get it: the publisher first, then mirrors."""
    size: int | None = None
    """Bytes, where known."""
    sha256: str | None = pydantic.Field(default=None, pattern="^[0-9a-f]{64}$")
    """Checksum, where known; else it is recorded on first use."""
    unpack: Literal["zip", "tar", "gz", "xz"] | None = None
    """How the file is unpacked into the set's folder; None keeps it as it is."""

    @pydantic.field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if PurePosixPath(value).name != value or value in (".", ".."):
            raise ValueError("a file name without folders")
        return value


class DataSet(pydantic.BaseModel, frozen=True, extra="forbid"):
    """A set that can be fetched by its name."""

    name: str = pydantic.Field(pattern="^[a-z0-9][a-z0-9._-]*$")
    title: str
    benchmark: str
    licence: str
    terms: str
    """What the licence asks and what it does not cover, in a sentence."""
    homepage: str
    use: str
    """How an environment is given the set; PATH stands for its folder."""
    files: tuple[DataFile, ...] = pydantic.Field(min_length=1)

    @property
    def size(self) -> int | None:
        """Bytes to download; None where a file's size is unknown."""
        sizes = [file.size for file in self.files]
        return None if None in sizes else sum(size for size in sizes if size is not None)


def read_registry(text: str) -> dict[str, DataSet]:
    """Read a registry in the form of `sets.toml`.

    Raises:
        DataError: not such a file.
    """
    try:
        return {name: DataSet(name=name, **entry) for name, entry in tomllib.loads(text).items()}
    except (tomllib.TOMLDecodeError, pydantic.ValidationError, TypeError) as error:
        raise DataError(f"the registry of data sets can't be read: {error}") from None


@lru_cache(maxsize=1)
def official_sets() -> dict[str, DataSet]:
    """Return the sets of this release by name."""
    return read_registry(files("empg_gym.data").joinpath("sets.toml").read_text(encoding="utf-8"))


def find_set(name: str, registry: dict[str, DataSet] | None = None) -> DataSet:
    """Return the set of that name.

    Raises:
        TaskError: no such set.
    """
    known = official_sets() if registry is None else registry
    if name not in known:
        raise TaskError(f"there is no data set {name!r}; {nearest(name, known)}")
    return known[name]


def set_folder(root: Path, data_set: DataSet) -> Path:
    """Return the folder of a set below the data root."""
    return root / data_set.name
