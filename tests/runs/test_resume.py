"""Which differences between configurations are allowed, and how others are reported."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import OutputExistsError
from empg_gym.runs.resume import require_same

trees = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(st.sampled_from("abc"), trees, max_size=3)


def same(before, now, *may_differ):
    require_same(Path("run"), before, now, may_differ=may_differ)


@given(configs)
def test_a_configuration_is_the_same_as_itself_read_back(config):
    same(json.loads(json.dumps(config)), config)


@given(configs, configs)
def test_any_difference_is_refused_and_any_may_be_allowed(one, other):
    def bare(value):
        """Leave out None, which is the same as a missing entry, and sections without entries."""
        if not isinstance(value, dict):
            return value
        return {key: bare(entry) for key, entry in value.items() if bare(entry) is not None}

    same(one, other, "*")
    if bare(one) != bare(other):
        with pytest.raises(OutputExistsError):
            same(one, other)


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ({"a": 1}, {"a": 2}, "a was 1, is now 2"),
        ({"a": {"b": "x"}}, {"a": {"b": None}}, 'a.b was "x", is now null'),
        ({}, {"a": {"b": 1}}, 'a was null, is now {"b": 1}'),
        ({"a": [1, 2]}, {"a": [1, 3]}, "a had 2 entries, now has 2 entries; the first difference is entry 2: was 2, is now 3"),
        ({"a": [1]}, {"a": (1, 3)}, "a had 1 entry, now has 2 entries; the first difference is entry 2: was nothing, is now 3"),
        ({"a": "x" * 200}, {"a": 0}, 'a was "' + "x" * 79 + "…, is now 0"),
        ({}, dict.fromkeys("abcdef", 1), "d was null, is now 1; and 2 more"),
    ],
)
def test_differences_are_named(before, now, text):
    with pytest.raises(OutputExistsError) as caught:
        same(before, now)
    message = str(caught.value)
    assert message.startswith("run holds a run with another configuration: ") and f"{text}; resume with" in message


def test_patterns_cover_an_entry_and_everything_in_it():
    before, now = {"env": {"A.b/c-v0": {"data": {"x": 1}}}}, {"env": {"A.b/c-v0": {"data": {"x": 2}}}}
    for pattern in ("env", "env.*.data", "env.*.data.x", "*.*.*.*"):
        same(before, now, pattern)
    for pattern in ("env.data", "env.*.data.y", "env.*.data.x.z", "en"):
        with pytest.raises(OutputExistsError):
            same(before, now, pattern)
