"""The numbers of a report: groups, curves and tables."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.report.before_after import changes
from empg_gym.report.breakdown import break_down
from empg_gym.report.cells import text
from empg_gym.report.episodes import EpisodeStore, StepEntropy
from empg_gym.report.histogram import histogram
from empg_gym.report.metrics import MAX_POINTS, Line, layout, read_metrics, thin
from empg_gym.report.tables import tables
from empg_gym.report.tiles import tiles
from empg_gym.scoring.intervals import wilson
from empg_gym.scoring.prices import Prices
from empg_gym.scoring.record import Outcome
from empg_gym.trajectory import StopReason
from tests.report.samples import metrics_lines, trajectory


def rows(count=60, **changes):
    rng = np.random.default_rng(3)
    made = [trajectory(rng, number) for number in range(count)]
    for name, value in changes.items():
        for each in made:
            setattr(each, name, value)
    return made


def groups_of(made):
    store = EpisodeStore()
    for each in made:
        store.add(each)
    return break_down(store.rows, store.records)


def test_groups_count_every_episode_once_and_errors_separately():
    made = rows()
    made[0].stop_reason, made[0].success = StopReason.ERROR, True
    groups = groups_of(made)
    whole = [group for group in groups if group.level == 0]
    assert sum(group.headline.episodes for group in whole) == 60 and sum(group.headline.errors for group in whole) == 1
    assert sum(group.headline.successes for group in whole) == sum(each.success for each in made[1:])
    within = sum(group.headline.episodes for group in groups if group.level == 1)
    assert within == sum(each.split == "valid_seen" for each in made), "the other split has one task type only"
    for group in whole:
        success = group.headline.success
        assert success.interval == pytest.approx(wilson(success.mean, group.headline.scored))


def test_a_group_of_errors_has_no_rate():
    [group] = [each for each in groups_of(rows(3, stop_reason=StopReason.ERROR, split="s")) if each.level == 0]
    assert group.headline.success is None and group.headline.score is None and group.steps is None and group.headline.errors == 3
    assert tiles({}, [], [group])[0].note == "0 of 0 without an error; 0.0 % with 3 errors as 0"


def test_groups_have_invalid_actions_tokens_cost_and_pass_at_k():
    made = rows(4, task="one", split="s", task_type="")
    for episode, success in zip(made, (True, False, False, False), strict=True):
        episode.success = success
        for step in episode.steps:
            step.prompt_tokens, step.valid_action = 1000, success
    made[3].stop_reason = StopReason.ERROR
    [group] = groups_of(made)
    steps = [len(episode.steps) for episode in made]
    assert group.invalid_rate == pytest.approx((steps[1] + steps[2]) / sum(steps[:3]))
    assert (group.tokens.prompt, group.tokens.completion) == (1000 * sum(steps), 24 * sum(steps)), "failed episodes were paid for"
    assert group.cost(Prices(2.0, 10.0)) == pytest.approx(sum(steps) * (1000 * 2 + 24 * 10) / 1e6)
    assert group.pass_at(1) == pytest.approx(1 / 3) and group.pass_at(2) == pytest.approx(2 / 3) and group.pass_at(4) is None


def test_step_entropies_by_outcome_are_shares():
    entropies = [(0.1, Outcome.SUCCESS, "a"), (0.2, Outcome.SUCCESS, "b"), (3.0, Outcome.FAILURE, "b"), (9.0, Outcome.ERROR, "b")]
    steps = [StepEntropy(*one) for one in entropies]
    drawn = histogram(steps)
    assert [line["name"] for line in drawn["series"]] == ["successful episodes", "failed episodes"]
    assert all(sum(line["shares"]) == pytest.approx(1, abs=1e-3) for line in drawn["series"])
    assert [line["steps"] for line in drawn["series"]] == [2, 1], "an error is not a failure"
    assert [(line["name"], line["steps"]) for line in histogram(steps, by_phase=True)["series"]] == [("a", 1), ("b", 2)]
    assert histogram([]) is None and histogram(steps[-1:]) is None and histogram(steps[-1:], by_phase=True) is None


def test_every_metric_is_drawn_once():
    charts = layout(read(metrics_lines()))
    keys = {key for line in map(json.loads, metrics_lines()) for key in line} - {"phase", "step", "seconds"}
    curves = sum(len(chart["series"]) + 2 * len(chart["bands"]) for chart in charts)
    assert curves == len(keys)
    assert [chart["title"] for chart in charts if not chart["main"]] == ["custom/unheard_of"]
    loss = next(chart for chart in charts if chart["title"] == "Policy loss")
    assert (loss["series"][0]["x"][0], loss["series"][0]["x"][-1]) == (1, 60), "a chart of one phase counts its own steps"


def read(lines):
    return [Line(line.pop("phase"), line.pop("step"), line.pop("seconds"), line) for line in map(json.loads, lines)]


def test_phases_that_share_a_chart_follow_each_other_and_a_rewritten_step_counts_once():
    lines = [Line("warmstart", step, None, {"speed/tokens_per_s": 1.0}) for step in range(5)]
    lines += [Line("rl", step, None, {"speed/tokens_per_s": 2.0}) for step in (1, 2, 3, 2, 3)]
    lines[-1].values["speed/tokens_per_s"] = 9.0
    [chart] = layout(lines)
    assert chart["series"][0]["x"] == [0, 1, 2, 3, 4, 5, 6, 7] and chart["series"][0]["y"][-1] == 9.0
    assert chart["marks"] == [{"x": 4, "phase": "rl"}]


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=6000))
def test_thinned_curves_keep_their_ends_and_extremes(values):
    x, y = thin(list(range(len(values))), values)
    assert len(x) <= MAX_POINTS + 2 and x == sorted(set(x))
    assert (x[0], x[-1]) == (0, len(values) - 1)
    assert min(y) == min(values) and max(y) == max(values)


def test_metrics_that_are_not_numbers_are_ignored(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"phase": "rl", "step": 1, "a": NaN, "b": "text", "c": true, "d": null, "e": 2}\n\n{"step": null}\n{"cut')
    first, second = read_metrics(path)
    assert first.values == {"e": 2.0} and second == Line("", 0, None, {})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(["results", "before", "after", "x", "success_rate"]), JSON, max_size=5))
def test_any_summary_becomes_tables(summary):
    for table in tables(summary):
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert all(isinstance(cell, str) for row in table.rows for cell in row)
    tiles(summary, [], [])
    changes(summary, [])


def test_errors_are_shown_beside_the_success_rate():
    lines = [Line("rl", step, None, {"eval/test/success": 0.5, "eval/test/errors": errors}) for step, errors in ((0, 0.0), (5, 2.0))]
    assert tiles({}, lines, [])[0].note == "from 50.0 % at the first evaluation; 2 errors"
    result = {"split": "test", "tasks": 8, "success": 0.5, "success_low": 0.2, "success_high": 0.8}
    [row] = changes({"before": [{**result, "errors": 0}], "after": [{**result, "errors": 2}]}, [])
    assert (row.name, row.tasks, row.before, row.before_errors) == ("test", "8", "50.0 % (20.0 % to 80.0 %)", "0")
    assert (row.after, row.after_errors, row.change) == ("50.0 % (20.0 % to 80.0 %)", "2", "+0.0")
    [row] = changes({"before": [result], "after": [result]}, [])
    assert row.before_errors == row.after_errors == "–", "earlier releases did not count them separately"


def test_the_rate_over_all_episodes_is_shown_where_some_failed():
    lines = [Line("rl", 0, None, {"eval/test/success": 0.5, "eval/test/errors": 2.0, "eval/test/success_errors_as_0": 0.375})]
    assert tiles({}, lines, [])[0].note == "2 errors; 37.5 % over all episodes, errors as 0"
    result = {"split": "test", "tasks": 8, "success": 0.5, "errors": 0}
    [row] = changes({"before": [result], "after": [{**result, "errors": 2, "success_errors_as_0": 0.375}]}, [])
    assert (row.before_of_all, row.after_of_all, row.after_errors) == ("50.0 %", "37.5 %", "2")
    [row] = changes({"before": [result], "after": [result]}, [])
    assert row.before_of_all == row.after_of_all == ""


def test_values_of_tables():
    assert text(0.25, "success_rate") == "25.0 %" and text([0.1, 0.3], "success_interval") == "10.0 % to 30.0 %"
    assert (
        text(12345) == "12,345" and text(math.nan) == "–" and text(True) == "yes" and text(None) == "–" and text(0.5, "score_mean") == "0.5"
    )


def test_the_index_is_columns_of_one_length():
    store = EpisodeStore()
    for each in rows(60):
        store.add(each)
    index = store.index()
    lengths = {
        len(value["codes"] if isinstance(value, dict) else value)
        for name, value in index.items()
        if name not in ("count", "chunk", "outcomes")
    }
    assert lengths == {60} and store.num_chunks == 3
    with pytest.raises(IndexError):
        store.chunk(3)
    with pytest.raises(IndexError):
        store.chunk(-1)
