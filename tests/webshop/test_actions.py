import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.envs.webshop.actions import can_be_clicked, parse_action


@pytest.mark.parametrize(
    ("text", "name", "argument"),
    [
        ("search[Red Shoes]", "search", "red shoes"),
        ("click[Buy Now]", "click", "buy now"),
        ("click[next >] now", "click", "next >"),
        ("Click[next >]", "Click", "next >"),
        ("search[red [shoes]]", "search[red ", "shoes]"),
        ("search[a [b] c]", "search[a ", "b] c"),
        ("click[a]b]", "click", "a]b"),
        ("search[]", "search[]", None),
        ("[red]", "[red]", None),
        ("search", "search", None),
        ("search[red\nshoes]", "search[red\nshoes]", None),
        ("think\nsearch[red]", "think\nsearch[red]", None),
        ("", "", None),
    ],
)
def test_grammar(text, name, argument):
    assert parse_action(text) == (name, argument)


@given(st.text())
def test_clicked_things_are_parsed_lower_cased(thing):
    if can_be_clicked(thing) and not set(thing) & set("\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"):
        assert parse_action(f"click[{thing}]") == ("click", thing.lower())


@given(st.text(alphabet="ab[]\n \r", max_size=12))
def test_same_as_upstreams_expression(text):
    found = re.match(r"(.+)\[(.+)\]", text)
    assert parse_action(text) == ((text, None) if found is None else (found.group(1), found.group(2).lower()))


def test_long_texts_take_linear_time():
    assert parse_action("]" + "[" * 1_000_000).argument is None
    assert parse_action("search[" + "x" * 1_000_000).argument is None
    assert parse_action("[" * 1_000_000 + "]") == ("[" * 999_998, "[")
