"""Studies: paired by construction, resumable, and summed up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from empg_gym.errors import ConfigError, DataError, OutputExistsError
from empg_gym.study.config import load_study
from empg_gym.study.execute import Executor
from empg_gym.study.page import page
from empg_gym.study.plan import make_plan
from empg_gym.study.results import EnvironmentResult, Estimate, MethodResult, StudyResult, study_result
from empg_gym.trainers.config.file import load_config, redacted_config

CORRIDOR = """
[run]
checkpoint_every = 2
device = "cpu"
[env]
id = "tests.trainers.corridor:EMPGTest/Corridor-v0"
dialogue = "plain"
system_prompt = ""
[model.from_scratch]
layers = 1
width = 32
heads = 2
init_std = 0.2
[rollout]
max_response_tokens = 6
max_row_tokens = 128
[warmstart]
steps = 6
episodes = 64
episodes_per_step = 16
optimizer = { lr = 1e-2 }
[rl]
steps = 6
tasks_per_step = 4
repeats = 4
optimizer = { lr = 1e-3 }
[eval]
splits = ["test"]
tasks = 8
every = 3
temperature = 1.0
"""
STUDY = """
[study]
seeds = {seeds}
{study}
[environments.corridor]
config = ["corridor.toml"]
[methods.grpo]
set = ['algorithm.advantage="grpo"']
[methods.empg]
set = ['algorithm.advantage="empg"']
{methods}
"""


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a study and returns its file."""

    def write(seeds=2, study="", methods=""):
        (tmp_path / "corridor.toml").write_text(CORRIDOR)
        path = tmp_path / "colours.toml"
        path.write_text(STUDY.format(seeds=seeds, study=study, methods=methods))
        return path

    return write


def plan_of(path):
    return make_plan(load_study(path), path, path.parent / "out")


def execute(plan):
    lines = []
    failures = Executor(plan, 2, report=lines.append, finished=lambda: None).run()
    return failures, lines


def command(path):
    main = "from empg_gym.cli import main; main()"
    return [sys.executable, "-c", main, "study", str(path), "--out", str(path.parent / "out")]


def files_of(folder):
    return {name: (folder / name).read_text() for name in ("outcomes.jsonl", "trajectories.jsonl")}


def test_a_plan_shares_seed_warm_start_tasks_and_evaluation(write):
    plan = plan_of(write())
    assert [run.name for run in plan.runs] == [f"corridor/{method}/{seed}" for seed in (0, 1) for method in ("warm", "grpo", "empg")]
    warm, grpo, empg = plan.runs[:3]
    assert warm.config.rl.steps == 0 and warm.config.warmstart.steps == 6 and not warm.config.eval.splits
    assert grpo.after == empg.after == warm.folder and grpo.config.model.name == str(warm.folder / "checkpoints" / "rl-000000")
    same = {
        name: getattr(grpo.config, name) == getattr(empg.config, name) for name in ("env", "model", "rl", "eval", "rollout", "algorithm")
    }
    assert same == {**dict.fromkeys(same, True), "algorithm": False}
    assert (grpo.config.run.seed, grpo.config.run.threads) == (0, 1)


@pytest.mark.parametrize(
    "override",
    [
        *("eval.tasks=4", "rl.tasks_per_step=8", "env.max_steps=2", "rl.steps=7", "run.seed=5"),
        *('algorithm.task_source="weighted"', 'run.dtype="bfloat16"'),
    ],
)
def test_a_method_can_not_leave_the_pairing(write, override):
    path = write(methods=f"[methods.other]\nset = ['{override}']")
    if override.startswith("run.seed"):
        assert plan_of(path).of("corridor", "other")[1].config.run.seed == 1
        return
    with pytest.raises(ConfigError, match=r"the method 'other' changes (eval|env|(rl|run|algorithm)\.\w+), so its runs would not"):
        plan_of(path)


@pytest.mark.parametrize(
    ("study", "methods", "message"),
    [
        ("sead = 1", "", "unknown key 'study.sead' in the study"),
        ("", '[methods.x]\nsett = ["rl.steps=1"]', "unknown key 'methods.x.sett' in the study; did you mean 'set'"),
        ("", "[methods.warm]", "can't be named 'warm'"),
        ("", '[methods."a/b"]', "can't be the name of a folder"),
        ("", '[methods.x]\nconfig = ["nowhere"]', "neither a file nor a preset"),
        ('panel = "nowhere"', "", ""),
    ],
)
def test_a_mistake_is_one_sentence(write, study, methods, message):
    path = write(study=study, methods=methods)
    if not message:  # panels are looked up by the runs
        assert plan_of(path).runs[1].config.eval.panel == ("nowhere",)
        return
    with pytest.raises(ConfigError, match=message):
        plan_of(path)


