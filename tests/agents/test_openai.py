"""The agent for OpenAI-compatible servers, against a real HTTP server that misbehaves in every way that we know of."""

from __future__ import annotations

import asyncio
import dataclasses
import math

import httpx
import numpy as np
import pytest

from empg_gym.agents import make_agent
from empg_gym.agents.openai import OpenAIAgent
from empg_gym.errors import AgentError, ConfigError
from empg_gym.evaluation import evaluate
from empg_gym.net import json_client
from empg_gym.net.retry import RetryPolicy
from empg_gym.report.detail import detail
from empg_gym.trajectory import read_trajectories
from tests.agents.server import ChatServer, always, first, serving
from tests.toy import TOY_ID


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    wait = RetryPolicy.wait
    monkeypatch.setattr(RetryPolicy, "wait", lambda self, *arguments: wait(dataclasses.replace(self, first_wait=0.005), *arguments))
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL"):
        monkeypatch.delenv(name, raising=False)


def play(server, out=None, *, episodes=2, retries=0, env_kwargs=None, history=None, **options):
    agent = OpenAIAgent("doors-1", base_url=server.url, **{"retries": 3, "timeout": 5.0, **options})
    return evaluate(TOY_ID, agent, episodes=episodes, out=out, retries=retries, env_kwargs=env_kwargs, history=history)


def entry(summary):
    return summary.results[TOY_ID]


def test_plays_to_success_with_bounded_entropies_usage_and_rows(tmp_path):
    with serving(ChatServer()) as server:
        summary = play(server, tmp_path / "run", token_ids=True)
    found = entry(summary)
    assert found["success_rate"] == 1.0 and found["errors"] == 0
    assert found["tokens"] == {"prompt": 66, "completion": 18, "uncounted_steps": 0}
    assert found["entropy"] == {"mean": pytest.approx(1.5 * math.log(2)), "is_bound": True}
    for trajectory in read_trajectories(tmp_path / "run" / "trajectories.jsonl"):
        assert [step.row for step in trajectory.steps] == [0, 0, 0]
        row = np.concatenate([part for step in trajectory.steps for part in (step.prompt_token_ids, step.response_token_ids)])
        assert row.tolist() == [1, 2, 7, 8, 9, 3, 7, 8, 9, 3, 7, 8, 9]
        assert all(step.entropy_is_bound and len(step.entropies) == len(step.response_token_ids) == 3 for step in trajectory.steps)
        assert trajectory.agent == "openai:doors-1"
        assert [step["texts"] for step in detail(trajectory)["steps"]] == [["a", "a", "a"]] * 3, "the page shows texts"


TRANSIENT = ("429", "429-date", "429-bare", "500", "503", "slow", "cut", "malformed", "html", "list", "no-choices", "no-message")


@pytest.mark.parametrize("fault", [*TRANSIENT, "wrong-ids", "text-ids", "bad-logprobs"])
def test_a_transient_fault_is_invisible(fault):
    with serving(ChatServer(faults=first(fault, fault))) as server:
        summary = play(server, episodes=1, token_ids=True, timeout=1.0 if fault == "slow" else 5.0)
    found = entry(summary)
    assert (found["success_rate"], found["errors"], found["retried"]) == (1.0, 0, 0)
    assert len(server.requests) == 3 + 2


@pytest.mark.parametrize("format", ["chat", "tools"])
def test_what_a_content_filter_withholds_is_a_malformed_step(format, tmp_path):
    """The model wrote it: it is not retried until it is gone, and the episode stays in the score."""
    with serving(ChatServer(faults=first("filter"))) as server:
        summary = play(server, tmp_path / "run", episodes=1, format=format)
    assert (entry(summary)["success_rate"], entry(summary)["errors"], len(server.requests)) == (1.0, 0, 1 + 3)
    (trajectory,) = read_trajectories(tmp_path / "run" / "trajectories.jsonl")
    filtered, *rest = trajectory.steps
    assert filtered.malformed and filtered.action == "" and filtered.finish_reason == "content_filter"
    assert not any(step.malformed for step in rest) and "withheld" in rest[0].observation
    with serving(ChatServer(faults=always("filter"))) as server:
        found = entry(play(server, tmp_path / "all", episodes=2, format=format))
    assert (found["errors"], found["scored"], found["success_rate"]) == (0, 2, 0.0)


