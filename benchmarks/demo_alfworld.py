"""The demo over several seeds, EMPG against its base from the same warm start: success on held-out tasks before and after reinforcement.

    python -m benchmarks.demo_alfworld --seeds 0 1 2 --folder runs/benchmark

    python -m benchmarks.demo_alfworld --checkpoint runs/demo/checkpoints/rl-000050

The second form evaluates one run as far as it has come: the weights after its warm start and those of the checkpoint, on the panels.

The result file is written after each seed. A run whose folder already contains summary.json is not repeated. The other method starts from
the same checkpoint as EMPG's reinforcement, with the same seeds, tasks, budget and learning rate; only `algorithm.advantage` differs.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import machine
from empg_gym.evaluation import evaluate
from empg_gym.scoring.intervals import mean, mean_interval
from empg_gym.trainers.config.file import load_config

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "alfworld-tiny.toml"
KEPT = ("seed", "threads", "seconds", "cpu_seconds", "start_weights", "before", "after", "curve")
PANELS = ("alfworld-small-unseen-1000", "alfworld-small-seen-1000")


def run(folder: Path, overrides: list[str]) -> dict[str, Any]:
    from transformers.utils import logging

    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    logging.disable_progress_bar()
    if not (folder / "summary.json").is_file():
        resume = (folder / "checkpoints" / "latest").is_file()
        Trainer(load_config(CONFIG, [f'run.out="{folder}"', *overrides]), ProgressView(Console(width=140)), resume=resume).run()
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
        removed = [1 - (1 - last) / (1 - first) for first, last in zip(before, after, strict=True)]
        splits[split] = {
            "games": runs[0]["before"][position]["tasks"],
            "before": interval(before),
            "after": interval(after),
            "points_gained": interval([100 * (last - first) for first, last in zip(before, after, strict=True)]),
            "share_of_failures_removed": interval(removed),
        }
    return splits


def evaluated(model: Path) -> list[dict[str, Any]]:
    """Return the results of a checkpoint on the panels, in the form of a run's evaluations."""
    found = []
    for panel in PANELS:
        options = {"device": "cpu", "temperature": load_config(CONFIG).eval.temperature}
        summary = evaluate(panel=panel, agent=f"checkpoint:{model}", agent_options=options)
        (entry,) = summary.results.values()
        types = {name: {"tasks": one["episodes"], "success": one["success_rate"]} for name, one in entry["by_task_type"].items()}
        found.append(
            {
                "split": entry["split"],
                "tasks": entry["episodes"],
                "success": entry["success_rate"],
                "valid_action": 1 - entry["invalid_actions"]["rate"],
                "by_type": types,
                "panel": entry["panel"],
            }
        )
    return found


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


def one_run(checkpoint: Path) -> dict[str, Any]:
    """Return the result file of one run as far as it has come."""
    import torch

    from empg_gym.trainers.policy.models import load_model
    from empg_gym.trainers.run.checkpoint import weights_hash

    torch.set_num_threads(1)
    start = checkpoint.parent / "rl-000000"
    step = int(checkpoint.name.rpartition("-")[2])
    model, _ = load_model(str(start))
    config = json.loads((checkpoint.parents[1] / "config.json").read_text())
    run_record = {
        "seed": config["run"]["seed"],
        "threads": config["run"]["threads"],
        "steps": step,
        "start_weights": weights_hash(model),
        "before": evaluated(start),
        "after": evaluated(checkpoint),
        "curve": curve(checkpoint.parents[1], step),
    }
    return {
        "what": "success on the panels after the warm start and after so many steps of reinforcement, of one run as far as it has come; "
        "warm start and reinforcement may have been two runs",
        "seeds": [run_record["seed"]],
        "parameters": sum(item.numel() for item in model.parameters()),
        "steps": step,
        "methods": {"empg": table([run_record])},
        "runs": {"empg": [run_record]},
        "config": load_config(CONFIG, [f"run.seed={config['run']['seed']}"]).model_dump(mode="json"),
        "run_config": config,
        "machine": machine("torch", "transformers"),
    }


def write(out: Path, result: dict[str, Any]) -> None:
    """Write the result file and print its table."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["methods"], indent=2))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--folder", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--methods", nargs="+", default=["empg", "gigpo"], choices=["empg", "gigpo", "grpo"])
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "demo_alfworld.json")
    parser.add_argument("--checkpoint", type=Path, help="evaluate one run as far as it has come, instead of running seeds")
    args = parser.parse_args()
    if args.checkpoint is not None:
        write(args.out, one_run(args.checkpoint))
        return
    runs: dict[str, list[dict[str, Any]]] = {method: [] for method in args.methods}
    for count, seed in enumerate(args.seeds, 1):
        start = args.folder / f"empg-{seed}"
        for method in args.methods:
            overrides = [f"run.seed={seed}", *args.overrides]
            if method != "empg":
                checkpoint = start / "checkpoints" / "rl-000000"
                overrides += ["warmstart.steps=0", "model.from_scratch=none", f'model.name="{checkpoint}"']
                overrides += [f'algorithm.advantage="{method}"', "algorithm.advantage_options={}"]
            runs[method].append(run(args.folder / f"{method}-{seed}", overrides))
        write(args.out, over_seeds(args.seeds[:count], runs, args.overrides))


def over_seeds(seeds: list[int], runs: dict[str, list[dict[str, Any]]], overrides: list[str]) -> dict[str, Any]:
    """Return the result file of the runs of these seeds."""
    resolved = load_config(CONFIG, overrides).model_dump(mode="json")
    for key in ("out", "seed", "threads"):
        resolved["run"].pop(key)
    return {
        "what": "success on held-out embedded ALFWorld games after the warm start and after reinforcement; mean over seeds, 95 % interval",
        "seeds": seeds,
        "parameters": next(iter(runs.values()))[0]["parameters"],
        "methods": {method: table(items) for method, items in runs.items()},
        "runs": {method: [{key: item[key] for key in KEPT} for item in items] for method, items in runs.items()},
        "config": resolved,
        "machine": machine("torch", "transformers"),
    }


if __name__ == "__main__":
    main()
