"""The examples run as printed, from the repository root; arguments only make them smaller."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from gymnasium.utils.env_checker import check_env

from empg_gym.trainers.run.probe import PROBE_BATCH
from examples import own_environment
from examples.own_method import discounted
from tests.agents.server import ChatServer, serving

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
TINY = tuple(
    part
    for key in ("warmstart.steps=2", "warmstart.episodes=8", "rl.steps=1", "rl.tasks_per_step=2", "rl.repeats=2")
    for part in ("--set", key)
)


def run(name: str, *arguments: str) -> str:
    """Run an example and return what it printed."""
    command = [sys.executable, f"examples/{name}.py", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_listed(path):
    assert len(path.read_text().splitlines()) <= 60
    assert f"`python examples/{path.name}`" in (ROOT / "examples" / "README.md").read_text()
    assert f"def test_{path.stem}(" in Path(__file__).read_text(), "every example has a test below"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "smaller"), [("own_agent", "--set env.max_steps=2 --out {out}"), ("own_method", "--dry-run")])
def test_the_command_in_a_docstring(name, smaller, tmp_path):
    (printed,) = re.findall(r"^    empg-gym (.+)$", (ROOT / "examples" / f"{name}.py").read_text(), re.MULTILINE)
    words = shlex.split(f"{printed} {smaller.format(out=tmp_path / 'run')}")
    command = [sys.executable, "-c", "from empg_gym.cli import main; main()", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_own_agent():
    printed = run("own_agent", "--episodes", "20", "--max-steps", "40")
    rates = {name: float(rate) for name, rate in re.findall(r"^(\w+): success (\S+) on 20 episodes, 0 errors$", printed, re.MULTILINE)}
    assert rates["explorer"] > rates["random"]


@pytest.mark.slow
def test_own_method(tmp_path):
    printed = run("own_method", "--gamma", "0.5", "--set", f"run.out={tmp_path / 'run'}", *TINY)
    weight = re.search(r"step 1: success in training \S+, weight (\S+)", printed)
    assert weight is not None and 0 < float(weight[1]) <= 1
    assert json.loads((tmp_path / "run" / "config.json").read_text())["algorithm"]["advantage_options"] == {"gamma": 0.5}


def test_the_method_discounts_early_steps():
    advantages = discounted(PROBE_BATCH, gamma=0.5)
    assert advantages.base.tolist() == [0.5, 0.5, -0.5]
    assert advantages.values.tolist() == [0.25, 0.5, -0.5]


@pytest.mark.slow
def test_own_environment(tmp_path):
    run("own_environment", "--set", f"run.out={tmp_path / 'run'}", "--set", "rl.steps=2", "--set", "rl.tasks_per_step=4")
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["after"][0]["score"] >= 0.5, "the warm start alone teaches more than opening one door"


def test_own_environment_keeps_the_contract():
    train, test = (own_environment.Corridor(split=split, max_steps=4) for split in ("train", "test"))
    check_env(train, skip_render_check=True)
    tasks = [{env.task_id(index) for index in range(env.num_tasks)} for env in (train, test)]
    assert len(tasks[0]) == len(tasks[1]) == 12 and not tasks[0] & tasks[1]
    train.reset(seed=0)
    state, key = train.snapshot(), train.state_key()
    train.step(train.expert())
    assert train.state_key() != key
    train.restore(state)
    assert train.state_key() == key
    train.step(train.expert())
    *_, reward, terminated, _, info = train.step(train.expert())
    assert terminated and reward == 1.0 and info["success"]


def test_evaluate_api_model(tmp_path):
    with serving(ChatServer()) as server:
        printed = run(
            "evaluate_api_model", "--base-url", server.url, "--envs", "alfworld", "deepsearch", "--episodes", "2", "--max-steps", "2",
            "--out", str(tmp_path / "run"),
        )  # fmt: skip
    assert printed.count("(embedded world): success 0.0 [0.0, ") == 2
    assert printed.count("% of 2 episodes, 0 errors") == 2
    assert all(request["model"] == "doors-1" and request["temperature"] == 0.6 for request in server.requests)
    assert (tmp_path / "run" / "report.html").is_file()


@pytest.mark.slow
def test_train(tmp_path):
    arguments = ("--advantage", "grpo", "--out", str(tmp_path / "run"), "--set", "eval.tasks=1", *TINY)
    printed = run("train", *arguments)
    assert len(re.findall(r"^valid_\w+: success \S+ before reinforcement, \S+ after$", printed, re.MULTILINE)) == 2
    assert (tmp_path / "run" / "report.html").is_file()


def test_branching():
    printed = run("branching", "--branches", "30")
    lines = re.findall(r"^step (\d+): random (\d+)/30 solved, expert solves in (\d+): ", printed, re.MULTILINE)
    steps, solved, left = zip(*(map(int, line) for line in lines), strict=True)
    assert steps == tuple(range(len(steps))) and left == tuple(range(len(steps), 0, -1)), (
        "the expert ends as it would have without branches"
    )
    assert solved[-1] > solved[0], "one step from the end, chance solves more than at the start"
