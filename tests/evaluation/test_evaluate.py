"""`evaluate`: which episodes are run, what is counted, and what is written."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from empg_gym.agents.scripted import ExpertAgent
from empg_gym.agents.tool_dialogue import ToolDialogue
from empg_gym.data_name import data_name
from empg_gym.errors import ConfigError, EnvironmentFailure, TaskError
from empg_gym.evaluation import Prices, compare, evaluate, rescore
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout import Limits, plan
from empg_gym.rollout.plan import episode_seed
from empg_gym.trajectory import Completion, read_trajectories
from tests.toy import TOY_ID


def run(agent="random", **options):
    return evaluate(TOY_ID, agent, **{"episodes": 12, **options})


def tasks_of(summary):
    return {record.task for record in summary.records}


def without_times(data):
    if isinstance(data, dict):
        return {name: without_times(value) for name, value in data.items() if "seconds" not in name}
    return data


def test_the_same_call_gives_the_same_numbers_at_any_concurrency():
    one, many = run(concurrency=1, repeats=3), run(concurrency=7, repeats=3)
    assert without_times(one.data) == without_times(many.data)
    assert without_times(run(seed=1, repeats=3).data) != without_times(one.data)


def test_an_episode_does_not_depend_on_what_else_is_run():
    alone = evaluate(TOY_ID, "random", tasks=["test-5"], repeats=2)
    among = evaluate(TOY_ID, "random", tasks=["test-9", 5], repeats=3)
    pick = {(record.task, record.repeat): record.steps for record in among.records}
    assert all(pick[record.task, record.repeat] == record.steps for record in alone.records)
    assert episode_seed(0, "a") != episode_seed(0, "b") != episode_seed(1, "b")


def test_tasks_are_drawn_without_replacement_from_the_held_out_split():
    drawn = tasks_of(run("expert", episodes=50))
    assert drawn == {f"test-{index}" for index in range(50)}
    assert tasks_of(run("expert")) == tasks_of(run("random")) != tasks_of(run("expert", seed=3))
    assert len(tasks_of(evaluate(TOY_ID, "expert"))) == 50


def test_a_split_of_thousands_is_run_whole_only_on_request(monkeypatch):
    monkeypatch.setattr(plan, "DEFAULT_EPISODES", 20)
    assert len(tasks_of(evaluate(TOY_ID, "expert"))) == 20
    assert len(tasks_of(evaluate(TOY_ID, "expert", episodes=50))) == 50


@pytest.mark.parametrize(
    "options, error, sign",
    [
        ({"episodes": 51}, ConfigError, "50 tasks, fewer than"),
        ({"episodes": 0}, ConfigError, "episodes: input should be greater than or equal to 1, not 0"),
        ({"episodes": None, "tasks": [50]}, TaskError, "0..49"),
        ({"episodes": None, "tasks": ["train-1"]}, TaskError, "no task 'train-1'"),
        ({"episodes": None, "tasks": [3, "test-3"]}, ConfigError, "named 2 times"),
        ({"episodes": None, "tasks": []}, ConfigError, "empty"),
        ({"tasks": [1]}, ConfigError, "not both"),
        ({"repeats": 0}, ConfigError, "repeats: input should be greater than or equal to 1, not 0"),
        ({"retries": 1.5}, ConfigError, "retries: expected a whole number, not 1.5"),
        ({"seed": True}, ConfigError, "seed: expected a whole number, not True"),
        ({"concurency": 3}, ConfigError, "unknown key 'concurency' in the evaluation; did you mean 'concurrency'"),
        ({"limits": {"max_step": 1}}, ConfigError, "unknown key 'limits.max_step' in the evaluation; did you mean 'max_steps'"),
        ({"backend": {"name": "proceses"}}, ConfigError, "did you mean 'processes'"),
        ({"backend": {"step_second": 1}}, ConfigError, "did you mean 'step_seconds'"),
        ({"episodes": None, "tasks": "test-3"}, ConfigError, "tasks is a list of ids and indices, not 'test-3'"),
        ({"split": "tets"}, ConfigError, "did you mean 'test'"),
        ({"dialogue": "raect"}, ConfigError, "did you mean 'react'"),
        ({"env_kwargs": {"lenght": 3}}, ConfigError, "did you mean 'length'"),
        ({"env_kwargs": {"max_steps": 0}}, ConfigError, "max_steps"),
        ({"env_kwargs": {"split": 5}}, ConfigError, "split|arguments"),
    ],
)
def test_wrong_calls_raise_one_sentence(options, error, sign):
    with pytest.raises(error, match=sign):
        run("expert", **options)


@pytest.mark.parametrize(
    "name, sign", [("alfwold", "did you mean 'alfworld'"), ("no_module:X-v0", "no module"), ("CartPole-v1", "expected texts")]
)
def test_wrong_environments_raise_one_sentence(name, sign):
    with pytest.raises(ConfigError, match=sign):
        evaluate(name, "expert", episodes=1)


def test_no_environment_and_the_same_twice():
    with pytest.raises(ConfigError, match="no environment"):
        evaluate([], "expert")
    with pytest.raises(ConfigError, match="twice"):
        evaluate([TOY_ID, TOY_ID], "expert")


def test_environments_by_split_with_arguments_of_their_own():
    summary = evaluate(
        [f"{TOY_ID}@train", f"tests.toy:{TOY_ID}@test"], "expert", episodes=2, env_kwargs={"max_steps": 9, "doors": {"length": 4}}
    )
    assert set(summary.results) == {f"{TOY_ID}@train", f"{TOY_ID}@test"}
    for split, entry in zip(("train", "test"), summary.results.values(), strict=True):
        assert (entry["split"], entry["steps"]["mean"], entry["max_steps"], entry["data_fingerprint"]) == (split, 4.0, 9, "doors-4-4")


def test_entries_have_what_a_reader_needs():
    summary = run("random", repeats=4, prices=(1.0, 2.0))
    entry = summary.results[TOY_ID]
    assert entry["episodes"] == entry["scored"] == 48 and entry["errors"] == 0 and entry["tasks"] == 12
    assert entry["success_interval"][0] <= entry["success_rate"] <= entry["success_interval"][1]
    assert entry["score_interval"][0] <= entry["score_mean"] <= entry["score_interval"][1]
    assert entry["pass_at_k"]["1"] == pytest.approx(entry["success_rate"])
    assert list(entry["pass_at_k"].values()) == sorted(entry["pass_at_k"].values()) and len(entry["pass_at_k"]) == 4
    assert set(entry["by_task_type"]) == {"odd", "even"}
    assert sum(group["episodes"] for group in entry["by_task_type"].values()) == 48
    assert entry["cost"] == {"total": 0.0, "per_episode": 0.0}
    for name in ("env_version", "data_fingerprint", "split", "split_rule", "wording", "prompt_hash", "seed", "dialogue"):
        assert name in entry
    assert set(summary.data["versions"]) >= {"empg_gym", "python", "gymnasium", "numpy", "httpx"}


def test_the_data_has_a_name():
    assert (data_name(None), data_name("official"), data_name(Path("games") / "json_2.1.1")) == ("embedded world", "official", "json_2.1.1")
    assert run("expert").results[TOY_ID]["data"] is None, "an environment that takes no data"


class Counted:
    """Answers with one action and known token counts; fails on request."""

    def __init__(self, action="open door 9", fails=lambda task: False):
        self.action, self.fails, self.calls = action, fails, 0

    def session(self, env, seed):
        self.task = env.text_env.task
        outer, task = self, env.text_env.task

        class Session:
            def act(self, messages, *, tools=None):
                outer.calls += 1
                if outer.fails(task):
                    raise RuntimeError("no power")
                return Completion(text=f"<think></think><action>{outer.action}</action>", prompt_tokens=1000, completion_tokens=10)

        return Session()


def test_tokens_cost_and_invalid_actions():
    entry = run(Counted(), env_kwargs={"max_steps": 3}, prices=Prices(2.0, 10.0)).results[TOY_ID]
    assert entry["tokens"] == {"prompt": 36000, "completion": 360, "uncounted_steps": 0}
    assert entry["cost"]["total"] == pytest.approx(36000 * 2e-6 + 360 * 10e-6)
    assert entry["invalid_actions"] == {"count": 36, "rate": 1.0, "malformed": 0}
    assert entry["stop_reasons"] == {"step_limit": 12}


def test_malformed_responses_are_counted():
    entry = run(Counted("a</action><action>b"), env_kwargs={"max_steps": 2}).results[TOY_ID]
    assert entry["invalid_actions"] == {"count": 24, "rate": 1.0, "malformed": 24}


def test_errors_are_reported_beside_the_scores(tmp_path):
    agent = Counted("open door 1", fails=lambda task: int(task.partition("-")[2]) % 2 == 1)
    summary = evaluate(TOY_ID, agent, tasks=range(10), retries=2, out=tmp_path / "run", env_kwargs={"max_steps": 2})
    entry = summary.results[TOY_ID]
    assert (entry["episodes"], entry["errors"], entry["scored"]) == (10, 5, 5)
    assert entry["errors_by_kind"] == {"RuntimeError": 5} and summary.errors == 5
    assert entry["by_task_type"]["odd"]["success_rate"] is None and entry["by_task_type"]["odd"]["errors"] == 5
    errors = [one for one in read_trajectories(tmp_path / "run" / "trajectories.jsonl") if one.stop_reason == "error"]
    assert len(errors) == 5 and all(one.attempts == 3 and one.error == "RuntimeError: no power" for one in errors)


def test_an_environment_that_fails_is_an_error():
    entry = run("expert", env_kwargs={"fail_on": "open door 1"}).results[TOY_ID]
    assert entry["errors"] > 0 and entry["errors"] + entry["scored"] == 12 and entry["success_rate"] in (1.0, None)


def test_an_environment_that_cannot_be_made_again_is_an_error(monkeypatch, tmp_path):
    made = []

    def make(self, original=EnvRecipe.make):
        made.append(self)
        if len(made) > 3:
            raise EnvironmentFailure("no browser any more")
        return original(self)

    monkeypatch.setattr(EnvRecipe, "make", make)
    entry = run("python:tests.evaluation.agents:SlowAgent", concurrency=4, out=tmp_path / "run").results[TOY_ID]
    assert entry["errors_by_kind"] == {"EnvironmentFailure": entry["errors"]} and 0 < entry["errors"] < 12
    assert entry["scored"] == 12 - entry["errors"]
    monkeypatch.undo()
    for trajectory in read_trajectories(tmp_path / "run" / "trajectories.jsonl"):
        assert (trajectory.env_id, trajectory.split, trajectory.env_version) == (TOY_ID, "test", "1")
        assert trajectory.data_fingerprint == entry["data_fingerprint"] != ""
    assert rescore(tmp_path / "run").results[TOY_ID]["errors"] == entry["errors"]
    cells = compare([tmp_path / "run", tmp_path / "run" / "rescored"]).cells
    assert {cell.environment for cell in cells} == {TOY_ID} and {cell.errors for cell in cells} == {entry["errors"]}


class CallsTools:
    """The expert through tool calls, as an API agent with `format="tools"` does it."""

    dialogue = ToolDialogue()

    def session(self, env, seed):
        class Session:
            def act(self, messages, *, tools=None):
                (tool,) = (one for one in tools if one["function"]["name"] == "act")
                assert tool["function"]["parameters"]["required"] == ["action"]
                return Completion(text="Sure.", tool_calls=({"name": "act", "arguments": {"action": env.text_env.expert()}},))

        return Session()


def test_tool_calls_have_their_own_dialogue():
    entry = run(CallsTools()).results[TOY_ID]
    assert (entry["dialogue"], entry["success_rate"], entry["invalid_actions"]["rate"]) == ("tool-calls", 1.0, 0.0)
    assert run(CallsTools(), dialogue="react").results[TOY_ID]["dialogue"] == "react"


@pytest.mark.parametrize("own", [None, ToolDialogue()])
def test_a_native_protocol_comes_before_the_agents_dialogue(own):
    agent = Counted("no protocol")
    agent.dialogue = own
    entry = evaluate("deepsearch", agent, episodes=1, limits=Limits(max_steps=1)).results["EMPG/DeepSearch-v0"]
    assert entry["dialogue"] == "native"


@pytest.mark.parametrize(
    "values",
    [
        {name: value}
        for name, values in {
            "max_steps": ["abc", -1, 0, 1.5, True],
            "max_row_tokens": ["x", 0],
            "max_seconds": ["x", 0, float("nan"), True],
            "end_on_cut_response": [1, "no"],
        }.items()
        for value in values
    ],
)
def test_limits_are_checked_where_they_are_made(values):
    for limits in (lambda: Limits(**values), lambda: values):
        with pytest.raises(ConfigError, match=f"the limit {next(iter(values))} is"):
            run("random", limits=limits())


@pytest.mark.parametrize("prices", [(-1.0, 1.0), (1.0, float("nan")), (1.0,), (1, 2, 3), "12", ("a", "b"), (True, 1.0), 3.0])
def test_prices_are_checked_in_python_too(prices, tmp_path):
    with pytest.raises(ConfigError, match="prices are two numbers of at least 0"):
        run("random", prices=prices, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="prices are two numbers of at least 0"):
        rescore(tmp_path, prices=prices)
    assert not list(tmp_path.iterdir())


def test_limits():
    entry = run("random", limits=Limits(max_steps=2)).results[TOY_ID]
    assert entry["steps"]["mean"] == 2.0


def test_an_agent_as_an_object_with_a_name(tmp_path):
    summary = run(ExpertAgent(), agent_name="my expert", out=tmp_path / "run")
    assert summary.data["agent"] == "my expert"
    assert json.loads((tmp_path / "run" / "config.json").read_text())["agent"]["name"] == "my expert"


def test_it_works_where_an_event_loop_runs():
    async def notebook():
        return run("expert")

    assert asyncio.run(notebook()).results[TOY_ID]["success_rate"] == 1.0


def test_a_watcher_sees_every_episode_and_the_end():
    class Watcher:
        seen = 0

        def begin(self, totals, done):
            self.totals, self.done = dict(totals), list(done)

        def episode(self, record):
            self.seen += 1

        def end(self):
            self.ended = True

    watcher = Watcher()
    run("random", watch=watcher)
    assert (watcher.totals, watcher.done, watcher.seen, watcher.ended) == ({TOY_ID: 12}, [], 12, True)


def test_a_summary_prints_as_a_table_and_becomes_a_frame():
    summary = run("expert", out=None)
    printed = str(summary).splitlines()
    assert printed[0].split()[:3] == ["environment", "episodes", "errors"] and printed[1].startswith(TOY_ID)
    assert "100.0" in printed[1] and not any(line.endswith(" ") for line in printed)
    shown = summary._repr_html_()
    assert shown.startswith("<table>") and f"<td>{TOY_ID}" in shown and shown.count("<tr>") == len(printed)
    pandas = pytest.importorskip("pandas")
    frame = summary.to_frame()
    assert isinstance(frame, pandas.DataFrame) and len(frame) == 12
    assert list(frame["task"]) == [record.task for record in summary.records] and frame["success"].mean() == 1.0
    assert set(frame["outcome"]) == {"success"} and frame["steps"].dtype.kind == "i"
