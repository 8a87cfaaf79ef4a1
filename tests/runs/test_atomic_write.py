"""Files are written whole or not at all."""

import pytest

from empg_gym.runs.atomic_write import atomic_write


@pytest.mark.parametrize("content", ["Grüße\n", b"\x00\xff"])
def test_text_and_bytes_replace_what_was_there(tmp_path, content):
    path = tmp_path / "file"
    path.write_text("a longer text that was there before")
    atomic_write(path, content)
    assert path.read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_the_old_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(path, "\ud800")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(OSError, match="No space"):
        atomic_write(path, "new")
    assert path.read_text() == "old" and [item.name for item in tmp_path.iterdir()] == ["file"]