@pytest.mark.parametrize("fault", TRANSIENT)
def test_a_permanent_fault_is_an_error_and_not_a_failure(fault, tmp_path):
    faults = {"slow": {"timeout": 0.1}}.get(fault, {})
    with serving(ChatServer(faults=always(fault))) as server:
        summary = play(server, tmp_path / "run", episodes=2, **{"retries": 1, **faults})
    found = entry(summary)
    assert (found["episodes"], found["errors"], found["scored"], found["success_rate"]) == (2, 2, 0, None)
    assert found["errors_by_kind"] == {"AgentError": 2}
    (trajectory, _) = read_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert trajectory.stop_reason == "error" and "failed" in trajectory.error


def test_faults_on_a_third_of_all_requests_lose_no_episode():
    faults = [*(name for name in TRANSIENT if name != "slow")]
    with serving(ChatServer(faults=lambda number: faults[number // 3 % len(faults)] if number % 3 == 0 else None)) as server:
        summary = play(server, episodes=30, retries=10, concurrency=8)
    assert (entry(summary)["success_rate"], entry(summary)["errors"]) == (1.0, 0)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("headers, least, most", [({"retry-after": "7"}, 7.0, 8.0), ({}, 0.0, 0.005)], ids=["asked", "backoff"])
def test_after_a_429_every_request_waits_as_long_as_the_refused_one(headers, least, most, method, monkeypatch):
    waits: list[float] = []
    moment = [0.0]

    async def sleep(seconds):
        waits.append(seconds)
        moment[0] += seconds

    monkeypatch.setattr(json_client.asyncio, "sleep", sleep)
    monkeypatch.setattr(json_client.time, "monotonic", lambda: moment[0])
    client = json_client.JSONClient("http://127.0.0.1:9", retry=RetryPolicy(retries=1))
    replies = [json_client.httpx.Response(429, headers=headers, json={}), json_client.httpx.Response(200, json={"a": 1})]

    async def send(method, url, payload):
        return replies.pop(0)

    real, client._send = client._send, send
    request = client.get("/x") if method == "GET" else client.post("/x", {}, lambda body: body)
    assert asyncio.run(request) == {"a": 1}
    (told,) = waits
    assert least < told <= most

    waits.clear()
    moment[0] = 0.0
    with pytest.raises(json_client.httpx.ConnectError):
        asyncio.run(real("GET", "http://127.0.0.1:9/x", None))
    assert waits and told <= waits[0] <= told + min(told, 2.0), "another request, sent at the same moment"


@pytest.mark.parametrize("fault, sign", [("404", "base URL"), ("quota", "quota")])
def test_user_errors_abort_the_run(fault, sign):
    with serving(ChatServer(faults=always(fault))) as server, pytest.raises(ConfigError, match=sign):
        play(server)
    assert len(server.requests) <= 2


def test_a_wrong_key_ends_the_run_and_is_not_shown(tmp_path):
    with serving(ChatServer(key="right")) as server:
        with pytest.raises(ConfigError) as caught:
            play(server, tmp_path / "run", api_key="sk-very-secret")
        assert "OPENAI_API_KEY" in str(caught.value) and "very-secret" not in str(caught.value)
        summary = play(server, tmp_path / "other", api_key="right")
    assert entry(summary)["success_rate"] == 1.0
    for file in tmp_path.rglob("*.json*"):
        assert "very-secret" not in file.read_text() and '"right"' not in file.read_text()


@pytest.mark.parametrize("key", ["sk-very\nsecret", "sk-very secret", "sk-very-sécret", "sk-very\x7fsecret"])
def test_a_key_that_does_not_fit_a_header_is_refused_and_not_shown(key, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(ConfigError, match="the key contains") as caught:
        OpenAIAgent("doors-1", base_url="http://127.0.0.1:9/v1")
    assert "very" not in str(caught.value)


def test_white_space_around_a_key_is_ignored(monkeypatch):
    with serving(ChatServer(key="right")) as server:
        assert entry(play(server, api_key=" right\n"))["success_rate"] == 1.0
    monkeypatch.setenv("OPENAI_API_KEY", " \n")
    with pytest.raises(ConfigError, match="no key"):
        OpenAIAgent("doors-1")
    with serving(ChatServer(faults=always("404"))) as server, pytest.raises(ConfigError) as caught:
        play(server)
    assert "[key]" not in str(caught.value)


def test_the_status_403_means_the_key_only_before_the_first_success():
    with serving(ChatServer(faults=always("403"))) as server, pytest.raises(ConfigError, match="refuses the key"):
        play(server)
    with serving(ChatServer(faults=lambda number: "403" if number == 4 else None)) as server:
        found = entry(play(server, episodes=3, concurrency=1))
    assert (found["errors"], found["scored"], found["errors_by_kind"]) == (1, 2, {"RejectedRequest": 1})


def test_the_listing_of_models_is_retried():
    with serving(ChatServer(model_faults=lambda number: "503" if number < 2 else None)) as server:
        summary = evaluate(TOY_ID, OpenAIAgent(base_url=server.url), episodes=1)
    assert summary.data["agent"] == "openai:doors-1" and server.listings == 3
    with serving(ChatServer(model_faults=always("404"))) as server:
        assert entry(play(server, episodes=1))["success_rate"] == 1.0
    assert server.listings == 1, "a server without a listing is not asked again"


def test_a_refused_request_is_an_error_at_once():
    with serving(ChatServer(faults=always("422"))) as server:
        summary = play(server, episodes=1)
    assert entry(summary)["errors_by_kind"] == {"RejectedRequest": 1}
    assert len(server.requests) == 1


def test_a_missing_server_is_reported_before_anything_runs(tmp_path):
    with pytest.raises(ConfigError, match="start the server"):
        evaluate(TOY_ID, OpenAIAgent("m", base_url="http://127.0.0.1:9/v1"), episodes=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_conversation_beyond_the_context_ends_the_episode_as_a_limit():
    with serving(ChatServer(context=4)) as server:
        summary = play(server, episodes=2)
    found = entry(summary)
    assert (found["errors"], found["stop_reasons"], found["success_rate"]) == (0, {"row_tokens": 2}, 0.0)


def test_refused_parameters_that_only_inform_are_left_out():
    with serving(ChatServer(rejects=("return_token_ids", "seed", "max_tokens"), top_limit=5)) as server:
        summary = play(server, token_ids=True, max_tokens=50)
    assert entry(summary)["success_rate"] == 1.0
    last = server.requests[-1]
    assert last["top_logprobs"] == 5 and last["max_completion_tokens"] == 50
    assert not {"return_token_ids", "seed", "max_tokens"} & set(last)


def test_without_logprobs_there_are_no_entropies():
    with serving(ChatServer(top_limit=0)) as server:
        summary = play(server)
    assert entry(summary)["entropy"] is None and entry(summary)["success_rate"] == 1.0
    assert "logprobs" not in server.requests[-1]


def test_refused_parameters_that_change_the_text_are_never_left_out():
    with serving(ChatServer(rejects=("temperature",))) as server:
        summary = play(server, temperature=0.5)
    assert entry(summary)["errors"] == 2


def test_missing_usage_is_not_counted_as_zero():
    with serving(ChatServer(usage=False)) as server:
        summary = play(server)
    assert entry(summary)["tokens"] == {"prompt": None, "completion": None, "uncounted_steps": 6}


def test_tool_calls_are_sent_back_as_tool_messages():
    with serving(ChatServer()) as server:
        summary = play(server, format="tools", episodes=1)
    assert entry(summary)["success_rate"] == 1.0
    system, *rest = server.requests[-1]["messages"]
    assert "calling exactly one of the given tools" in system["content"]
    assert [message["role"] for message in rest] == ["user", "assistant", "tool", "assistant", "tool"]
    for asked, answered in ((rest[1], rest[2]), (rest[3], rest[4])):
        assert [call["id"] for call in asked["tool_calls"]] == [answered["tool_call_id"]]
    assert server.requests[0]["tools"][0]["function"]["name"] == "act"


def test_unreadable_tool_arguments_keep_their_text_and_get_the_corrective_message(tmp_path):
    with serving(ChatServer(garbage=True)) as server:
        summary = play(server, tmp_path / "run", format="tools", episodes=1)
    found = entry(summary)
    assert (found["errors"], found["success_rate"], found["invalid_actions"]["rate"]) == (0, 0.0, 1.0)
    (trajectory,) = read_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert {(step.response, step.action, step.malformed) for step in trajectory.steps} == {("act({oops)", "", True)}
    told = "Your reply could not be read: the arguments of its tool call are not a JSON object: act({oops). Think first"
    assert trajectory.steps[1].observation.startswith(told)
    _, _, asked, answered = server.requests[1]["messages"]
    assert asked["tool_calls"][0]["function"]["arguments"] == "{}", "some servers refuse arguments that are not a JSON object"
    assert answered["role"] == "tool" and answered["content"].startswith(told)


def test_separate_thoughts_are_kept_but_not_sent_back(tmp_path):
    with serving(ChatServer(reasoning=True)) as server:
        play(server, tmp_path / "run", episodes=1)
    (trajectory,) = read_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert trajectory.success and {step.thought for step in trajectory.steps} == {"hidden thoughts"}
    assert all("hidden" not in str(message["content"]) for message in server.requests[-1]["messages"])


def test_a_history_window_sends_the_last_own_messages():
    with serving(ChatServer()) as server:
        play(server, episodes=1, history=1)
    roles = [message["role"] for message in server.requests[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "user"]


def test_concurrent_requests_reach_their_limit_and_no_more():
    with serving(ChatServer(delay=0.05)) as server:
        agent = OpenAIAgent("doors-1", base_url=server.url, concurrency=5)
        summary = evaluate(TOY_ID, agent, episodes=20, concurrency=20)
    assert entry(summary)["success_rate"] == 1.0
    assert server.most_in_flight == 5


def test_the_only_model_of_a_server_needs_no_name(monkeypatch):
    with serving(ChatServer()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        summary = evaluate(TOY_ID, "openai", episodes=1)
    assert summary.data["agent"] == "openai:doors-1"


def test_the_seed_is_the_same_in_every_run_and_differs_between_repeats():
    seeds = []
    for _ in range(2):
        with serving(ChatServer()) as server:
            evaluate(TOY_ID, OpenAIAgent("doors-1", base_url=server.url), tasks=[0], repeats=2, concurrency=1)
            seeds.append([request["seed"] for request in server.requests])
    assert seeds[0] == seeds[1] and len(set(seeds[0])) == 2


def test_openai_itself_needs_a_key():
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        make_agent("openai:gpt")


def test_an_agent_serves_several_event_loops_in_turn():
    with serving(ChatServer()) as server:
        agent = OpenAIAgent("doors-1", base_url=server.url)
        for _ in range(2):
            assert entry(evaluate(TOY_ID, agent, episodes=1))["success_rate"] == 1.0


def test_the_error_of_a_dead_server_names_it():
    async def ask():
        await json_client.JSONClient("http://127.0.0.1:9/v1", retry=RetryPolicy(retries=1)).post("/x", {}, dict)

    with pytest.raises(AgentError, match="failed 2 times"):
        asyncio.run(ask())


@pytest.mark.parametrize("status", [401, 404])
def test_a_refusal_after_a_success_costs_a_request_and_not_the_run(status):
    async def ask():
        replies = [httpx.Response(code, json={"a": 1}) for code in (200, status, 200, status, status)]
        client = json_client.JSONClient("http://127.0.0.1:9", retry=RetryPolicy(retries=1, first_wait=0.0))

        async def send(method, url, payload):
            return replies.pop(0)

        client._send = send
        for _ in range(2):  # the second is answered by its retry
            assert await client.post("/x", {}, lambda body: body) == {"a": 1}
        with pytest.raises(AgentError, match=f"status {status}"):
            await client.post("/x", {}, lambda body: body)

    asyncio.run(ask())


def test_the_login_of_an_address_is_sent_and_never_shown():
    client = json_client.JSONClient("http://user:hunter2hunter2@127.0.0.1:9/v1")
    assert client.base_url == "http://127.0.0.1:9/v1" and client._clean("x hunter2hunter2") == "x [key]"


def test_a_time_out_names_its_setting(tmp_path):
    with serving(ChatServer(delay=30.0)) as server:
        play(server, tmp_path / "run", episodes=1, timeout=0.2, retries=0)
    (trajectory,) = read_trajectories(tmp_path / "run" / "trajectories.jsonl")
    assert "the last problem: no answer within 0.2 s (agent.timeout)" in trajectory.error
