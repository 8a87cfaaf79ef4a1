"""Task panels: equal episodes everywhere, and nothing else under their name."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from empg_gym.chat_settings import ChatSettings
from empg_gym.errors import ConfigError, DataError
from empg_gym.evaluation import compare, evaluate
from empg_gym.rollout.panels import choose_panel_tasks, find_panel, panels
from empg_gym.trainers.collect.environments import evaluation_environments
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import read_trajectories
from tests.toy import TOY_ID
from tests.trainers.corridor import corridor_config

GENERATED = [name for name, panel in panels().items() if panel.data is None]


@pytest.fixture
def own(tmp_path):
    """Return a function that writes a file of panels of the toy and returns the name of one."""

    def write(env=TOY_ID, **entry):
        fields = {"title": "doors", "env": env, "split": "test", "tasks": 12, "seed": 5, **entry}
        lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items() if not isinstance(value, dict)]
        lines += [f"args.{name} = {json.dumps(value)}" for name, value in fields.get("args", {}).items()]
        path = tmp_path / "panels.toml"
        path.write_text("[doors]\n" + "\n".join(lines) + "\n")
        return f"{path}:doors"

    return write


def fingerprint_of(name, **args):
    panel = find_panel(name)
    return choose_panel_tasks(panel, panel.recipe(args, ChatSettings())).fingerprint


def episodes(folder):
    found = [(item.task, item.seed, item.repeat, [step.response for step in item.steps]) for item in read_trajectories(folder)]
    return sorted(found)


@pytest.mark.parametrize("name", GENERATED)
def test_this_release_generates_the_tasks_of_its_panels(name):
    panel = find_panel(name)
    tasks = choose_panel_tasks(panel, panel.recipe({}, ChatSettings()))
    assert tasks.fingerprint == panel.fingerprint and len(set(tasks.tasks)) == panel.tasks


def test_workers_and_order_do_not_change_the_episodes(own, tmp_path):
    name = own()
    for out, options in (
        ("one", {"concurrency": 1}),
        ("many", {"concurrency": 7}),
        ("processes", {"concurrency": 2, "backend": "processes"}),
    ):
        summary = evaluate(panel=name, agent="random", seed=5, out=tmp_path / out, **options)
        assert summary.results[TOY_ID]["panel"] == {"name": "doors", "fingerprint": fingerprint_of(name)}
    runs = [episodes(tmp_path / out / "trajectories.jsonl") for out in ("one", "many", "processes")]
    assert runs[0] == runs[1] == runs[2] and len(runs[0]) == 12


def test_the_fingerprint_is_of_the_tasks_not_of_their_presentation(own):
    name = own()
    before = fingerprint_of(name)
    assert fingerprint_of(name, max_steps=3) == before
    assert (
        fingerprint_of(own(seed=6)) != before and fingerprint_of(own(split="train")) != before and fingerprint_of(own(tasks=11)) != before
    )


def test_the_presentation_of_alfworld_is_free_and_its_size_is_not():
    name = "alfworld-small-seen-1000"
    assert fingerprint_of(name, wording="old", strip_intro=True, expert="search") == find_panel(name).fingerprint
    with pytest.raises(ConfigError, match="fixes size='small', not 'full'"):
        fingerprint_of(name, size="full")


def test_other_tasks_are_refused(own):
    with pytest.raises(DataError, match=r"not those of the panel doors: fingerprint [0-9a-f]{16}, expected 0123456789abcdef"):
        fingerprint_of(own(fingerprint="0123456789abcdef"))
    with pytest.raises(DataError, match="drawn from 40 tasks, but split 'test' of Doors has 50"):
        fingerprint_of(own(split_tasks=40))
    with pytest.raises(DataError, match="alfworld-small-unseen-1000"):
        fingerprint_of("alfworld-small-unseen-1000", task_types=[1])


def test_absent_data_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"alfworld-unseen-134 needs data that is not installed; run `empg-gym data get alfworld-2.1.1`"):
        evaluate(panel="alfworld-unseen-134", agent="expert")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": "alfworld"}, "leave out envs"),
        ({"episodes": 3}, "leave out episodes"),
        ({"tasks": [1]}, "leave out tasks"),
        ({"split": "train"}, "leave out split"),
        ({"seed": 1}, "fixes seed=0"),
        ({"panel": "alfworld-unsen-134"}, "alfworld-unseen-134"),
        ({"panel": "nowhere.toml:doors"}, "can't read the panels in 'nowhere.toml'"),
    ],
)
def test_what_a_panel_decides_can_not_be_given(options, message):
    with pytest.raises(ConfigError, match=message):
        evaluate(**{"panel": "alfworld-small-seen-1000", "agent": "expert", **options})


def test_compare_refuses_different_panels(own, tmp_path):
    first = evaluate(panel=own(), agent="random", seed=5, out=tmp_path / "first")
    evaluate(panel=own(), agent="expert", seed=5, out=tmp_path / "second")
    evaluate(panel=own(seed=6), agent="expert", seed=6, out=tmp_path / "other")
    tasks = [record.task for record in first.records]
    evaluate(f"{TOY_ID}@test", agent="expert", seed=5, tasks=tasks, out=tmp_path / "none")
    assert compare([tmp_path / "first", tmp_path / "second"]).warnings == ()
    with pytest.raises(ConfigError, match=r"different task panels and can't be paired: first has doors \[[0-9a-f]{16}\], other has doors"):
        compare([tmp_path / "first", tmp_path / "other"])
    assert "only one of none and first is of a task panel" in compare([tmp_path / "first", tmp_path / "none"]).warnings[0]


def test_a_training_run_evaluates_on_a_panel(own, tmp_path):
    name = own(env="EMPGTest/Corridor-v0", tasks=6)
    config = corridor_config(str(tmp_path / "run"), eval={"splits": [], "panel": name, "curve_tasks": 3})
    Trainer(config, ProgressView(Console(file=io.StringIO()))).run()
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    for [result] in (summary["before"], summary["after"]):
        assert result["panel"] == {"name": "doors", "fingerprint": fingerprint_of(name)}
        assert (result["split"], result["tasks"]) == ("test", 6)
    again = evaluate(panel=name, agent=f"checkpoint:{tmp_path / 'run'}", seed=5, agent_options={"device": "cpu"}, out=tmp_path / "eval")
    assert again.results["EMPGTest/Corridor-v0"]["success_rate"] == result["success"]


def test_a_training_run_refuses_a_panel_of_another_environment():
    config = corridor_config("unused", eval={"splits": [], "panel": "alfworld-small-seen-1000"})
    with pytest.raises(ConfigError, match=r"is of EMPG/ALFWorld-v0, not of EMPGTest/Corridor-v0"):
        evaluation_environments(config)
