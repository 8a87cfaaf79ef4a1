"""Multi-step GRPO next to TRL's `GRPOTrainer`: same tiny model, tasks, rows, machine and versions of torch, one thread each, interleaved.

Rollouts: TRL plays ALFWorld through `environment_factory` and its own loop of tool calls, ours through `HFGenerator`. Updates: TRL gets
the rows of our episodes through `rollout_func`, so that both learn from the same tokens; neither scores old log-probabilities again. Time
is CPU time without the first iteration; memory is the peak of the process, in total and above its size before the first iteration. TRL's
micro-batch is the fastest of several.

    python -m benchmarks.trl --venv DIR [--repeats 2]

DIR is an environment for both sides; it is made if it is missing.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "trl.json"
PACKAGES = ("trl==1.16.0", "peft>=0.21,<0.22")
WARM_STEPS, ITERATIONS, TASKS = 300, 2, 4
TOKEN_BUDGET = 4096
MICRO_BATCHES = (8, 4, 16)
UPDATE = ("iterations", "episodes", "row_tokens", "update_cpu_s", "update_tokens_per_s", "peak_mb", "growth_mb")
"""What a run with recorded rows measures."""
TARGETS = {"rollout": 2.0, "update": 1.0, "memory": 1.0}
"""Smallest ratio of our tokens/s to TRL's; largest ratio of our peak memory to TRL's."""


def environment(folder: Path) -> Path:
    """Return the interpreter of an environment with TRL and what this package needs, made if it is missing."""
    python = folder / "bin" / "python"
    if not python.exists():
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        needed = [*project["dependencies"], *project["optional-dependencies"]["train"], *PACKAGES]
        pinned = [f"{name}=={version(name).split('+')[0]}" for name in ("torch", "transformers")]
        uv = shutil.which("uv", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if uv is None:
            raise SystemExit("uv is needed to make the environment: pip install uv")
        links = {"UV_FIND_LINKS": os.environ["PIP_FIND_LINKS"]} if "PIP_FIND_LINKS" in os.environ else {}
        for command in (["venv", "--python", sys.executable, str(folder)], ["pip", "install", "--python", str(python), *needed, *pinned]):
            subprocess.run([uv, *command], check=True, env=os.environ | links)
    return python


def work(python: Path, call: str, folder: Path, **options: Any) -> Any:
    """Call a function of `benchmarks.trl_workers` in a process and return its result."""
    code = (
        "import json, sys, torch; torch.set_num_threads(1); from pathlib import Path; from benchmarks import trl_workers\n"
        f"result = trl_workers.{call}(Path(sys.argv[1]), **json.loads(sys.argv[2]))\n"
        "Path(sys.argv[3]).write_text(json.dumps(result))"
    )
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"}
    target = folder / "result.json"
    for stale in ("ours", "trl"):
        shutil.rmtree(folder / stale, ignore_errors=True)
    run = subprocess.run(
        [str(python), "-c", code, str(folder), json.dumps(options), str(target)],
        cwd=ROOT, env=os.environ | settings | {"HF_HUB_OFFLINE": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    if run.returncode:
        raise SystemExit(run.stderr[-4000:])
    result = json.loads(target.read_text())
    print(call, options, json.dumps(result), flush=True)
    return result


def compare(python: Path, folder: Path, repeats: int) -> Iterator[dict[str, Any]]:
    """Run both sides in turn; yield the result after each repeat."""
    if not (folder / "trained").is_dir():
        work(python, "prepare", folder, steps=WARM_STEPS)
    sides: dict[str, list[dict[str, Any]]] = {"ours": [], "theirs": []}
    for _ in range(repeats):
        sides["ours"].append(work(python, "ours", folder, iterations=ITERATIONS, tasks=TASKS, token_budget=TOKEN_BUDGET))
        sides["theirs"].append(work(python, "theirs", folder, tasks=TASKS, micro_batches=MICRO_BATCHES))
        yield summarize(**sides)


def summarize(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return medians and ratios of interleaved runs."""
    episodes = [one["episodes"] for one in theirs]
    best = [max(one["updates"], key=lambda size: one["updates"][size]["update_tokens_per_s"]) for one in theirs]
    updates = [one["updates"][size] for one, size in zip(theirs, best, strict=True)]
    ratios = {
        "rollout": _ratio(ours, episodes, "generated_tokens_per_s"),
        "update": _ratio(ours, updates, "update_tokens_per_s"),
        "memory": _ratio(ours, episodes, "peak_mb"),
        "memory_growth": _ratio(ours, episodes, "growth_mb"),
    }
    return {
        "model": "Qwen2, 2 layers of 128 features, warm-started on expert episodes",
        "episodes_per_iteration": 8 * TASKS,
        "repeats": len(ours),
        "targets": TARGETS,
        "ours": _medians(ours),
        "trl_environment_factory": _medians(episodes),
        "trl_same_rows": _medians([{name: one[name] for name in UPDATE} for one in updates]),
        "trl_fastest_micro_batch": [int(size) for size in best],
        "prompts_equal": all(one["prompts_equal"] for one in [*episodes, *updates]),
        "ratios": ratios,
        "met": {
            "rollout": ratios["rollout"] >= TARGETS["rollout"],
            "update": ratios["update"] >= TARGETS["update"],
            "memory": max(ratios["memory"], ratios["memory_growth"]) <= TARGETS["memory"],
        },
    }


def _medians(runs: list[dict[str, Any]]) -> dict[str, float]:
    return {name: round(statistics.median(run[name] for run in runs), 3) for name in runs[0] if name != "prompts_equal"}


def _ratio(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], name: str) -> float:
    """Return the median of the ratios of neighbouring runs."""
    return round(statistics.median(a[name] / b[name] for a, b in zip(ours, theirs, strict=True)), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])  # type: ignore[union-attr]
    parser.add_argument("--venv", type=Path, default=os.environ.get("EMPG_GYM_TRL_VENV"), help="environment with TRL (EMPG_GYM_TRL_VENV)")
    parser.add_argument("--folder", type=Path, help="keep the model and the rows in this folder")
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    if given.venv is None:
        parser.error("--venv or EMPG_GYM_TRL_VENV must name a folder outside of this repository")
    python = environment(Path(given.venv))
    names = ("torch", "transformers", "trl", "peft")
    code = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names}}}))"
    versions = json.loads(subprocess.run([str(python), "-c", code], check=True, capture_output=True, text=True).stdout)
    about = machine() | {"packages": versions}
    with tempfile.TemporaryDirectory() as temporary:
        for result in compare(python, (given.folder or Path(temporary)).resolve(), given.repeats):
            RESULT.write_text(json.dumps({"machine": about, "threads": 1, **result}, indent=1) + "\n")
            print(json.dumps({"ratios": result["ratios"], "met": result["met"]}), flush=True)


if __name__ == "__main__":
    main()
