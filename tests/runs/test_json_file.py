"""JSON files of run folders: written whole, read with errors that name the file."""

from datetime import date

import pytest

from empg_gym.errors import DataError
from empg_gym.runs.json_file import read_json, write_json


@pytest.mark.parametrize("value", [{"a": [1, None, "Grüße\u2028"]}, {"path": "\udcff"}, {}])
def test_what_is_written_is_read(tmp_path, value):
    write_json(tmp_path / "file.json", value)
    assert read_json(tmp_path / "file.json", hint="") == value


def test_values_that_json_lacks_are_text(tmp_path):
    write_json(tmp_path / "file.json", {"path": tmp_path, "day": date(2024, 1, 2)})
    assert read_json(tmp_path / "file.json", hint="") == {"path": str(tmp_path), "day": "2024-01-02"}


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "is missing"), (b"{", "not JSON"), (b"\xff", "not JSON"), (b"[]", "found list"), (b"", "not JSON")],
)
def test_the_error_names_the_file_the_reason_and_what_to_do(tmp_path, content, reason):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_json(path, hint="put it back")
    text = str(caught.value)
    assert text.startswith(str(path)) and reason in text and text.endswith(": put it back") and "\n" not in text


def test_a_folder_is_not_a_file(tmp_path):
    with pytest.raises(DataError, match="Is a directory"):
        read_json(tmp_path, hint="put it back")
