"""The report of a training run: all held-out tasks before and after, and samples that are never taken for results."""

from __future__ import annotations

import json

import pytest

from empg_gym.errors import DataError
from empg_gym.report.before_after import changes
from empg_gym.report.breakdown import break_down
from empg_gym.report.outcomes import read_outcomes
from empg_gym.report.overview import RunReport
from empg_gym.report.page import overview_html
from empg_gym.report.phases import phase_of
from empg_gym.report.run_reader import RunReader
from empg_gym.scoring.intervals import difference_interval, wilson
from tests.report.samples import GROUP, KINDS, training_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    reader = RunReader(training_run(tmp_path_factory.mktemp("runs") / "training"))
    reader.refresh()
    return reader


def test_every_task_type_is_compared_before_and_after_on_all_held_out_tasks(run):
    rows = changes(run.summary, run.outcomes)
    assert [(row.name, row.level) for row in rows] == [
        (name, level) for split in ("valid_unseen", "valid_seen") for name, level in [(split, 0), *((kind, 1) for kind in sorted(KINDS))]
    ]
    low, high = wilson(0.5, 32)
    assert rows[1].before == f"50.0 % ({100 * low:.1f} % to {100 * high:.1f} %)" and rows[1].tasks == "32"
    low, high = difference_interval([1.0] * 32 + [0.0] * 64)
    assert rows[0].change == f"+33.3 ({100 * low:+.1f} to {100 * high:+.1f})", "paired by task"
    unpaired = changes(run.summary, [])
    assert unpaired[0].change == "+30.2" and unpaired[1].change == "+0.0"


def test_a_change_of_one_evaluation_is_not_paired(run):
    assert changes(run.summary, run.outcomes[:2])[0].change == "+30.2"


def test_phases_of_a_run_are_told_apart():
    at = lambda kind, step: phase_of({"phase": "rl", "step": step, "kind": kind}, 60)  # noqa: E731
    assert [at("evaluation", step) for step in (0, 10, 60)] == ["evaluation before", "evaluation during", "evaluation after"]
    assert at("training", 60) == "training" and phase_of({}, 60) == ""
    assert phase_of({"phase": "rl", "step": 60, "kind": "evaluation"}, None) == "evaluation during"


def test_samples_are_labelled_and_pooled_over_no_phase(run):
    groups = break_down(run.episodes.rows, run.episodes.records, training=True)
    assert {group.level for group in groups} == {0}
    names = [group.name.split(" · ")[0] for group in groups]
    assert sorted(set(names), key=names.index) == ["evaluation before", "training", "evaluation during"]
    assert groups[0].updates == (0, 0) and groups[-1].updates == (10, 20)
    page = overview_html(RunReport(run))
    assert "Sampled episodes" in page and "24 sampled episodes recorded" in page and "Recorded episodes" not in page
    assert f"{groups[0].headline.successes} of {groups[0].headline.scored}" in page


def test_notices_of_samples_name_their_phase(run):
    shown = RunReport(run).values()["notices"]
    names = ("evaluation before: ", "training: ", "evaluation during: ")
    assert shown and all(notice.startswith(names) for notice in shown)


def test_a_run_with_samples_of_one_phase_names_it(run):
    first = [row for row in run.episodes.rows if row["phase"] == "evaluation before"]
    groups = break_down(first, run.episodes.records[: len(first)], training=True)
    assert {group.name.split(" · ")[0] for group in groups} == {"evaluation before"}


def test_groups_reach_the_page_with_their_rewards_and_advantages(run):
    index = run.episodes.index()
    phases = [index["phase"]["labels"][code] for code in index["phase"]["codes"]]
    members = [i for i, phase in enumerate(phases) if phase == "training"]
    assert len(members) == 12 and all(index["group"][i] == 0 for i in members)
    assert all(group is None for i, group in enumerate(index["group"]) if i not in members)
    assert [index["update"][i] for i in members] == [1] * GROUP + [11] * GROUP + [21] * GROUP
    for i in members:
        assert index["trained"][i] == index["score"][i] and None not in (index["advantage"][i], index["modulated"][i])


def test_outcomes_of_a_resumed_run_count_once_and_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "outcomes.jsonl"
    line = {"phase": "rl", "step": 5, "split": "s", "tasks": ["a", "b"], "success": [0, 1], "score": [0, 1]}
    path.write_text("".join(json.dumps({**line, "success": success}) + "\n" for success in ([0, 0], [1, 1])) + '{"cut')
    [one] = read_outcomes(path)
    assert {task: outcome.success for task, outcome in one.tasks.items()} == {"a": 1.0, "b": 1.0}
    assert one.tasks["a"].task_type == "", "earlier versions did not record it"
    path.write_text('{"step": 1}\n')
    with pytest.raises(DataError, match=r"outcomes\.jsonl, line 1"):
        read_outcomes(path)
