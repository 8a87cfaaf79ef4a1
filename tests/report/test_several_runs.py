"""Several runs: configurations and their bands, paired differences of training runs, and the list of all runs."""

from __future__ import annotations

import json
import os
import re
from itertools import pairwise

import pytest

from empg_gym.cli.view import view
from empg_gym.errors import ConfigError, DataError
from empg_gym.report import write_comparison, write_index
from empg_gym.report.configurations import configurations
from empg_gym.report.index_page import find_runs
from empg_gym.report.overlay import overlay
from empg_gym.report.run_reader import RunReader
from empg_gym.report.training_comparison import compare_training
from empg_gym.scoring.intervals import difference_interval, mean_interval, wilson
from tests.report.samples import HOSTILE, evaluation_run
from tests.report.several import edit, training_family


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    return training_family(tmp_path_factory.mktemp("family"), {"grpo": (0, 1, 2), "empg": (0, 1)})


def read(folders):
    runs = [RunReader(folder, name=folder.name) for folder in folders]
    for run in runs:
        run.read_numbers()
    return runs


def cell(comparison, metric, name):
    [found] = [one for one in comparison.cells if one.metric == metric and one.configuration == name]
    return found


def test_runs_that_differ_only_in_the_seed_are_one_configuration(family):
    found = configurations(read(family))
    assert [(each.name, sorted(each.runs)) for each in found] == [("grpo", [0, 1, 2]), ("empg", [0, 1])]
    assert found[0].settings == {"algorithm.advantage": "grpo"}
    assert [each.name for each in configurations(read([family[0], family[3]]))] == ["grpo-0", "empg-0"]


def test_runs_from_the_warm_starts_of_their_seeds_are_one_configuration(tmp_path):
    runs = training_family(tmp_path, {"grpo": (0, 1)})
    for seed, run in enumerate(runs):
        edit(run, model={"name": f"/runs/warm/{seed}/checkpoints/rl-000000"}, run={"seed": seed, "device": f"cuda:{seed}"})
    [one] = configurations(read(runs))
    assert list(one.runs) == [0, 1]
    edit(runs[1], model={"name": "/runs/warm/1/checkpoints/rl-000050"})
    assert len(configurations(read(runs))) == 2


def test_the_same_configuration_and_seed_twice_is_refused(tmp_path):
    runs = training_family(tmp_path, {"grpo": (0, 1)})
    edit(runs[1], run={"seed": 0, "out": "elsewhere"})
    with pytest.raises(ConfigError, match=r"grpo-0 and grpo-1 have the same configuration and seed 0"):
        configurations(read(runs))


def test_a_line_is_the_mean_over_seeds_and_its_band_their_range(family):
    [chart] = [chart for chart in overlay(configurations(read(family))) if chart["title"] == "Success, training tasks"]
    grpo, empg = chart["series"]
    assert grpo["x"] == list(range(0, 61, 10)) and [line["name"] for line in chart["series"]] == ["grpo", "empg"]
    assert grpo["y"][1] == pytest.approx(1 / 6 + 0.1, abs=1e-4) and empg["y"][1] == pytest.approx(1 / 6 + 0.05, abs=1e-4)
    assert [(band["line"], band["low"][1], band["high"][1]) for band in chart["bands"]] == [
        (0, pytest.approx(1 / 6, abs=1e-4), pytest.approx(1 / 6 + 0.2, abs=1e-4)),
        (1, pytest.approx(1 / 6, abs=1e-4), pytest.approx(1 / 6 + 0.1, abs=1e-4)),
    ]
    single = overlay(configurations(read(family[:1])))
    assert all(chart["bands"] == [] for chart in single), "one seed has no band"


def test_one_run_each_is_paired_by_task(family):
    comparison = compare_training([family[0], family[3]])
    final = cell(comparison, "after training, valid_seen", "empg-0")
    assert final.value == pytest.approx(2 / 3) and final.interval == pytest.approx(wilson(2 / 3, 96))
    assert (final.difference, final.pairs, final.unit) == (pytest.approx(1 / 3), 96, "task")
    assert final.difference_interval == pytest.approx(difference_interval([1.0] * 32 + [0.0] * 64))
    area = cell(comparison, "area under the curve, valid_seen", "empg-0")
    assert area.value == pytest.approx(1 / 2) and area.difference == pytest.approx(1 / 6), "from a third, to two thirds and to a third"
    assert area.difference_interval == pytest.approx(difference_interval([0.5] * 32 + [0.0] * 64))
    training = cell(comparison, "area under the curve, training tasks", "empg-0")
    assert training.difference == pytest.approx(0) and training.difference_interval is None, "training tasks can't be paired"
    assert comparison.warnings == ()


