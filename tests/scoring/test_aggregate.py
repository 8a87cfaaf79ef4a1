"""Aggregation: what enters a score, and what is counted beside it."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.scoring.aggregate import aggregate
from empg_gym.scoring.estimates import estimate_pass_at
from empg_gym.scoring.headline import headline_of, headlines_by
from empg_gym.scoring.intervals import mean_interval, pass_at_k, wilson
from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import EpisodeRecord, Outcome, record_of
from empg_gym.trajectory import Step, StopReason, Trajectory


def record(**values) -> EpisodeRecord:
    episode = Trajectory(env_id="Env-v0", env_version="1", data_fingerprint="", split="test", task="t", instruction="")
    return dataclasses.replace(record_of(episode), **{"stop_reason": "terminated", **values})


RECORDS = st.lists(
    st.builds(
        record,
        task=st.sampled_from("abcd"),
        task_type=st.sampled_from(["", "x", "y"]),
        success=st.booleans(),
        score=st.floats(0, 1),
        steps=st.integers(0, 9),
        invalid=st.just(0),
        stop_reason=st.sampled_from([str(reason) for reason in StopReason] + ["running"]),
        error=st.sampled_from([None, "ValueError: no", "OSError: gone"]),
        prompt_tokens=st.none() | st.integers(0, 100),
        entropy=st.none() | st.floats(0, 3),
    ),
    max_size=20,
)
BESIDE = ("episodes", "errors", "tasks", "tokens", "cost", "seconds", "stop_reasons", "errors_by_kind", "error_messages", "retried")
OF_ALL = {f"{name}_errors_as_0" for name in ("success_rate", "success_interval", "score_mean", "score_interval")}
"""Entries that count all episodes."""


@given(RECORDS)
def test_errors_enter_no_score(records):
    scored = [one for one in records if one.outcome in (Outcome.SUCCESS, Outcome.FAILURE)]
    whole, without = aggregate(records), aggregate(scored)
    for name in set(whole) - {*BESIDE, *OF_ALL, "by_task_type", "by_domain"}:
        assert whole[name] == without[name], name
    for kind, entry in whole["by_task_type"].items():
        expected = without["by_task_type"].get(kind, {"success_rate": None, "score_mean": None})
        assert (entry["success_rate"], entry["score_mean"]) == (expected["success_rate"], expected["score_mean"])


@given(RECORDS)
def test_every_episode_has_one_outcome_and_is_counted_once(records):
    numbers, headline = aggregate(records), headline_of(records)
    assert numbers["episodes"] == len(records) == sum(numbers["stop_reasons"].values())
    assert numbers["errors"] == sum(numbers["errors_by_kind"].values()) == sum(one.is_error for one in records)
    assert numbers["scored"] == sum(one.is_scored for one in records) and headline.successes <= headline.scored
    assert headline.scored + headline.errors + sum(one.outcome is Outcome.UNFINISHED for one in records) == len(records)
    assert sum(one.episodes for one in headlines_by(records, lambda one: one.task).values()) == len(records)


def test_nothing_scored_has_no_rates():
    numbers = aggregate([record(stop_reason="error", success=True, score=1.0)])
    assert numbers["errors"] == 1 and numbers["scored"] == 0 and numbers["pass_at_k"] == {}
    names = ("success_rate", "success_interval", "score_mean", "score_interval", "reward", "steps", "entropy")
    assert [numbers[name] for name in names] == [None] * len(names)
    assert aggregate([])["episodes"] == 0


def test_the_numbers_are_those_of_a_calculation_by_hand():
    records = [
        record(task="a", success=True, score=1.0, steps=3, invalid=1, prompt_tokens=1000, completion_tokens=10, entropy=0.2),
        record(task="b", success=False, score=0.5, steps=5, invalid=2, prompt_tokens=2000, entropy=0.4, stop_reason="step_limit"),
        record(task="c", stop_reason="error", error="OSError: gone", prompt_tokens=4000, entropy=9.0, steps=1, invalid=1, attempts=2),
    ]
    numbers = aggregate(records, prices=Prices(1.0, 10.0))
    assert (numbers["success_rate"], numbers["success_interval"]) == (0.5, list(wilson(0.5, 2)))
    assert (numbers["score_mean"], numbers["score_interval"]) == (0.75, list(mean_interval([[1.0], [0.5]], unit=True)))
    assert numbers["steps"]["mean"] == 4.0 and numbers["invalid_actions"] == {"count": 3, "rate": 3 / 8, "malformed": 0}
    assert numbers["tokens"] == {"prompt": 7000, "completion": 10, "uncounted_steps": 0}
    assert numbers["cost"]["total"] == pytest.approx(0.0071), "failed episodes were paid for"
    assert numbers["entropy"]["mean"] == pytest.approx(0.3) and numbers["retried"] == 1
    assert numbers["errors_by_kind"] == {"OSError": 1} and numbers["error_messages"] == [{"message": "OSError: gone", "episodes": 1}]


@given(RECORDS, st.integers(1, 4))
def test_pass_at_k_is_over_tasks_with_enough_scored_episodes(records, k):
    expected = []
    ordered = sorted((one for one in records if one.is_scored), key=lambda one: one.task)
    for _, members in itertools.groupby(ordered, key=lambda one: one.task):
        outcomes = [one.success for one in members]
        if len(outcomes) >= k:
            expected.append(pass_at_k(len(outcomes), sum(outcomes), k))
    estimate = estimate_pass_at(records, k)
    assert estimate == (pytest.approx(sum(expected) / len(expected)) if expected else None)
    assert aggregate(records)["pass_at_k"].get(str(k)) == estimate


@pytest.mark.parametrize(
    "changes, outcome",
    [
        ({"stop_reason": StopReason.TERMINATED, "success": True}, Outcome.SUCCESS),
        ({"stop_reason": StopReason.TERMINATED}, Outcome.FAILURE),
        ({"stop_reason": StopReason.TIME_LIMIT}, Outcome.FAILURE),
        ({"stop_reason": StopReason.AGENT_STOPPED}, Outcome.FAILURE),
        ({"stop_reason": StopReason.ERROR, "success": True}, Outcome.ERROR),
        ({"stop_reason": None}, Outcome.UNFINISHED),
        ({"stop_reason": None, "success": True}, Outcome.SUCCESS),
        ({"stop_reason": None, "error": "OSError: gone"}, Outcome.ERROR),
    ],
)
def test_outcomes(changes, outcome):
    episode = Trajectory(env_id="E", env_version="1", data_fingerprint="", split="test", task="t", instruction="", **changes)
    assert record_of(episode).outcome is outcome


def test_tokens_are_as_billed_else_as_generated():
    steps = [
        Step(observation="", response="", thought="", action="", valid_action=True, reward=0.0, **values)
        for values in ({"prompt_tokens": 7, "completion_tokens": 5}, {"response_token_ids": [1, 2]}, {})
    ]
    digest = record_of(Trajectory(env_id="E", env_version="", data_fingerprint="", split="", task="", instruction="", steps=steps))
    assert (digest.prompt_tokens, digest.completion_tokens, digest.uncounted_steps) == (7, 7, 1)


@given(RECORDS)
def test_errors_are_zeros_in_the_numbers_of_all_episodes(records):
    entry, headline = aggregate(records), headline_of(records)
    failed = [one for one in records if one.is_error]
    assert set(entry) >= OF_ALL if failed else not OF_ALL & set(entry)
    as_failures = [
        dataclasses.replace(one, success=False, score=0.0, stop_reason="terminated", error=None) if one.is_error else one for one in records
    ]
    expected = headline_of(as_failures)
    assert (headline.success_of_all, headline.score_of_all) == (expected.success, expected.score)
    if failed and headline.success is not None:
        assert headline.success_of_all.mean <= headline.success.mean


def test_an_agent_that_fails_its_hard_episodes_is_seen():
    honest = [record(task=str(place), success=place < 5, score=float(place < 5)) for place in range(10)]
    cheat = [one if one.success else dataclasses.replace(one, stop_reason="error", error="AgentError: oops") for one in honest]
    entry = aggregate(cheat)
    assert entry["success_rate"] == 1.0 and entry["success_rate_errors_as_0"] == aggregate(honest)["success_rate"] == 0.5
    assert entry["score_mean_errors_as_0"] == 0.5 and entry["success_interval_errors_as_0"] == aggregate(honest)["success_interval"]
