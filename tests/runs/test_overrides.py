"""The grammar of `--set`: values, paths, mistakes."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.runs.overrides import apply_overrides, parse_override, parse_value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("1e-4", 1e-4),
        ("true", True),
        ('"5"', "5"),
        ("'a b'", "a b"),
        ('["a", "b"]', ["a", "b"]),
        ("{ k = 1 }", {"k": 1}),
        ('{"a": 1}', {"a": 1}),
        ("[1, null]", [1, None]),
        ("null", None),
        ("none", None),
        ("None", None),
        ('"none"', "none"),
        ("", ""),
        ("open door 1", "open door 1"),
        ("a=b", "a=b"),
        ("007", "007"),
        ("2024-01-01", "2024-01-01"),
        ("[2024-01-01]", "[2024-01-01]"),
        ("1\nother = 2", "1\nother = 2"),
        (" 3 ", 3),
    ],
)
def test_values_are_toml_then_json_then_text(text, value):
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(json_values)
def test_every_json_value_can_be_given(value):
    assert parse_value(json.dumps(value)) == value


def test_paths_are_nested_and_the_last_override_wins():
    tree = {"rl": {"steps": 3, "lr": 1}}
    apply_overrides(tree, ["rl.steps=4", "rl.optimizer.lr=1e-4", " env . data =a=b", "rl.steps=5"])
    assert tree == {"rl": {"steps": 5, "lr": 1, "optimizer": {"lr": 1e-4}}, "env": {"data": "a=b"}}


@pytest.mark.parametrize("text", ["rl.steps", "=3", "rl..steps=3", ".a=1", "a.=1"])
def test_other_forms_are_refused(text):
    with pytest.raises(ConfigError, match=r"--set expects SECTION\.KEY=VALUE"):
        parse_override(text)


def test_a_value_has_no_keys():
    with pytest.raises(ConfigError, match=r"--set a\.b\.c=1: a\.b is a value, not a section"):
        apply_overrides({"a": {"b": 2}}, ["a.b.c=1"])
