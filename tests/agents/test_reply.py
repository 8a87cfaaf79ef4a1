"""Entropy bounds, and bodies that break the protocol."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from empg_gym.agents.chat_reply import entropy_bound, read_reply
from empg_gym.net.json_client import UnreadableReply


@st.composite
def distributions(draw):
    weights = np.array(draw(st.lists(st.floats(1e-6, 1.0), min_size=2, max_size=40)))
    return np.sort(weights / weights.sum())[::-1]


@given(distributions(), st.integers(1, 20), st.data())
def test_the_bound_never_exceeds_the_entropy(probabilities, k, data):
    entropy = -float(np.sum(probabilities * np.log(probabilities)))
    chosen = data.draw(st.integers(0, len(probabilities) - 1))
    top = np.log(probabilities[:k]).tolist()
    own = math.log(probabilities[chosen])
    assert entropy_bound(top, own) <= entropy + 1e-9
    sampled_first = [own, *[value for index, value in enumerate(top) if index != chosen][: k - 1]]
    assert entropy_bound(sampled_first, own) <= entropy + 1e-9


@given(distributions())
def test_the_bound_is_exact_where_everything_is_known(probabilities):
    logs = np.log(probabilities).tolist()
    assert entropy_bound(logs, logs[0]) == pytest.approx(-float(np.sum(probabilities * np.log(probabilities))), abs=1e-6)


def test_the_bound_counts_the_remaining_mass():
    assert entropy_bound([math.log(0.5), math.log(0.25)], math.log(0.5)) == pytest.approx(1.5 * math.log(2))
    assert entropy_bound([math.log(0.1)] * 5, math.log(0.1)) == pytest.approx(math.log(10))
    assert entropy_bound([0.0, -9999.0], 0.0) == 0.0


@given(st.floats(0, 30), st.integers(1, 20))
def test_a_certain_token_has_no_entropy(low, k):
    assert entropy_bound([0.0, *[-50.0 - low] * k], 0.0) == pytest.approx(0.0, abs=1e-9)


CHOICE = ("choices", "message", "content", "tool_calls", "function", "name", "arguments", "finish_reason", "usage", "prompt_tokens")
LIKELIHOODS = ("logprobs", "top_logprobs", "logprob", "token", "token_ids", "prompt_token_ids")
KEYS = (*CHOICE, *LIKELIHOODS)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(st.sampled_from(["choices", "usage", "prompt_token_ids"]), json_values))
def test_any_body_is_read_or_unreadable(body):
    try:
        completion, message = read_reply(body)
    except UnreadableReply:
        return
    assert isinstance(completion.text, str) and message["role"] == "assistant"


@given(json_values, json_values, json_values, json_values)
@example({"content": "look"}, None, None, {"type": "stop"})
@example({"tool_calls": [{"function": {"name": "act", "arguments": "[" * 100_000}}]}, None, None, "stop")
def test_any_choice_is_read_or_unreadable(message, logprobs, ids, finish):
    body = {"choices": [{"message": message, "logprobs": logprobs, "token_ids": ids, "finish_reason": finish}]}
    try:
        completion, _ = read_reply(body)
    except UnreadableReply:
        return
    assert completion.token_ids is None or completion.logprobs is None or len(completion.token_ids) == len(completion.logprobs)


def reply(**message):
    body = {"choices": [{"message": {"role": "assistant", **message}, "logprobs": message.pop("logprobs", None)}]}
    return read_reply(body)[0]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ([{"type": "text", "text": "<action>look"}, {"type": "text", "text": "</action>"}], "<action>look</action>"),
        ([{"type": "image_url", "image_url": {}}, {"type": "text", "text": "look"}], "look"),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "look"}], "<think>hm</think>\nlook"),
        ([], ""),
        (None, ""),
    ],
)
def test_content_parts_are_read(content, text):
    assert reply(content=content).text == text


def test_content_that_is_neither_text_nor_parts_is_unreadable():
    with pytest.raises(UnreadableReply, match="neither a text nor a list of parts"):
        reply(content={"type": "text", "text": "look"})


@pytest.mark.parametrize(
    ("raw", "arguments"),
    [('{"a": 1}', {"a": 1}), ({"a": 1}, {"a": 1}), ("", {}), (None, {}), ("{oops", "{oops"), ("[1]", "[1]"), ([1], "[1]"), ("7", "7")],
)
def test_arguments_that_are_not_an_object_keep_their_text(raw, arguments):
    call = {"id": "1", "type": "function", "function": {"name": "act", "arguments": raw}}
    assert reply(content=None, tool_calls=[call]).tool_calls == ({"name": "act", "arguments": arguments},)


def test_the_text_of_each_token_is_kept():
    positions = [{"token": text, "logprob": -0.5, "top_logprobs": [{"token": text, "logprob": -0.5}]} for text in ("go", " to\ud800")]
    found = reply(content="go to", logprobs={"content": positions})
    assert found.token_texts == ("go", " to\ufffd") and len(found.entropies) == 2
    assert reply(content="go", logprobs={"content": [{"logprob": -0.5}]}).token_texts is None
