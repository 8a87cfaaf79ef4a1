"""Archives: what comes out is what went in, and nothing leaves the folder."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import tarfile
import zipfile
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.data.unpack import unpack
from empg_gym.errors import DataError

BODY = b'{"id": "0", "contents": "text"}\n' * 50


def zipped(path, entries):
    with zipfile.ZipFile(path, "w") as archive:
        for name, body in entries.items():
            archive.writestr(zipfile.ZipInfo(name), body)
    return path


def tarred(path, entries, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, body in entries.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(body)
            archive.addfile(entry, io.BytesIO(body))
    return path


def test_archives_come_out_as_they_went_in(tmp_path):
    entries = {"json_2.1.1/train/a/game.tw-pddl": BODY, "json_2.1.1/readme.txt": b"x"}
    zipped(tmp_path / "a.zip", entries)
    tarred(tmp_path / "a.tar", entries)
    tarred(tmp_path / "a.tgz", entries, "w:gz")
    for name, kind in (("a.zip", "zip"), ("a.tar", "tar"), ("a.tgz", "tar")):
        written = unpack(tmp_path / name, kind, tmp_path / name.replace(".", "_"))
        assert written.keys() == entries.keys()
        for entry, body in entries.items():
            assert (tmp_path / name.replace(".", "_") / entry).read_bytes() == body
            assert written[entry]["size"] == len(body)


def test_single_files_and_tars_that_are_named_like_them(tmp_path):
    (tmp_path / "wiki.jsonl.gz").write_bytes(gzip.compress(BODY))
    (tmp_path / "wiki.jsonl.xz").write_bytes(lzma.compress(BODY))
    assert list(unpack(tmp_path / "wiki.jsonl.gz", "gz", tmp_path / "gz")) == ["wiki.jsonl"]
    assert list(unpack(tmp_path / "wiki.jsonl.xz", "xz", tmp_path / "xz")) == ["wiki.jsonl"]
    assert (tmp_path / "gz" / "wiki.jsonl").read_bytes() == (tmp_path / "xz" / "wiki.jsonl").read_bytes() == BODY
    tarred(tmp_path / "tar.jsonl.gz", {"inner.jsonl": BODY}, "w:gz")
    assert list(unpack(tmp_path / "tar.jsonl.gz", "gz", tmp_path / "tar")) == ["inner.jsonl"]


EVIL = ["../evil", "a/../../evil", "/evil", "a\\..\\evil", "..", "C:evil", "a/../../../../evil"]


@pytest.mark.parametrize("name", EVIL)
def test_no_entry_leaves_the_folder(tmp_path, name):
    for path, kind in ((zipped(tmp_path / "a.zip", {name: b"evil"}), "zip"), (tarred(tmp_path / "a.tar", {name: b"evil"}), "tar")):
        with pytest.raises(DataError, match="would leave its folder"):
            unpack(path, kind, tmp_path / "out" / "deep")
    assert [path for path in tmp_path.rglob("*") if "evil" in path.name] == []


@given(st.text(alphabet="ab./\\:\x00", min_size=1, max_size=12))
def test_whatever_the_names_are_nothing_leaves_the_folder(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("unpack")
    archive = zipped(folder / "a.zip", {name: b"body"})
    out = folder / "in" / "side"
    with contextlib.suppress(DataError):
        unpack(archive, "zip", out)
    files = [path for path in folder.rglob("*") if path.is_file() and path != archive]
    assert all(out in path.parents for path in files)


def test_links_and_devices_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match="a link or a device"):
        unpack(tmp_path / "a.tar", "tar", tmp_path / "out")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        entry = zipfile.ZipInfo("link")
        entry.external_attr = 0o120777 << 16
        archive.writestr(entry, "/etc/passwd")
    with pytest.raises(DataError, match="a link or a device"):
        unpack(tmp_path / "a.zip", "zip", tmp_path / "out")


def test_a_bomb_and_a_damaged_archive_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(5_000_000))
    with pytest.raises(DataError, match="more than 1,000,000 bytes"):
        unpack(tmp_path / "bomb.zip", "zip", tmp_path / "out", limit=1_000_000)
    whole = (tmp_path / "bomb.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(BODY * 100)[:50])
    (tmp_path / "none.jsonl.xz").write_bytes(b"no archive")
    for name, kind in (("cut.zip", "zip"), ("cut.jsonl.gz", "gz"), ("none.jsonl.xz", "xz")):
        with pytest.raises(DataError, match="damaged"):
            unpack(tmp_path / name, kind, tmp_path / "out")


def test_an_encrypted_archive_is_one_sentence(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("a.txt", "x")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # the flag of encryption, in the entry and in the directory
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"can't be unpacked .*encrypted"):
        unpack(path, "zip", tmp_path / "out")


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["d" * 200] * 30)])
def test_a_name_that_is_too_long_is_one_sentence(tmp_path, name):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr(name, "x")
    with pytest.raises(DataError, match="longer name"):
        unpack(path, "zip", tmp_path / "out")


@pytest.mark.parametrize("kind", ["zip", "tar", "gz"])
def test_a_disk_without_room_is_reported_before_it_is_full(tmp_path, monkeypatch, kind):
    path = tmp_path / f"archive.{kind}"
    content = b"x" * 10_000
    if kind == "gz":
        path.write_bytes(gzip.compress(content))
    else:
        (zipped if kind == "zip" else tarred)(path, {"a": content})
    monkeypatch.setattr("shutil.disk_usage", lambda folder: SimpleNamespace(free=(64 << 20) + 1000))
    with pytest.raises(DataError, match="free some space"):
        unpack(path, kind, tmp_path / "out")
    assert not any(found.stat().st_size for found in (tmp_path / "out").rglob("*") if found.is_file())
