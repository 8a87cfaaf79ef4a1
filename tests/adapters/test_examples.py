"""The examples and pages of the adapters run as printed, each where its framework is installed."""

from __future__ import annotations

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from empg_gym.errors import MissingDependencyError
from tests.docs.pages import ADAPTERS, ROOT, blocks

EXAMPLES = sorted((ROOT / "examples" / "adapters").glob("*.py"))
MODULE = {
    "templates": "empg_gym",
    "trl": "trl",
    "verifiers": "verifiers",
    "inspect": "inspect_ai",
    "skyrl": "skyrl_gym",
    "verl": "verl",
    "datasets": "datasets",
}
"""Adapter to the module of its framework."""


def needs(framework: str) -> None:
    if importlib.util.find_spec(MODULE[framework]) is None:
        pytest.skip(f"{framework} is not installed here")


def run(code: list[str], folder: Path, **variables: str) -> str:
    """Run Python in a folder and return what it printed."""
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")} | variables
    path = f"{ROOT}:{ROOT / 'examples' / 'adapters' / 'empg_gym_v1'}"
    environment |= {"PYTHONPATH": path, "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run([sys.executable, *code], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_listed(path):
    assert len(path.read_text().splitlines()) <= 60
    assert f"examples/adapters/{path.name}" in (ROOT / "examples" / "README.md").read_text()


@pytest.mark.parametrize(
    ("example", "extra"), [("trl_empg", "trl"), ("inspect_eval", "inspect"), ("skyrl_episodes", "skyrl"), ("verl_data", "verl")]
)
def test_an_example_names_the_extra_that_is_missing(example, extra):
    if importlib.util.find_spec(MODULE[extra]) is not None:
        pytest.skip(f"{extra} is installed here")
    with pytest.raises(MissingDependencyError, match=rf"is not installed; run: pip install 'empg-gym\[{extra}\]'"):
        runpy.run_path(str(ROOT / "examples" / "adapters" / f"{example}.py"))


@pytest.mark.parametrize("page", sorted(ADAPTERS.glob("*.md")), ids=lambda page: page.stem)
def test_the_code_of_a_page_runs(page, tmp_path):
    code = "".join(block.code for block in blocks(page.read_text()) if block.language == "python")
    if not code:
        pytest.skip("the page shows no code to run")
    needs(page.stem)
    run(["-c", code], tmp_path)


def test_trl(tmp_path):
    needs("trl")
    from tests.adapters.tiny_model import tiny_model, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    for part in (tokenizer, tiny_model(tokenizer)):
        part.save_pretrained(tmp_path / "model")
    example = str(ROOT / "examples" / "adapters" / "trl_empg.py")
    sizes = ("--steps", "1", "--tasks", "1", "--repeats", "2", "--max-tokens", "16", "--cpu")
    printed = run([example, "--model", str(tmp_path / "model"), "--out", str(tmp_path / "run"), *sizes], tmp_path)
    assert "step 0: reward 0.000, empg/entropy_min" in printed


def test_skyrl(tmp_path):
    needs("skyrl")
    printed = run([str(ROOT / "examples" / "adapters" / "skyrl_episodes.py"), "--tasks", "2"], tmp_path)
    assert printed.count("'success': 1.0") == 3 and "all: " in printed


def test_verifiers(tmp_path):
    needs("verifiers")
    from empg_gym.adapters.episode_task import episode_tasks
    from tests.adapters.expert_server import expert_episodes, serving

    local = expert_episodes(episode_tasks("webshop", limit=1))
    with serving(local) as url:
        command = [str(ROOT / "examples" / "adapters" / "verifiers_eval.py"), "--env", "webshop", "--tasks", "1", "--model", "expert"]
        printed = run([*command, "--base-url", url, "--out", str(tmp_path / "out")], tmp_path, OPENAI_API_KEY="x")
    assert f"{local[0].task}: reward {local[0].total_reward:.2f}, success 1, {len(local[0].steps)} steps" in printed


def test_inspect(tmp_path):
    needs("inspect")
    from empg_gym.adapters.episode_task import episode_tasks
    from tests.adapters.expert_server import expert_episodes, serving

    local = expert_episodes(episode_tasks("deepsearch", limit=1))
    with serving(local) as url:
        command = [str(ROOT / "examples" / "adapters" / "inspect_eval.py"), "--env", "deepsearch", "--tasks", "1"]
        server = {"LOOPBACK_BASE_URL": url, "LOOPBACK_API_KEY": "x"}
        printed = run([*command, "--model", "openai-api/loopback/expert", "--log-dir", str(tmp_path)], tmp_path, **server)
    assert f"{local[0].task}: ({{'score': 1.0, 'success': 1.0, 'reward': 1.0}}, 'terminated')" in printed and "log: " in printed


def test_datasets(tmp_path):
    needs("trl")
    needs("datasets")
    from empg_gym.adapters.episode_task import episode_tasks
    from empg_gym.export import export
    from empg_gym.trajectory import write_trajectories
    from tests.adapters.expert_server import expert_episodes
    from tests.adapters.tiny_model import tiny_model, tiny_tokenizer

    write_trajectories(tmp_path / "trajectories.jsonl", expert_episodes(episode_tasks("deepsearch", limit=2)))
    export([tmp_path], tmp_path / "data", format="parquet")
    tokenizer = tiny_tokenizer("qwen3_training.jinja")
    for part in (tokenizer, tiny_model(tokenizer)):
        part.save_pretrained(tmp_path / "model")
    command = [
        str(ROOT / "examples" / "adapters" / "datasets_sft.py"),
        "--data",
        str(tmp_path / "data"),
        "--model",
        str(tmp_path / "model"),
    ]
    printed = run([*command, "--steps", "1", "--batch", "1", "--cpu", "--out", str(tmp_path / "run")], tmp_path)
    assert "2 solved episodes" in printed and "step 1: loss " in printed


def test_verl(tmp_path):
    needs("verl")
    printed = run([str(ROOT / "examples" / "adapters" / "verl_data.py"), "--limit", "3", "--out", str(tmp_path / "data")], tmp_path)
    assert printed.startswith("3 rows of train: ") and "trainer.v1.trainer_mode=empg_sync" in printed
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"train.parquet", "valid.parquet", "agent.yaml"}
