"""Agents in processes of their own: the protocol, what breaks it, and that no process stays behind."""

from __future__ import annotations

import asyncio
import math
import sys
import time
from pathlib import Path

import pytest

from empg_gym.agents import make_agent
from empg_gym.agents.process import ProcessAgent
from empg_gym.errors import ConfigError
from empg_gym.evaluation import evaluate
from empg_gym.trajectory import read_trajectories
from tests.toy import TOY_ID

AGENT = [sys.executable, "-S", str(Path(__file__).with_name("doors_agent.py"))]


def play(mode, tmp_path, *, episodes=2, concurrency=2, retries=0, **options):
    agent = ProcessAgent([*AGENT, mode], env={"AGENT_PIDS": str(tmp_path / "pids")}, **{"grace": 1.0, **options})
    summary = evaluate(TOY_ID, agent, episodes=episodes, concurrency=concurrency, retries=retries, out=tmp_path / "run")
    return summary.results[TOY_ID]


def pids(tmp_path):
    return [int(line) for line in (tmp_path / "pids").read_text().split()]


def alive(pid):
    """Whether the process runs (a zombie that its parent has not reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def gone(numbers):
    """Whether the processes end; the system takes a moment after a kill."""
    deadline = time.monotonic() + 300
    while any(map(alive, numbers)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(alive, numbers))


@pytest.mark.parametrize("mode", ["good", "no-id", "tools"])
def test_a_process_for_each_episode(mode, tmp_path):
    found = play(mode, tmp_path, episodes=3)
    assert (found["success_rate"], found["errors"]) == (1.0, 0)
    assert len(pids(tmp_path)) == 3 and gone(pids(tmp_path))


@pytest.mark.parametrize("mode", ["good", "reversed"])
def test_one_process_for_all_episodes_in_any_order(mode, tmp_path):
    found = play(mode, tmp_path, episodes=4, concurrency=2, per="agent")
    assert (found["success_rate"], found["errors"]) == (1.0, 0)
    assert len(pids(tmp_path)) == 1 and gone(pids(tmp_path))


@pytest.mark.parametrize(
    "mode, said",
    [
        ("wrong-id", "replied with id"),
        ("odd-id", "replied with id"),
        ("garbage", "not JSON"),
        ("nested", "not JSON"),
        ("list", "expected a JSON object"),
        ("empty", "needs a text"),
        ("error", "out of ideas"),
        ("dies", "status 3"),
        ("silent", "no reply within 0.5 s (agent.timeout)"),
    ],
)
@pytest.mark.parametrize("per", ["session", "agent"])
def test_every_fault_is_an_error_that_names_it(mode, said, per, tmp_path):
    found = play(mode, tmp_path, episodes=1, per=per, timeout=0.5 if mode == "silent" else 20.0)
    assert (found["episodes"], found["errors"], found["success_rate"]) == (1, 1, None)
    (trajectory,) = read_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert said in trajectory.error
    assert gone(pids(tmp_path))


def test_the_last_words_of_a_dead_process_are_reported(tmp_path):
    play("dies", tmp_path, episodes=1)
    (trajectory,) = read_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert "no idea what to do" in trajectory.error and [step.error for step in trajectory.steps] == [None, trajectory.error]


def test_a_dead_process_is_replaced(tmp_path):
    found = play("dies", tmp_path, episodes=2, per="agent", concurrency=1, retries=1)
    assert found["errors"] == 2 and len(pids(tmp_path)) == 4


def test_an_agent_may_leave(tmp_path):
    found = play("stop", tmp_path, episodes=1)
    assert (found["errors"], found["stop_reasons"]) == (0, {"agent_stopped": 1})


@pytest.mark.parametrize("mode", ["family", "stubborn"])
def test_stubborn_processes_and_their_children_are_ended(mode, tmp_path):
    found = play(mode, tmp_path, episodes=1, grace=0.2)
    assert found["success_rate"] == 1.0
    assert pids(tmp_path) and gone(pids(tmp_path))


def test_a_process_that_talks_out_of_turn_is_ended_with_its_episode(tmp_path):
    async def scenario():
        agent = ProcessAgent([*AGENT, "chatty"], env={"AGENT_PIDS": str(tmp_path / "pids")}, grace=0.2)
        session = agent.session(None, 1)
        await session.act([{"role": "user", "content": "The note says 2."}])
        while session._process.alive:
            await asyncio.sleep(0.01)
        session.close()
        await agent.aclose()

    asyncio.run(asyncio.wait_for(scenario(), 30))
    assert pids(tmp_path) and not any(map(alive, pids(tmp_path)))


def test_an_episode_that_is_cut_short_leaves_a_shared_process_usable(tmp_path):
    async def scenario():
        agent = ProcessAgent([*AGENT, "good"], per="agent")
        messages = [{"role": "user", "content": "The note says 2."}]
        one, two = (agent.session(None, seed) for seed in (1, 2))
        asked = asyncio.create_task(one.act(messages))
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)
        asked.cancel()
        reply = await two.act(messages)
        one.close()
        await agent.aclose()
        return reply.text

    assert "open door 2" in asyncio.run(scenario())


@pytest.mark.parametrize("cancelled", [0, 1], ids=["the one that starts", "one that waits"])
def test_a_session_that_is_cancelled_while_a_shared_process_starts_leaves_the_others_alone(cancelled, tmp_path):
    async def scenario():
        agent = ProcessAgent([*AGENT, "good"], per="agent", env={"AGENT_PIDS": str(tmp_path / "pids")})
        messages = [{"role": "user", "content": "The note says 2."}]
        asked = [asyncio.create_task(agent.session(None, seed).act(messages)) for seed in range(4)]
        await asyncio.sleep(0)
        assert not agent._shared.started.done(), "the process is starting, and the other sessions wait for it"
        asked[cancelled].cancel()
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        await agent.aclose()
        return outcomes

    outcomes = asyncio.run(asyncio.wait_for(scenario(), 30))
    assert isinstance(outcomes.pop(cancelled), asyncio.CancelledError)
    assert ["open door 2" in getattr(outcome, "text", repr(outcome)) for outcome in outcomes] == [True] * 3
    assert gone(pids(tmp_path))


def test_a_missing_program_is_a_user_error(tmp_path):
    with pytest.raises(ConfigError, match="can't run 'no-such-program'"):
        evaluate(TOY_ID, "exec:no-such-program --now", episodes=1)


@pytest.mark.parametrize(
    "options, sign",
    [
        ({"per": "world"}, "per must be"),
        ({"command": ""}, "needs a command"),
        *(({"timeout": value}, "timeout of exec:") for value in (-1, 0, math.nan, math.inf, "5", True, None)),
        *(({"grace": value}, "grace of exec:") for value in (-1.0, math.nan)),
    ],
)
def test_wrong_options(options, sign):
    with pytest.raises(ConfigError, match=sign):
        ProcessAgent(**{"command": "x", **options})


def test_the_command_line_form(tmp_path, monkeypatch):
    monkeypatch.setenv("AGENT_PIDS", str(tmp_path / "pids"))
    agent = make_agent("exec:" + " ".join(AGENT), per="session")
    assert evaluate(TOY_ID, agent, episodes=1).results[TOY_ID]["success_rate"] == 1.0
    assert gone(pids(tmp_path))


@pytest.mark.parametrize("steps", range(0, 12, 2))
def test_a_start_that_is_cancelled_leaves_nothing_and_ends(steps, tmp_path):
    """The process has a child that holds its output open; asyncio alone would leave the child, and wait for it."""
    script = 'sleep 600 & echo $$ $! >> "$0"; cat > /dev/null'

    async def cancelled():
        agent = ProcessAgent(["sh", "-c", script, str(tmp_path / "pids")], grace=1.0)
        starting = asyncio.create_task(agent.process(None))
        for _ in range(steps):
            await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        async with asyncio.timeout(20):
            await agent.aclose()

    asyncio.run(cancelled())
    assert not (tmp_path / "pids").exists() or gone(pids(tmp_path))


def test_a_stubborn_process_whose_stray_holds_the_output_is_ended(tmp_path):
    script = 'trap "" TERM; setsid sleep 600 & echo $$ $! >> "$0"; while true; do sleep 0.1; done'

    async def ended():
        agent = ProcessAgent(["sh", "-c", script, str(tmp_path / "pids")], grace=0.2)
        process = await agent.process(None)
        while not (tmp_path / "pids").exists():
            await asyncio.sleep(0.01)
        agent.end(process)
        async with asyncio.timeout(20):
            await agent.aclose()

    asyncio.run(ended())
    assert gone(pids(tmp_path))
