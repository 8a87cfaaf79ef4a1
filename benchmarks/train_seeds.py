"""A preset over several seeds, optionally other methods from the same warm start: success on held-out tasks before and after reinforcement.

    python -m benchmarks.train_seeds configs/alfworld-tiny.toml --seeds 1 2 3 --methods empg gigpo
    python -m benchmarks.train_seeds configs/webshop-tiny.toml --seeds 1 2 3 4 5

The evaluations are those of the preset: its panels, or `eval.tasks` tasks of each split. The result file is written after each seed.
A finished run is not repeated; one that was interrupted is resumed. The other methods start from the same
checkpoint as EMPG's reinforcement, with the same seeds, tasks, budget and learning rate; only `algorithm.advantage` differs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import machine
from empg_gym.agents.scripted import ExpertAgent
from empg_gym.scoring.intervals import mean, mean_interval
from empg_gym.study.plan import is_finished
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.run.evaluation import Evaluator

ROOT = Path(__file__).parents[1]
KEPT = ("seed", "threads", "seconds", "cpu_seconds", "start_weights", "before", "after", "curve")


def run(preset: Path, folder: Path, overrides: list[str]) -> dict[str, Any]:
    """Train in `folder`, or finish the run there, and return its summary, threads and curve."""
    from transformers.utils import logging

    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    logging.disable_progress_bar()
    if not is_finished(folder):
        Trainer(load_config(preset, [f'run.out="{folder}"', *overrides]), ProgressView(Console(width=140)), resume=True).run()
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    return summary | {"threads": config["run"]["threads"], "curve": curve(folder, config["rl"]["steps"])}


def interval(values: list[float]) -> dict[str, Any]:
    """Return the mean over seeds and its 95 % interval (Student's t)."""
    seeds = [[value] for value in values]
    bounds = mean_interval(seeds)
    return {
        "mean": round(mean(seeds), 4),
        "half_width_95": None if bounds is None else round((bounds.high - bounds.low) / 2, 4),
        "values": [round(value, 4) for value in values],
    }


def table(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the results before and after reinforcement learning for each split, over seeds."""
    splits = {}
    for position, split in enumerate(item["split"] for item in runs[0]["before"]):
        before = [item["before"][position]["success"] for item in runs]
        after = [item["after"][position]["success"] for item in runs]
        splits[split] = {
            "tasks": runs[0]["before"][position]["tasks"],
            "before": interval(before),
            "after": interval(after),
            "points_gained": interval([100 * (last - first) for first, last in zip(before, after, strict=True)]),
        }
    return splits


def curve(folder: Path, last: int) -> list[dict[str, float]]:
    """Return step, success in training (mean of the last five steps) and in the evaluations of a run, up to a step: every five steps."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["phase"] == "rl" and line["step"] <= last]
    points = []
    for place, line in enumerate(lines):
        latest = [one["train/success"] for one in lines[max(0, place - 4) : place + 1] if "train/success" in one]
        found = {
            name.split("/")[1]: round(value, 4) for name, value in line.items() if name.startswith("eval/") and name.endswith("/success")
        }
        if found or (latest and line["step"] % 5 == 0):
            points.append({"step": line["step"], **({"training": round(mean([latest]), 4)} if latest else {}), **found})
    return points


def expert_success(config: TrainConfig) -> dict[str, float]:
    """Return the success of the expert that the warm start imitates, on the tasks of the evaluations, by split."""
    with contextlib.closing(Evaluator(config, ExpertAgent())) as evaluator:
        return {result.split: round(result.success or 0.0, 4) for result in evaluator.run()[0]}


def over_seeds(preset: Path, seeds: list[int], runs: dict[str, list[dict[str, Any]]], overrides: list[str]) -> dict[str, Any]:
    """Return the result file of the runs of these seeds."""
    config = load_config(preset, overrides)
    resolved = config.model_dump(mode="json")
    for key in ("out", "seed", "threads"):
        resolved["run"].pop(key)
    return {
        "what": f"{preset.name}: success on held-out tasks after the warm start and after reinforcement; mean over seeds, 95 % interval",
        "seeds": seeds,
        "parameters": next(iter(runs.values()))[0]["parameters"],
        "expert": expert_success(config),
        "methods": {method: table(items) for method, items in runs.items()},
        "runs": {method: [{key: item[key] for key in KEPT} for item in items] for method, items in runs.items()},
        "config": resolved,
        "machine": machine("torch", "transformers"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--folder", type=Path, help="folder of the run folders METHOD-SEED; default: runs/seeds/PRESET")
    parser.add_argument("--methods", nargs="+", default=["empg"], choices=["empg", "gigpo", "grpo"], help="the first must be empg")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--out", type=Path, help="result file; default: benchmarks/results/PRESET.json with underscores")
    args = parser.parse_args()
    if args.methods[0] != "empg":
        parser.error("the first method must be empg: the others begin with its warm start")
    folder = args.folder or Path("runs", "seeds", args.preset.stem)
    out = args.out or ROOT / "benchmarks" / "results" / f"{args.preset.stem.replace('-', '_')}.json"
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in args.methods}
    for count, seed in enumerate(args.seeds, 1):
        for method in args.methods:
            overrides = [f"run.seed={seed}", *args.overrides]
            if method != "empg":
                checkpoint = folder / f"empg-{seed}" / "checkpoints" / "rl-000000"
                overrides += ["warmstart.steps=0", "model.from_scratch=none", f'model.name="{checkpoint}"']
                overrides += [f'algorithm.advantage="{method}"', "algorithm.advantage_options={}"]
            runs[method].append(run(args.preset, folder / f"{method}-{seed}", overrides))
        result = over_seeds(args.preset, args.seeds[:count], runs, args.overrides)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=2) + "\n")
        print(json.dumps(result["methods"], indent=2))


if __name__ == "__main__":
    main()
