"""The examples and pages of the adapters run as printed, each where its framework is installed."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import ADAPTERS, ROOT, blocks

EXAMPLES = sorted((ROOT / "examples" / "adapters").glob("*.py"))
MODULE = {"trl": "trl", "verifiers": "verifiers", "inspect": "inspect_ai", "skyrl": "skyrl_gym", "verl": "verl", "datasets": "datasets"}
"""Adapter to the module of its framework."""


def needs(framework: str) -> None:
    if importlib.util.find_spec(MODULE[framework]) is None:
        pytest.skip(f"{framework} is not installed here")


def run(code: list[str], folder: Path) -> str:
    """Run Python in a folder and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run([sys.executable, *code], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_listed(path):
    assert len(path.read_text().splitlines()) <= 60
    assert f"examples/adapters/{path.name}" in (ROOT / "examples" / "README.md").read_text()


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
