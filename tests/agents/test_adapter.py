"""`as_agent`: every form of agent that users bring, with its optional parts."""

from __future__ import annotations

import asyncio
import json

import pytest

from empg_gym.agents import AgentInfo, BaseAgent, Session, as_agent
from empg_gym.agents.tool_dialogue import ToolDialogue
from empg_gym.dialogue import get_dialogue
from empg_gym.errors import ConfigError
from empg_gym.evaluation import evaluate
from empg_gym.trajectory import Completion, read_trajectories
from tests.toy import TOY_ID


class Full:
    """An agent with every optional part; notes what is called."""

    preferred_concurrency = 1
    end_on_cut_response = False
    dialogue = get_dialogue("plain")

    def __init__(self):
        self.calls = []
        self.name = "unchecked"

    def describe(self):
        return {"kind": "full", "temperature": 0.5}

    async def check(self):
        self.calls.append("check")
        self.name = "full"

    def session(self, env, seed):
        outer = self
        self.calls.append("session")

        class Session:
            def act(self, messages, *, tools=None):
                return Completion(text=f"open door {messages[-1]['content'].rpartition('says ')[2].rstrip('.')}", finish_reason="length")

            def close(self):
                outer.calls.append("session closed")

        return Session()

    async def aclose(self):
        self.calls.append("aclose")

    def close(self):
        self.calls.append("close")


def test_every_optional_part_is_used(tmp_path):
    agent = Full()
    summary = evaluate(TOY_ID, agent, episodes=2, out=tmp_path / "run")
    assert agent.calls == ["check", *["session", "session closed"] * 2, "aclose"], "the code that made it closes it"
    assert (summary.results[TOY_ID]["success_rate"], summary.results[TOY_ID]["dialogue"]) == (1.0, "plain")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["agent"] == {"name": "full", "kind": "full", "temperature": 0.5}
    assert (config["concurrency"], config["limits"]["end_on_cut_response"]) == (1, False)
    assert {one.agent for one in read_trajectories(tmp_path / "run" / "trajectories.jsonl")} == {"full"}


def test_an_agent_made_from_a_name_is_closed():
    evaluate(TOY_ID, "python:tests.agents.test_adapter:Kept", episodes=1)
    assert Kept.made.calls[-2:] == ["aclose", "close"]


class Kept(Full):
    """Remembers the object that was made of it."""

    def __init__(self):
        super().__init__()
        Kept.made = self


class Plain:
    """Only `act`, and a `close` that ends the agent, not a session."""

    closed = False

    def act(self, messages, *, tools=None):
        assert not self.closed
        return "<think></think><action>open door 1</action>"

    def close(self):
        self.closed = True


def test_an_agent_without_sessions_stays_open_between_episodes():
    agent = Plain()
    assert evaluate(TOY_ID, agent, episodes=3).errors == 0 and not agent.closed
    assert as_agent(agent).info == AgentInfo()


class Typed(BaseAgent):
    """The typed contract, implemented directly."""

    @property
    def info(self):
        return AgentInfo(name="typed", concurrency=2, dialogue=ToolDialogue(), settings={"kind": "typed"})

    def session(self, env, seed):
        return Plain()


def test_a_base_agent_is_used_as_it_is():
    agent = Typed()
    assert as_agent(agent) is agent
    assert evaluate(TOY_ID, agent, episodes=2).data["agent"] == "typed"


def test_a_wrong_concurrency_is_an_error():
    agent = Full()
    agent.preferred_concurrency = 0
    with pytest.raises(ConfigError, match="preferred_concurrency must be at least 1, not 0"):
        evaluate(TOY_ID, agent, episodes=1)


def test_a_session_always_answers_with_a_completion():
    class Later:
        async def act(self, messages, *, tools=None):
            return "later"

    for agent, text in ((Plain(), "<think></think><action>open door 1</action>"), (Later(), "later")):
        completion = asyncio.run(Session(agent).act([]))
        assert isinstance(completion, Completion) and completion.text == text
