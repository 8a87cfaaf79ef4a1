"""The border of agents' replies: any reply becomes an episode's step or, if it is none, an error of the agent; every run stays readable."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.agents import as_agent
from empg_gym.agents.border import DEEPEST, checked, clean
from empg_gym.agents.chat_reply import read_reply
from empg_gym.errors import AgentError, DataError
from empg_gym.evaluation import compare, evaluate
from empg_gym.report import write_report
from empg_gym.trajectory import LARGEST_COUNT, Completion, Trajectory, read_trajectories
from tests.toy import TOY_ID


def ints(*values):
    return np.array(values, dtype=np.int32)


def floats(*values):
    return np.array(values, dtype=np.float32)


def test_a_good_reply_passes_unchanged():
    reply = Completion(
        text="go to shelf 1",
        tool_calls=({"name": "act", "arguments": {"action": "look"}},),
        token_ids=ints(5, 9),
        prompt_token_ids=ints(1),
        logprobs=floats(-0.5, 0.0),
        entropies=floats(0.1, 1.2),
        prompt_tokens=3,
        completion_tokens=2,
    )
    assert checked(reply) is reply


@pytest.mark.parametrize("value", [10**400, -1, 1.5, True, "7", float("nan"), LARGEST_COUNT + 1, [], {}])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "policy_version"])
def test_impossible_counts_are_unknown(name, value):
    assert getattr(checked(Completion(text="x", **{name: value})), name) is None


def test_whole_numbers_of_numpy_are_counts():
    found = checked(Completion(text="x", prompt_tokens=np.int64(7))).prompt_tokens
    assert found == 7 and type(found) is int


@pytest.mark.parametrize(
    "values", [[math.nan, -1], [math.inf, -1], [-math.inf, -1], [0.5, -1], [-1.0], [[-1.0, -1.0]], ["a", "b"], [None, -1], "ab"]
)
def test_impossible_log_probabilities_are_unknown_and_not_certain(values):
    reply = Completion(text="x", token_ids=ints(1, 2), logprobs=values, entropies=floats(0.0, 0.0), entropy_is_bound=True)
    found = checked(reply)
    assert found.logprobs is None and found.entropies is None and found.token_ids.tolist() == [1, 2]


def test_rounding_above_zero_is_zero():
    found = checked(Completion(text="x", token_ids=ints(1, 2), logprobs=floats(1e-6, -1), entropies=floats(-1e-7, 2)))
    assert found.logprobs.tolist() == [0.0, -1.0] and found.entropies.tolist() == [0.0, 2.0]


@pytest.mark.parametrize("values", [[math.nan, 1], [-1.0, 1], [math.inf, 1], [1.0]])
def test_impossible_entropies_are_unknown(values):
    assert checked(Completion(text="x", token_ids=ints(1, 2), entropies=np.array(values))).entropies is None


@pytest.mark.parametrize("ids", [[1.5], [-1], [2**31], ["a"], [[1]], [10**400]])
def test_impossible_token_ids_are_unknown(ids):
    found = checked(Completion(text="x", token_ids=ids, prompt_token_ids=[1], logprobs=[-1.0], entropies=[1.0]))
    assert (found.token_ids, found.prompt_token_ids, found.logprobs, found.entropies) == (None, None, None, None)


def test_content_parts_and_token_texts_cross_the_border():
    found = checked(
        Completion(text=[{"type": "text", "text": "go"}, {"type": "text", "text": " up"}], logprobs=[-0.1, -0.2], token_texts=["go", " up"])
    )
    assert (found.text, found.token_texts) == ("go up", ("go", " up")) and checked(found) is found
    assert checked(Completion(text="go up", logprobs=[-0.1, -0.2], token_texts=("go up",))).token_texts is None, "one for each token"
    assert checked(Completion(text="go up", token_texts=("go up",))).token_texts is None


def test_surrogates_are_replaced_everywhere():
    calls = ({"name": "a\ud800", "arguments": {"k\udfff": ["v\ud83d", {"w": "\udc80"}]}},)
    found = checked(Completion(text="a\ud83db\udc00", tool_calls=calls))
    assert found.text == "a\ufffdb\ufffd"
    json.dumps(found.tool_calls, ensure_ascii=False).encode()
    assert clean("🎈é") == "🎈é"


@pytest.mark.parametrize(
    "reply", [Completion(text=None), Completion(text=7), Completion(text="x", tool_calls=7), Completion(text="x", tool_calls=("a",))]
)
def test_what_is_not_a_reply_is_an_error_of_the_agent(reply):
    with pytest.raises(AgentError):
        checked(reply)


def nested(depth):
    value = "x"
    for _ in range(depth):
        value = [value]
    return {"action": value}


def test_deep_arguments_are_cut_at_the_border():
    (call,) = checked(Completion(text="", tool_calls=({"name": "act", "arguments": nested(900)},))).tool_calls
    depth, value = 0, call["arguments"]["action"]
    while value:
        value, depth = value[0], depth + 1
    assert depth < DEEPEST


@settings(max_examples=200, deadline=None)
@given(
    st.text(st.characters(exclude_categories=[]), max_size=20),
    st.none() | st.integers() | st.floats() | st.text(max_size=3),
    st.none() | st.lists(st.floats() | st.integers(), max_size=4),
    st.none() | st.lists(st.integers(), max_size=4),
)
def test_any_reply_can_be_stored_and_read(text, number, values, ids):
    reply = Completion(text=text, prompt_tokens=number, completion_tokens=number, token_ids=ids, logprobs=values, entropies=values)
    found = checked(reply)
    found.text.encode()
    assert found.logprobs is None or (np.isfinite(found.logprobs).all() and (found.logprobs <= 0).all())
    assert found.entropies is None or (np.isfinite(found.entropies).all() and (found.entropies >= 0).all())
    assert checked(found) is found


HOSTILE = [
    Completion(text="\ud800", prompt_tokens=10**400, completion_tokens=10**400),
    Completion(text="", tool_calls=({"name": "act", "arguments": nested(900)},)),
    Completion(text="<action>" + "[" * 100_000, logprobs=[float("nan")], entropies=[float("inf")]),
    Completion(text='{"a":' * 5_000, token_ids=[10**400]),
]


@pytest.mark.parametrize("place", range(len(HOSTILE)))
@pytest.mark.parametrize("env", [TOY_ID, "deepsearch", "alfworld", "webshop"])
def test_a_defect_of_the_text_is_a_step_and_the_run_stays_readable(env, place, tmp_path):
    kwargs = {"deepsearch": {"world_size": 200}, "alfworld": {"size": "small"}, "webshop": {"num_products": 100}}.get(env, {})
    summary = evaluate(
        env,
        as_agent(lambda messages: HOSTILE[place]),
        episodes=2,
        out=tmp_path / "run",
        env_kwargs=kwargs,
        limits={"max_steps": 2},
        retries=0,
    )
    assert summary.errors == 0 and all(record.is_scored for record in summary.records)
    episodes = list(read_trajectories(tmp_path / "run" / "trajectories.jsonl"))
    assert all(not step.valid_action for episode in episodes for step in episode.steps)
    write_report(tmp_path / "run")


@pytest.mark.parametrize("value", ["1e999", "NaN", "5.0", "1" + "0" * 400, "-1e308", '"x"'])
def test_an_impossible_log_probability_of_a_server_is_unknown(value):
    top = f'[{{"token": "a", "logprob": {value}}}, {{"token": "b", "logprob": -1.0}}]'
    body = json.loads(
        f'{{"choices": [{{"message": {{"content": "look"}}, "logprobs": {{"content": [{{"logprob": -0.1, "top_logprobs": {top}}}]}}}}]}}'
    )
    try:
        completion, _ = read_reply(body)
    except Exception as error:
        assert type(error).__name__ == "UnreadableReply" and value == '"x"'
        return
    assert completion.text == "look"
    assert completion.entropies is None or (value == "-1e308" and np.isfinite(completion.entropies).all())


def test_a_run_with_an_absurd_count_is_read_as_unknown(tmp_path):
    """Earlier versions wrote whatever a server sent."""
    for name in ("one", "two"):
        evaluate(TOY_ID, "expert", episodes=2, out=tmp_path / name)
        path = tmp_path / name / "trajectories.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        for line in lines:
            line["steps"][0]["prompt_tokens"] = 10**400
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    write_report(tmp_path / "one")
    compare([tmp_path / "one", tmp_path / "two"])
    summary = evaluate(TOY_ID, "expert", episodes=2, out=tmp_path / "one", prices=(1.0, 1.0))
    assert summary.results[TOY_ID]["cost"]["total"] == 0.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("score", 10**400),
        ("score", "1"),
        ("success", 1),
        ("task", 7),
        ("total_reward", None),
        ("seed", "x"),
        ("info", []),
        ("repeat", 10**400),
    ],
)
def test_a_trajectory_of_somebody_else_with_other_types_is_refused(name, value):
    record = json.loads(Trajectory(env_id="a", env_version="1", data_fingerprint="", split="s", task="t", instruction="").to_json())
    with pytest.raises(DataError, match=name):
        Trajectory.from_json(json.dumps({**record, name: value}))


@pytest.mark.parametrize(
    "line", ["[" * 100_000, '{"format":' * 50_000, '{"format": "empg-gym/trajectory", "version": 1, "steps": {"a": 1}}']
)
def test_a_line_that_is_not_a_trajectory_is_refused(line):
    with pytest.raises(DataError):
        Trajectory.from_json(line)