@pytest.mark.slow
def test_a_killed_study_resumes_and_ends_as_an_uninterrupted_one(write):
    path = write(seeds=1)
    whole = make_plan(load_study(path), path, path.parent / "whole")
    assert execute(whole)[0] == []
    command = [
        sys.executable,
        "-c",
        "from empg_gym.cli import main; main()",
        "study",
        str(path),
        "--out",
        str(path.parent / "out"),
        "-j",
        "1",
    ]
    killed = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    plan = plan_of(path)
    while not (plan.runs[1].folder / "checkpoints" / "latest").is_file():
        assert killed.poll() is None
        time.sleep(0.05)
    killed.send_signal(signal.SIGTERM)
    assert killed.wait(60) == 143
    begun = [run for run in plan.runs if run.is_begun and not run.is_finished]
    assert not plan.runs[-1].is_begun
    failures, lines = execute(plan)
    assert failures == [] and (not begun or f"resuming {begun[0].name}" in lines) and f"running {plan.runs[-1].name}" in lines
    for ours, theirs in zip(plan.runs, whole.runs, strict=True):
        assert ours.method is None or files_of(ours.folder)["outcomes.jsonl"] == files_of(theirs.folder)["outcomes.jsonl"]
    one, other = (study_result(item).environments[0] for item in (plan, whole))
    assert [method.after for method in one.methods] == [method.after for method in other.methods]
    assert one.start_weights == other.start_weights and all(one.start_weights.values())

    result = study_result(plan)
    grpo, empg = result.environments[0].methods
    assert (result.reference, result.planned, result.finished) == ("grpo", 2, 2)
    assert grpo.before == empg.before and grpo.difference == {} and grpo.seeds == empg.seeds == [0]
    assert empg.difference["test"].mean == pytest.approx(empg.after["test"].mean - grpo.after["test"].mean)
    assert [point[0] for point in empg.curves["train/success"]] == [1, 2, 3, 4, 5, 6]
    assert [point[0] for point in empg.curves["eval/test/success"]] == [0, 3, 6]
    assert "http" not in page(result).replace("http-equiv", "")
    assert execute(plan)[1] == []

    altered = write(study="set = ['rl.repeats=2']")
    with pytest.raises(OutputExistsError, match=r"rl\.repeats"):
        execute(plan_of(altered))


@pytest.mark.slow
def test_a_failing_method_is_reported_and_the_others_finish(write):
    plan = plan_of(write(seeds=1, methods="[methods.broken]\nset = ['algorithm.advantage=\"tests.trainers.corridor:missing\"']"))
    failures, _ = execute(plan)
    assert [failure.run.method for failure in failures] == ["broken"] and "missing" in failures[0].reason
    assert [run.is_finished for run in plan.runs] == [True, True, True, False]
    result = study_result(plan)
    assert [method.seeds for method in result.environments[0].methods] == [[0], [0], []]
    assert result.environments[0].methods[1].difference["test"].interval is not None
    assert "2 of 3 runs are finished" in page(result)


def test_a_dry_run_prints_the_commands(write):
    path = write(seeds=[7])
    printed = subprocess.run([*command(path), "--dry-run"], capture_output=True, text=True, check=True).stdout
    assert "# 3 runs in" in printed and "# corridor/empg/7: to run" in printed and "--set run.seed=7" in printed
    assert not (path.parent / "out").exists()