def test_several_seeds_are_paired_by_seed(family):
    comparison = compare_training(family)
    final = cell(comparison, "after training, valid_seen", "empg, 2 seeds")
    assert (final.seeds, final.pairs, final.unit) == ((0, 1), 2, "seed")
    assert final.difference == pytest.approx(1 / 3)
    training = cell(comparison, "area under the curve, training tasks", "grpo, 3 seeds")
    assert training.difference is None and training.interval == pytest.approx(
        mean_interval([[one] for one in (area_of(run) for run in family[:3])], unit=True)
    )
    assert json.loads(json.dumps(comparison.to_dict()))["cells"][0]["seeds"] == [0, 1, 2]


def area_of(folder):
    values = [json.loads(line)["train/success"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return sum((left + right) / 2 for left, right in pairwise(values)) / (len(values) - 1)


def test_unequal_conditions_are_reported(tmp_path):
    runs = training_family(tmp_path, {"grpo": (0,), "empg": (1,)})
    edit(runs[1], eval={"tasks": 5})
    summary = json.loads((runs[1] / "summary.json").read_text())
    (runs[1] / "summary.json").write_text(json.dumps(summary | {"complete": False}))
    comparison = compare_training(runs)
    assert [re.sub(r"\(.*", "", warning) for warning in comparison.warnings] == [
        "empg-1 has not finished: numbers after training leave it out",
        "empg-1 and grpo-0 have different seeds",
        "empg-1 and grpo-0 differ in eval.tasks: tasks may not be the same",
    ]


def test_runs_of_both_kinds_and_one_run_alone_are_refused(family, tmp_path):
    with pytest.raises(ConfigError, match="runs of one kind"):
        write_comparison([family[0], evaluation_run(tmp_path / "eval", 2)], tmp_path / "out.html")
    with pytest.raises(ConfigError, match="at least two"):
        compare_training(family[:1])
    with pytest.raises(ConfigError, match="one run"):
        view(family[:2], follow=True)
    assert not (tmp_path / "out.html").exists()


def test_the_list_has_every_run_and_links_to_its_report(tmp_path):
    training_family(tmp_path / "study" / "deep", {"grpo": (0,)})
    evaluation_run(tmp_path / "eval #1", 2)
    damaged = evaluation_run(tmp_path / HOSTILE.replace("/", "_")[:60], 1)
    (damaged / "summary.json").write_text("{")
    (tmp_path / "other").mkdir()
    checkpoint = tmp_path / "eval #1" / "checkpoints"
    checkpoint.mkdir()
    (checkpoint / "summary.json").write_text("{}")
    assert {run.name for run in find_runs(tmp_path)} == {"grpo-0", "eval #1", damaged.name}
    page = write_index(tmp_path).read_text(encoding="utf-8")
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr><th scope=\"row\">.*?</tr>", page)]
    cells = {re.sub("<.*?>", "", row[0]): row[1:-1] for row in rows}
    assert cells["study/deep/grpo-0"] == ["Training", "ALFWorld", "grpo", "valid_unseen 65.1 %, valid_seen 65.1 %"]
    assert cells["eval #1"] == ["Evaluation", "ALFWorld", "openai", "61.0 %"]
    assert any(row[1] == "Damaged" for row in rows) and "<img" not in page and "window.hacked = 1</script>" not in page
    assert 'href="eval%20%231/report.html"' in page and (tmp_path / "eval #1" / "report.html").is_file()
    assert not (damaged / "report.html").exists()
    assert re.findall(r'(?:src|href)="(?!data:,|#)([^"]+)"', page) == sorted(
        ["study/deep/grpo-0/report.html", "eval%20%231/report.html"], key=page.index
    )


def test_reports_are_written_again_only_after_the_run_changed(tmp_path):
    run = evaluation_run(tmp_path / "eval", 2)
    write_index(tmp_path)
    (run / "report.html").write_text("read")
    write_index(tmp_path)
    assert (run / "report.html").read_text() == "read"
    os.utime(run / "summary.json", (2e9, 2e9))
    write_index(tmp_path)
    assert (run / "report.html").read_text() != "read"


def test_a_folder_without_runs_is_a_one_sentence_error(tmp_path):
    with pytest.raises(DataError, match="no run below"):
        write_index(tmp_path)


def test_a_run_in_progress_has_no_result_after_training(tmp_path):
    runs = training_family(tmp_path, {"grpo": (0,), "empg": (0,)})
    (runs[1] / "summary.json").unlink()
    comparison = compare_training(runs)
    assert [one.configuration for one in comparison.cells if one.metric.startswith("after")] == ["grpo-0", "grpo-0"]


def test_a_configuration_has_its_colour_in_every_chart(family):
    runs = read([family[0], family[3]])
    del runs[0].metrics[:]
    assert {line["tone"] for chart in overlay(configurations(runs)) for line in chart["series"]} == {1}
