"""Dialogue formats read what they write, and never raise."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.dialogue import DIALOGUES, get_dialogue
from empg_gym.errors import ConfigError

words = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters=" ,.'"), min_size=1).map(str.strip).filter(bool)


@pytest.mark.parametrize("name", ["think-action", "react", "plain"])
@given(thought=words, action=words)
def test_what_a_format_renders_it_parses(name, thought, action):
    assert get_dialogue(name).parse(get_dialogue(name).render(thought, action)) == (thought, action, None)


@pytest.mark.parametrize("name", DIALOGUES)
@given(response=st.text())
def test_any_response_is_read(name, response):
    parsed = get_dialogue(name).parse(response)
    assert parsed.problem is None or (parsed.action == "" and name in ("think-action", "react"))


@pytest.mark.parametrize(
    ("name", "response", "problem"),
    [
        ("think-action", "<think>so</think> go to shelf 1", "no <action>"),
        ("think-action", "<think>so</think><action>a</action><action>b</action>", "2 actions"),
        ("think-action", "<think>so</think><action>  </action>", "empty"),
        ("think-action", "<action>never closed", "no <action>"),
        ("react", "Thought: hm", "Action:"),
        ("react", "Action: a\nAction: b", "2 lines"),
        ("react", "Action:", "empty"),
    ],
)
def test_a_malformed_response_is_named(name, response, problem):
    dialogue = get_dialogue(name)
    parsed = dialogue.parse(response)
    assert problem in (parsed.problem or "")
    assert parsed.problem in dialogue.corrective(parsed.problem)


pieces = st.lists(
    st.sampled_from(["<think>", "</think>", "<action>", "</action>", "Action:", "aCTıON \t:", "Thought:", "a", " ", "\t", "\n", "\r", ""])
)


@given(pieces.map("".join))
def test_tags_are_paired_as_by_a_lazy_expression(response):
    thoughts = re.findall(r"<think>(.*?)</think>", response, re.DOTALL)
    assert get_dialogue("native").parse(response).thought == "\n".join(map(str.strip, thoughts))
    actions = re.findall(r"<action>(.*?)</action>", re.sub(r"^.*?<think>.*?</think>", "", response, count=1, flags=re.DOTALL), re.DOTALL)
    parsed = get_dialogue("think-action").parse(response)
    assert parsed.action == (actions[0].strip() if len(actions) == 1 else "")
    assert not thoughts or parsed.thought == thoughts[0].strip()
    begun = re.match(r"\s*<think>(.*?)</think>(.*)", response, re.DOTALL)
    assert get_dialogue("plain").parse(response)[:2] == (tuple(map(str.strip, begun.groups())) if begun else ("", response.strip()))


@given(pieces.map("".join))
def test_lines_are_read_as_by_a_lazy_expression(response):
    actions = re.findall(r"^[ \t]*Action[ \t]*:[ \t]*(.*?)[ \t]*$", response, re.MULTILINE | re.IGNORECASE)
    assert get_dialogue("react").parse(response).action == (actions[0] if len(actions) == 1 else "")


@pytest.mark.parametrize("name", DIALOGUES)
@pytest.mark.parametrize(
    "piece",
    ["<think>", "</think><action>", "<think></think>", "<action>", "<", "Action: a\n", "Action:", "Action ", " ", "\t\n", "Thought: "],
)
@pytest.mark.parametrize(("before", "after"), [("", ""), ("Action: a", "b"), ("<think>", "</think>b")])
def test_a_megabyte_of_repetition_is_read_in_linear_time(name, piece, before, after):
    """No clock is asked: in quadratic time one of these texts takes hours."""
    response = before + piece * (2**20 // len(piece)) + after
    parsed = get_dialogue(name).parse(response)
    assert parsed.problem is None or parsed.action == ""


def test_an_action_quoted_in_the_thought_is_not_carried_out():
    text = "<think>I could <action>jump</action> but no</think><action>look</action>"
    assert get_dialogue("think-action").parse(text).action == "look"


def test_native_passes_the_response_through():
    text = "<think>a</think><search>b</search>"
    assert get_dialogue("native").parse(text) == ("a", text, None)


def test_an_unknown_format_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'react'"):
        get_dialogue("reakt")


def test_admissible_actions_are_listed_on_demand():
    dialogue = get_dialogue("plain")
    assert dialogue.observation("You see a shelf.") == "You see a shelf."
    assert "- look" in dialogue.observation("You see a shelf.", ["look"])
