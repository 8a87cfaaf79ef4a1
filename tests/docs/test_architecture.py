"""`docs/architecture.md` describes the tree that is there: every package has a row, every path exists, the layers are those of the lint."""

from __future__ import annotations

import re
import subprocess
import tomllib

import pytest

from tests.docs.pages import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
FIRST_CELLS = [row.split("|")[1] for row in PAGE.splitlines() if row.startswith("| `")]
ROOMS = {path.rstrip("/") for cell in FIRST_CELLS for path in re.findall(r"`([\w/.]+)`", cell)}


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "*.py"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name.startswith(("empg_gym/", "envs/", "trainers/"))]


def test_the_table_has_a_row_for_the_room_of_every_module():
    without = []
    for name in _tracked():
        folder = name.rpartition("/")[0]
        if folder not in ROOMS and name not in ROOMS and not name.endswith("/__init__.py"):
            without.append(name)
    modules = {name for name in _tracked() if re.fullmatch(r"empg_gym/\w+\.py", name) and not name.endswith("__init__.py")}
    assert not without and modules <= ROOMS, sorted({*without, *(modules - ROOMS)})


def test_every_path_on_the_page_exists():
    named = set(re.findall(r"\b(?:empg_gym|envs|trainers|tests|docs)/[\w/]*(?:\.\w+)?", PAGE))
    assert len(named) > 40
    assert not sorted(path for path in named if not (ROOT / path).exists())


@pytest.mark.parametrize("contract", ["rooms", "trainer"])
def test_the_layers_are_those_of_the_lint(contract):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (item["layers"] for item in contracts if item["id"] == contract)
    assert "\n".join(["```text", *layers, "```"]) in PAGE


@pytest.mark.parametrize(("path", "names"), sorted({
    "empg_gym/rollout/runner.py": "class Rollout:|def stream",
    "empg_gym/rollout/backends.py": "class EnvBackend|def make",
    "empg_gym/rollout/episode.py": "def run_episode",
    "trainers/collect/journal.py": "class Journal|def append",
    "trainers/run/iteration.py": "class Iteration|def batch",
    "trainers/data/batch.py": "def make_batch",
    "trainers/policy/policy.py": "class Policy|def score_rows",
    "trainers/policy/update.py": "class MinibatchUpdater|def update",
    "trainers/run/bundle.py": "class ModelBundle|def publish",
}.items()))  # fmt: skip
def test_the_stations_of_an_episode_are_where_the_page_says(path, names):
    text = (ROOT / path).read_text()
    assert path in PAGE
    for name in names.split("|"):
        assert name in text and name.split()[-1].rstrip(":") in PAGE
