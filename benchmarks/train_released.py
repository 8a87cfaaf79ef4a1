"""The preset for the released ALFWorld games: success on held-out games before and after reinforcement.

    python ../shared/data/alfworld/export.py DATA --split train && python ../shared/data/alfworld/export.py DATA --split valid_seen
    python -m benchmarks.train_released DATA

Runs `empg-gym train configs/alfworld-released.toml --set env.data=DATA`, or resumes it. An evaluation plays every game once; those of both
checkpoints are repeated with other seeds of sampling.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import machine
from benchmarks.train_seeds import ROOT, curve
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.run.bundle import ModelBundle
from empg_gym.trainers.run.checkpoint import load_state
from empg_gym.trainers.run.evaluation import Evaluator
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer

CONFIG = ROOT / "configs" / "alfworld-released.toml"
SEEDS = (1, 2, 3)
"""Seeds of sampling of the repeated evaluations; the run's own evaluation has seed 0."""


def sampled(overrides: list[str], checkpoint: Path) -> list[dict[str, Any]]:
    """Return the results of a checkpoint for each seed of sampling."""
    found = []
    for seed in SEEDS:
        model = ["model.from_scratch=none", f'model.name="{checkpoint}"', f"eval.seed={seed}"]
        config = load_config(CONFIG, [*overrides, *model])
        bundle = ModelBundle(config)
        bundle.publish(0)
        evaluator = Evaluator(config, bundle.eval_generator)
        results, _ = evaluator.run()
        found += [{"seed": seed, **result.to_json()} for result in results]
        evaluator.close()
        bundle.close()
    return found


def warm_start_losses(folder: Path, every: int = 200) -> list[dict[str, float]]:
    """Return step, tokens so far and mean loss since the last point of the warm start."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if line["phase"] == "warmstart"]
    points = []
    for end in range(every, len(lines) + 1, every):
        loss = sum(line["warmstart/loss"] for line in lines[end - every : end]) / every
        tokens = sum(line["warmstart/tokens"] for line in lines[:end])
        points.append({"step": lines[end - 1]["step"], "tokens": tokens, "loss": round(loss, 4)})
    return points


def record(config: TrainConfig, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Return the result file of a finished run."""
    start, end = (folder / "checkpoints" / f"rl-{step:06d}" for step in (0, config.rl.steps))
    resolved = config.model_dump(mode="json")
    resolved["run"].pop("out")
    resolved["env"]["data"] = "the released games, json_2.1.1"
    return {
        "what": "success on held-out released ALFWorld games after the warm start and, if there is any, after reinforcement; one seed",
        "summary": json.loads((folder / "summary.json").read_text()),
        "warm_start": {"cpu_seconds": round(load_state(start).cpu_seconds, 1), "losses": warm_start_losses(folder)},
        "curve": curve(folder, config.rl.steps),
        "sampled": {"before": sampled(overrides, start), **({"after": sampled(overrides, end)} if config.rl.steps else {})},
        "config": resolved,
        "machine": machine("torch", "transformers"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("runs/released"))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "alfworld_released.json")
    args = parser.parse_args()
    overrides = [f'env.data="{args.data}"', f'run.out="{args.folder}"', *args.overrides]
    config = load_config(CONFIG, overrides)
    if not (args.folder / "summary.json").is_file():
        resume = (args.folder / "checkpoints" / "latest").is_file()
        Trainer(config, ProgressView(Console(width=140)), resume=resume).run()
    result = record(config, overrides, args.folder)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(
        json.dumps({when: [(item["split"], item["seed"], item["success"]) for item in found] for when, found in result["sampled"].items()})
    )


if __name__ == "__main__":
    main()