def test_numbers_over_seeds():
    from empg_gym.study.results import Finished, _method

    def run(curve, solved):
        lines = [{"step": step, "train/success": value, "loss/kl_old": value / 100} for step, value in enumerate(curve, 1)]
        after = [{"split": "test", "success": sum(solved) / len(solved), "tasks": len(solved)}]
        outcomes = {"test": {str(task): float(value) for task, value in enumerate(solved)}}
        return Finished({"before": after, "after": after, "cpu_seconds": 10.0}, lines, outcomes)

    reference = {0: run([0.2] * 10, [1, 0, 0, 0]), 1: run([0.4] * 10, [1, 1, 0, 0])}
    ours = {0: run([0.0, 0.9, 0.9, 0.9, 0.9, 0.9, 0.1], [1, 1, 0, 0]), 1: run([0.6] * 5, [1, 1, 1, 0])}
    result = _method("ours", ours, reference, 0.8)
    assert result.difference["test"].mean == pytest.approx(0.25) and result.difference["test"].values == {0: 0.25, 1: 0.25}
    assert result.steps_to_threshold == {0: 6, 1: None}
    assert result.area.values == pytest.approx({0: 4.6 / 7, 1: 0.6}) and result.area_difference.values[1] == pytest.approx(0.2)
    assert result.late_drop.values == pytest.approx({0: 0.16, 1: 0.0}) and result.kl_max.values[0] == pytest.approx(0.009)
    single = _method("ours", {0: ours[0]}, reference, 0.8).difference["test"]
    assert single.interval is not None and single.interval[0] < 0.25 < single.interval[1]
    assert (single.unit, result.difference["test"].unit) == ("tasks", "seeds")
    assert result.after["test"].interval == (0.0, 1.0)  # Student's interval of 0.5 and 0.75 is wider
    untrained = _method("untrained", {0: run([], [1, 1, 0, 0])}, reference, 0.8)
    assert untrained.area is None and untrained.area_difference is None and untrained.after["test"].mean == 0.5


def finish(plan, weights="w", solved=(1, 0)):
    """Write the folders of finished runs of three steps."""
    for run in plan.runs:
        run.folder.mkdir(parents=True)
        entry = {"split": "test", "success": sum(solved) / len(solved), "tasks": len(solved)}
        evaluated = [entry] if run.config.eval.splits else []
        summary = {"complete": True, "before": evaluated, "after": evaluated, "start_weights": weights}
        line = {"phase": "rl", "train/success": 0.5}
        tasks = [str(task) for task in range(len(solved))]
        (run.folder / "config.json").write_text(json.dumps(redacted_config(run.config)))
        (run.folder / "summary.json").write_text(json.dumps(summary))
        (run.folder / "metrics.jsonl").write_text("".join(json.dumps(line | {"step": step}) + "\n" for step in range(1, 4)))
        (run.folder / "outcomes.jsonl").write_text(json.dumps({"split": "test", "tasks": tasks, "success": solved}) + "\n")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.jsonl", '{"phase": "rl", "st', "is damaged"),
        ("metrics.jsonl", None, "is damaged"),
        ("outcomes.jsonl", None, "is damaged"),
        ("outcomes.jsonl", "", "lacks the tasks of test"),
        ("summary.json", "{", "not JSON"),
        ("config.json", "[]", "expected a JSON object"),
    ],
)
def test_a_damaged_run_is_named(write, name, content, message):
    plan = plan_of(write())
    finish(plan)
    assert study_result(plan).finished == 4
    file = plan.runs[1].folder / name
    file.write_text(content) if content is not None else file.unlink()
    with pytest.raises(DataError, match=message) as caught:
        study_result(plan)
    assert str(plan.runs[1].folder) in str(caught.value)


def test_runs_of_another_configuration_are_not_published(write):
    finish(plan_of(write()))
    path = write(study="set = ['rl.optimizer.lr=1e-4']")
    shown = subprocess.run([*command(path), "--page"], capture_output=True, text=True, check=False)
    assert shown.returncode == 2 and "holds a run with another configuration: rl.optimizer.lr was" in " ".join(shown.stderr.split())
    assert not (path.parent / "out" / "study.json").exists()


def test_methods_that_began_with_different_weights_are_refused(write):
    plan = plan_of(write())
    finish(plan)
    summary = plan.runs[2].folder / "summary.json"
    summary.write_text(summary.read_text().replace('"w"', '"other"'))
    with pytest.raises(DataError, match="corridor/empg/0 began with the weights other, other methods of this seed with w"):
        study_result(plan)


def test_a_study_without_evaluations_has_curves(write):
    plan = plan_of(write(study="set = ['eval.splits=[]']"))
    finish(plan)
    text = page(study_result(plan))
    assert "No run is finished yet" not in text and "success in training" in text


def test_a_secret_does_not_keep_a_study_from_resuming(write):
    plan = plan_of(write(study="set = ['env.options.api_key=\"sk-abcdefghijklmnop\"']"))
    finish(plan)
    assert "sk-abc" not in (plan.runs[0].folder / "config.json").read_text()
    assert study_result(plan).finished == 4


