"""Agents by name: every kind, and the sentence for every wrong name."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.agents import make_agent
from empg_gym.agents.human import HumanAgent, read_action
from empg_gym.agents.scripted import RandomAgent, fill
from empg_gym.errors import ConfigError
from empg_gym.evaluation import evaluate
from empg_gym.import_object import import_object
from empg_gym.rollout import EpisodeSpec, Rollout
from tests.toy import TOY_ID

MODULE = """
import re
from empg_gym.trajectory import Completion

def door(messages):
    return re.findall(r"The note says (\\d+)", str(messages))[-1]

def sync(messages):
    return f"<think></think><action>open door {door(messages)}</action>"

def with_tools(messages, tools):
    assert tools[0]["function"]["name"] == "act"
    return Completion(text="", tool_calls=({"name": "act", "arguments": {"action": f"open door {door(messages)}"}},))

async def coroutine(messages, *, tools=None):
    return sync(messages)

class Solver:
    def __init__(self, offset=0):
        self.offset = offset
    def act(self, messages, *, tools=None):
        return f"<think></think><action>open door {int(door(messages)) + self.offset}</action>"

class PerEpisode:
    def session(self, env, seed):
        return Solver()

class Nested:
    inner = Solver()

instance = Solver()
number = 3
wrong = lambda messages: 7
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "my_agents_of_tests.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield "my_agents_of_tests"
    sys.modules.pop("my_agents_of_tests", None)


def success(agent, **options):
    return evaluate(TOY_ID, agent, episodes=4, **options).results[TOY_ID]["success_rate"]


@pytest.mark.parametrize("name", ["sync", "with_tools", "coroutine", "Solver", "PerEpisode", "Nested.inner", "instance"])
def test_python_objects(module, name):
    assert success(f"python:{module}:{name}") == 1.0


@pytest.mark.parametrize(("text", "reason"), [("def f(:", "SyntaxError"), ("1 / 0", "ZeroDivisionError"), ("import no_such", "no_such")])
def test_a_module_that_cannot_be_imported_is_reported_with_its_place(module, text, reason):
    Path("fails_when_imported.py").write_text("\n" + text)
    with pytest.raises(ConfigError, match=f"can't be imported: .*{reason}.*line 2"):
        import_object("fails_when_imported:f")


def answer_door(messages):
    return f"<think></think><action>open door {messages[-1]['content'].split('says ')[1][:-1]}</action>"


async def answer_later(messages, tools):
    return answer_door(messages)


class Static:
    """An agent that needs no object."""

    @staticmethod
    def act(messages, *, tools=None):
        return answer_door(messages)


class PerEpisode:
    @classmethod
    def session(cls, env, seed):
        return Static()

    def act(self, messages, *, tools=None):
        raise AssertionError("the session is asked")


class Unbound:
    act = staticmethod(answer_door)

    def session(self, env, seed):
        raise AssertionError("needs an object")


@pytest.mark.parametrize("agent", [Static, Static(), PerEpisode, PerEpisode()])
def test_a_class_whose_methods_need_no_object_is_an_agent(agent):
    assert success(agent) == 1.0


@pytest.mark.parametrize("agent", [answer_door, answer_later, lambda messages, again=False: answer_door(messages)])
def test_functions_are_agents(agent):
    assert success(agent) == 1.0


@pytest.mark.parametrize(
    "agent, sign",
    [
        (3, "3 is not an agent: expected the name of one, an object with act"),
        (None, "the evaluation lacks 'agent'"),
        (HumanAgent, r"HumanAgent is a class, not an agent: give an object of it, HumanAgent\(…\)"),
        (Unbound, r"Unbound is a class, not an agent: give an object of it, Unbound\(…\)"),
        (lambda messages, tool_list: "look", r"expected f\(messages\) or f\(messages, tools\); the second parameter must be named tools"),
        (lambda: "look", r"<lambda> can't be called as an agent: expected f\(messages\)"),
    ],
)
def test_an_object_that_is_not_an_agent_is_reported_before_the_first_episode(agent, sign):
    with pytest.raises(ConfigError, match=sign):
        evaluate(TOY_ID, agent, episodes=1)


def test_options_reach_a_python_class(module):
    assert success(f"python:{module}:Solver", agent_options={"offset": 4}) == 0.0


