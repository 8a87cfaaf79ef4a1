"""The registry against files at hand: a checksum of the registry is that of the original file."""

from __future__ import annotations

from empg_gym.data.download import sha256
from empg_gym.data.registry import find_set
from tests.reference import reference_data


def test_the_small_webshop_file_has_the_registered_checksum():
    original = reference_data("webshop") / "small" / "items_ins_v2_1000.json"
    registered = next(file for file in find_set("webshop-small").files if file.name == original.name)
    assert (original.stat().st_size, sha256(original)) == (registered.size, registered.sha256)