def test_a_method_whose_files_are_overridden_is_refused(write):
    path = write(study="set = ['rl.optimizer.lr=1e-3']", methods='[methods.slow]\nconfig = ["slow.toml"]')
    (path.parent / "slow.toml").write_text("[rl]\noptimizer = { lr = 5e-5 }\n")
    with pytest.raises(ConfigError, match=r"the files of the method 'slow' change rl\.optimizer\.lr, but 'rl\.optimizer\.lr=1e-3'"):
        plan_of(path)
    own = write(study="set = ['rl.optimizer.lr=1e-3']", methods='[methods.slow]\nconfig = ["slow.toml"]\nset = ["rl.optimizer.lr=5e-5"]')
    assert plan_of(own).of("corridor", "slow")[0].config.rl.optimizer.lr == 5e-5


def test_the_command_reports_mistakes_and_keeps_its_own_copy(write):
    path = write(seeds=1)
    finish(plan_of(path))
    out = path.parent / "out"

    def run(*arguments):
        return subprocess.run([*command(path)[:4], *map(str, arguments)], capture_output=True, text=True, check=False)

    assert run(path, "--out", out).returncode == 0
    (out / "corridor.toml").write_text(CORRIDOR)
    again = run(out / "study.toml", "--out", out)
    assert again.returncode == 0 and (out / "study.html").is_file(), again.stderr
    for arguments in ((path, "--out", path), (path, "--out", path, "--page")):
        refused = run(*arguments)
        assert refused.returncode == 2 and "is a file" in refused.stderr and "Traceback" not in refused.stderr


def test_a_reason_is_of_the_last_attempt(write):
    plan = plan_of(write(seeds=1, study="set = ['warmstart.steps=0', 'model.name=\"nowhere/at/all\"', 'model.from_scratch=none']"))
    log = plan.folder / "logs" / f"{plan.runs[0].name}.log"
    log.parent.mkdir(parents=True)
    log.write_text("error: long repaired\n")
    failures, _ = execute(plan)
    assert len(failures) == 2 and all("nowhere" in failure.reason for failure in failures)
    assert log.read_text().startswith("error: long repaired\n")


def test_the_page_draws_many_methods_and_escapes_their_names():
    points = [[1, 0.1, 0.0, 0.2], [2, 0.5, 0.4, 0.6]]
    estimate = Estimate(0.5, (0.4, 0.6), {0: 0.45, 1: 0.55})
    methods = [
        MethodResult(
            method=f"<m{number}>",
            seeds=[0, 1],
            before={"test": estimate},
            after={"test": estimate},
            difference={"test": estimate} if number else {},
            area=estimate,
            curves={"train/success": points, "eval/test/success": [[0, 0.5, 0.5, 0.5]]},
        )
        for number in range(14)
    ]
    environment = EnvironmentResult(
        environment="world", splits=["test"], panels={}, tasks={"test": 9}, start_weights={0: "ab"}, methods=methods
    )
    text = page(StudyResult(title="t", reference="<m0>", threshold=0.8, planned=28, finished=28, environments=[environment]))
    assert "<m1>" not in text and "&lt;m13&gt;" in text and text.count("<svg") == 14 + 3
    assert json.loads(json.dumps(environment.methods[0].after["test"].values)) == {"0": 0.45, "1": 0.55}


EXAMPLES = Path(__file__).parents[2] / "examples" / "studies"


def test_the_study_of_all_methods_is_paired():
    plan = make_plan(load_study(EXAMPLES / "methods.toml"), EXAMPLES / "methods.toml")
    assert len(plan.runs) == 8 * 2 * 13 and {run.config.run.threads for run in plan.runs} == {1}
    advantages = {run.method: run.config.algorithm.advantage for run in plan.runs if run.environment == "webshop"}
    assert advantages["dapo"] == "grpo" and advantages["scaling-only"] == "empg" and advantages["g2po"] == "g2po"


def test_the_study_of_stability_begins_as_the_demo_does():
    plan = make_plan(load_study(EXAMPLES / "stability.toml"), EXAMPLES / "stability.toml")
    demo = load_config("alfworld-tiny")
    assert len(plan.runs) == 8 * 2 * 3
    assert all((run.config.env, run.config.warmstart) == (demo.env, demo.warmstart) for run in plan.runs if run.method is None)
