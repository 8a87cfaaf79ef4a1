import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.envs.webshop import jsonstream
from empg_gym.errors import DataError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.lists(values, max_size=6), st.dictionaries(st.text(max_size=5), values, max_size=6), st.integers(1, 20), st.booleans())
def test_same_as_json_for_any_chunk(tmp_path_factory, array, mapping, chunk, ascii_only):
    path = tmp_path_factory.mktemp("json") / "file.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "CHUNK", chunk)
        path.write_text(json.dumps(array, ensure_ascii=ascii_only, indent=1), encoding="utf-8")
        assert list(jsonstream.read_array(path)) == array
        path.write_text(json.dumps(mapping, ensure_ascii=ascii_only), encoding="utf-8")
        assert dict(jsonstream.read_object(path)) == mapping


@pytest.mark.parametrize(
    ("content", "record"),
    [('[{"a": 1}, {"b": 2', 1), ('[{"a": 1} {"b": 2}]', 1), ("", 0), ('{"a": 1}', 0), ('[{"a": nul}]', 0), ("[1, 2, 3", 3), ("[1, 2,", 2)],
)
def test_damage_is_named(tmp_path, content, record):
    path = tmp_path / "items_shuffle.json"
    path.write_text(content)
    with pytest.raises(DataError, match=rf"items_shuffle.json is damaged at record {record}:"):
        list(jsonstream.read_array(path))


def test_other_encodings_are_named(tmp_path):
    path = tmp_path / "items.json"
    path.write_bytes('["größe"]'.encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8"):
        list(jsonstream.read_array(path))


def test_an_endless_entry_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonstream, "CHUNK", 10)
    monkeypatch.setattr(jsonstream, "LONGEST", 50)
    path = tmp_path / "items.json"
    path.write_text('["' + "x" * 1000 + '"]')
    with pytest.raises(DataError, match="record 0"):
        list(jsonstream.read_array(path))
