"""`empg-gym` with small versions of the official sets: same names, files of a few bytes, and a local server as the publisher.

The address of the server is in the variable `SMALL_SETS`. Run as `python -m tests.docs.small_sets data get webshop-small`.
"""

from __future__ import annotations

import hashlib
import io
import os
import zipfile

from empg_gym.cli import main
from empg_gym.data import registry
from empg_gym.data.registry import DataFile, DataSet

VARIABLE = "SMALL_SETS"


def content(name: str, unpack: str | None) -> bytes:
    """Return the bytes of a stand-in for a file, the same ones each time."""
    text = f"stand-in for {name}\n".encode()
    if unpack != "zip":
        return text
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(zipfile.ZipInfo(f"unpacked/{name}.txt"), text)
    return packed.getvalue()


def small(data_set: DataSet, address: str) -> DataSet:
    """Return the set with small files from `address` and their sizes and checksums."""
    return data_set.model_copy(update={"files": tuple(_small(file, address) for file in data_set.files)})


def _small(file: DataFile, address: str) -> DataFile:
    body = content(file.name, file.unpack)
    return file.model_copy(update={"urls": (f"{address}/{file.name}",), "size": len(body), "sha256": hashlib.sha256(body).hexdigest()})


if __name__ == "__main__":
    offered = {name: small(data_set, os.environ[VARIABLE]) for name, data_set in registry.official_sets().items()}
    registry.official_sets = lambda: offered
    main()