@pytest.mark.parametrize(
    "spec, options, sign",
    [
        ("python:{}:Solvr", {}, "did you mean 'Solver'"),
        ("python:{}", {}, "module:object"),
        ("python:no_such_module_at_all:x", {}, "no module 'no_such_module_at_all'"),
        ("python:{}:number", {}, "is not an agent"),
        ("python:{}:instance", {"offset": 1}, "takes no options"),
        ("python:{}:Solver", {"ofset": 1}, "ofset"),
        ("exprt", {}, "did you mean 'expert'"),
        ("expert:now", {}, "takes no argument"),
        ("exec:", {}, "needs an argument"),
        ("exec", {}, "needs an argument"),
        ("checkpoint", {}, "needs an argument"),
        ("expert", {"speed": 1}, "it takes none"),
        ("openai:m", {"temprature": 1}, "did you mean 'temperature'"),
        ("openai:m", {"model": "n"}, "given twice"),
        ("openai:m", {"base_url": "localhost"}, "must begin with http"),
        ("openai:m", {"base_url": "http://x", "format": "chatt"}, "did you mean 'chat'"),
        ("openai:m", {"base_url": "http://x", "retries": -1}, "retries must be at least 0"),
        ("openai:m", {"base_url": "http://x", "retries": 1.5}, "can't use the retries given, of the type float"),
        ("openai:m", {"base_url": "http://x", "timeout": "abc"}, "can't use the timeout given, of the type str"),
        ("openai:m", {"base_url": "http://x", "timeout": float("nan")}, "timeout must be at least"),
        ("openai:m", {"base_url": "http://x", "concurrency": True}, "can't use the concurrency given"),
        ("openai:m", {"base_url": "http://x", "extra": 5}, "can't use the extra given"),
        ("openai:m", {"base_url": "http://x", "api_key": 5}, "can't use the api_key given"),
        ("openai:m", {"base_url": 5}, "can't use the base_url given"),
        ("openai:m", {"base_url": "http://x:99999"}, "port from 1 to 65535"),
        ("openai:m", {"base_url": "http://"}, "needs a host"),
        ("openai:m", {"base_url": "http://x:y"}, "is not a valid address"),
        ("exec:cat", {"env": {"A": 1}}, "can't use the env given"),
        ("exec:cat", {"per": "sesion"}, "per must be"),
    ],
)
def test_wrong_names_are_one_sentence(module, spec, options, sign):
    with pytest.raises(ConfigError, match=sign):
        make_agent(spec.format(module), **options)


def test_a_reply_of_the_wrong_type_is_an_error_of_the_agent(module):
    found = evaluate(TOY_ID, f"python:{module}:wrong", episodes=1).results[TOY_ID]
    assert (found["errors"], found["errors_by_kind"]) == (1, {"AgentError": 1})


@pytest.mark.parametrize("dialogue", ["think-action", "react", "plain"])
def test_the_expert_speaks_every_dialogue(dialogue):
    assert success("expert", dialogue=dialogue) == 1.0


def test_an_expert_without_a_plan_leaves():
    env = LLMAgentEnv(gym.make(TOY_ID))
    env.text_env.expert = lambda: None
    (trajectory,) = Rollout(lambda: env, make_agent("expert")).run([EpisodeSpec(seed=0)])
    assert trajectory.stop_reason == "agent_stopped" and not trajectory.success


def play_random(seed, **kwargs):
    rollout = Rollout(lambda: LLMAgentEnv(gym.make(TOY_ID, **kwargs)), RandomAgent())
    (trajectory,) = rollout.run([EpisodeSpec(seed=seed, task=3)])
    return [step.action for step in trajectory.steps]


def test_random_play_follows_the_seed_and_is_uniform():
    assert play_random(1) == play_random(1)
    assert play_random(1) != play_random(2)
    actions = [action for seed in range(40) for action in play_random(seed, length=100, max_steps=50)]
    counts = np.array([actions.count(f"open door {number}") for number in (1, 2, 3, 4)])
    assert counts.sum() == 2000 and np.all(np.abs(counts - 500) < 100)


@given(st.text(max_size=60), st.integers(0, 2**32))
def test_templates_are_filled_with_words_of_the_instruction(instruction, seed):
    rng = np.random.default_rng(seed)
    filled = fill("search[<query>]", instruction, rng)
    assert filled.startswith("search[") and filled.endswith("]") and "<query>" not in filled
    assert filled[7:-1] == "anything" or all(word in instruction for word in filled[7:-1].split(" "))
    assert fill("click[buy now]", instruction, rng) == "click[buy now]"


def test_markup_of_a_template_is_unchanged():
    filled = fill("<search><query></search>", "find the river", np.random.default_rng(0))
    assert filled.startswith("<search>") and filled.endswith("</search>") and "query" not in filled


def answer(lines, admissible=("look", "go to shelf 1")):
    out = Console(file=io.StringIO(), width=100)
    stream = io.StringIO("".join(line + "\n" for line in lines))
    out.input = lambda *args, **kwargs: _line(stream)
    return read_action("You are in a [room].", admissible, out), out.file.getvalue()


def _line(stream):
    line = stream.readline()
    if not line:
        raise EOFError
    return line


@pytest.mark.parametrize(
    "lines, expected",
    [
        (["look"], "look"),
        (["", "  look  "], "look"),
        (["2"], "go to shelf 1"),
        (["9"], "9"),
        (["²"], "²"),
        (["quit"], None),
        ([], None),
        (["?", "1"], "look"),
    ],
)
def test_a_person_types(lines, expected):
    given_action, shown = answer(lines)
    assert given_action == expected
    assert "You are in a [room]." in shown
    assert ("go to shelf 1" in shown) == ("?" in lines)


def test_a_person_plays_and_leaves(tmp_path):
    """Three turns win the first game, the second is left after one turn, and leaving the third at once ends the run."""
    seen = []

    def prompt(message, admissible):
        seen.append(message)
        return admissible[int(message.rpartition("says ")[2].rstrip(".")) - 1] if len(seen) < 5 else None

    with pytest.raises(KeyboardInterrupt):
        evaluate(TOY_ID, HumanAgent(prompt), episodes=5, out=tmp_path / "run")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["complete"] is False
    assert summary["results"][TOY_ID]["stop_reasons"] == {"agent_stopped": 1, "terminated": 1}
    assert seen[0].startswith("leave the house") and len(seen) == 6
