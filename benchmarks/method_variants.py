"""Variants of EMPG and of state grouping on the demo's world: one warm start per seed, shared by all variants; the same tasks and seeds.

    python -m benchmarks.method_variants --seeds 0 1 2 --folder runs/method_variants

Rules:
    - A seed is finished before the next one begins, so every finished seed has all variants. A finished run is not run again, and a
      killed one resumes.
    - The result file is rebuilt from the run folders after every run, so processes with different seeds may share a folder.
    - Every variant evaluates the same games with the same seeds, before and after, so differences to GRPO are paired by game. Their
      intervals per seed say how sure the difference between these two policies is; the interval over seeds, how sure it is between
      the methods.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks.machine import machine
from empg_gym.runs.json_file import write_json
from empg_gym.scoring.intervals import difference_interval, mean, mean_interval
from empg_gym.trainers.config.file import load_config
from empg_gym.trajectory import read_trajectories

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "alfworld-tiny.toml"
RESULT = ROOT / "benchmarks" / "results" / "method_variants.json"
CPU = "cpu_seconds.json"
SPLIT, GAMES, LAST = "valid_unseen", 256, 10

WARM_START = [
    "warmstart.steps=600",
    "warmstart.episodes=9600",
    "warmstart.episodes_per_step=16",
    "warmstart.detours=0.3",
    "warmstart.token_budget=4096",
    "warmstart.optimizer.lr=4e-3",
]
REINFORCEMENT = [
    "rl.steps=30",
    "rl.tasks_per_step=16",
    "rl.repeats=8",
    "rl.optimizer.lr=3e-4",
    'rl.optimizer.schedule="constant"',
    "algorithm.policy_loss_options={clip_low=0.3, clip_high=0.3}",
]
COMMON = [
    "run.threads=1",
    "run.checkpoint_every=15",
    f"run.samples={GAMES}",  # all evaluation episodes are written, which pairs them
    "run.sample_every=100000",
    f"eval.tasks={GAMES}",
    "eval.every=none",
    *WARM_START,
    *REINFORCEMENT,
]
EMPG = 'algorithm.advantage="empg"'
VARIANTS: dict[str, list[str]] = {
    "grpo": ['algorithm.advantage="grpo"', "algorithm.advantage_options={}"],
    "empg": [EMPG, "algorithm.advantage_options={zeta=0.05}"],
    "empg, drop": [EMPG, 'algorithm.advantage_options={zeta=0.05, uninformative="drop"}'],
    "empg, center=trajectory": [EMPG, 'algorithm.advantage_options={zeta=0.05, center="trajectory"}'],
    "empg, filtered": [EMPG, "algorithm.advantage_options={zeta=0.05}", 'algorithm.filters=["informative"]'],
    "gigpo, state": ['algorithm.advantage="gigpo"', "algorithm.advantage_options={}", 'algorithm.state_key="state"'],
    "gigpo, observation": ['algorithm.advantage="gigpo"', "algorithm.advantage_options={}", 'algorithm.state_key="observation"'],
}
"""Name to configuration; the first is what the others are compared with."""
BASE = next(iter(VARIANTS))


def folder_of(folder: Path, variant: str, seed: int) -> Path:
    """Return the folder of a run."""
    return folder / f"{variant.replace(', ', '-').replace('=', '-')}-{seed}"


def run(out: Path, overrides: list[str]) -> None:
    """Run or resume a training run, unless it is finished; add its CPU time to that of earlier parts (of a killed one it is not known)."""
    from transformers.utils import logging

    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    logging.disable_progress_bar()
    if (out / "summary.json").is_file():
        return
    resume = (out / "checkpoints" / "latest").is_file()
    record = out.with_name(f"{out.name}.{CPU}")
    spent = json.loads(record.read_text())["cpu_seconds"] if record.is_file() and resume else 0.0
    began = time.process_time()
    try:
        Trainer(load_config(CONFIG, [*overrides, f'run.out="{out}"']), ProgressView(Console(width=140)), resume=resume).run()
    finally:
        write_json(record, {"cpu_seconds": round(spent + time.process_time() - began, 1)})


def result_of(out: Path) -> dict[str, Any] | None:
    """Return the numbers of a run; None where it is not finished."""
    record_of_cpu = out.with_name(f"{out.name}.{CPU}")
    if not ((out / "summary.json").is_file() and record_of_cpu.is_file()):
        return None
    summary = json.loads((out / "summary.json").read_text())
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["phase"] == "rl" and "train/success" in line]
    record: dict[str, Any] = {
        "cpu_seconds": json.loads(record_of_cpu.read_text())["cpu_seconds"],
        "before": summary["before"][0]["success"],
        "after": summary["after"][0]["success"],
        "after_valid_action": summary["after"][0]["valid_action"],
        "after_steps": summary["after"][0]["steps"],
        "train_success_last": _mean_of(steps[-LAST:], "train/success"),
        "train_success": [round(line["train/success"], 4) for line in steps],
        "mixed_groups": _mean_of(steps, "train/mixed_groups"),
        "generated_tokens": sum(line["rollout/generated_tokens"] for line in steps),
    }
    named = ("empg/shift", "gigpo/", "advantage/")
    means = {name: _mean_of(steps, name) for name in sorted({name for line in steps for name in line if name.startswith(named)})}
    return record | {"means_over_steps": means}


def _mean_of(lines: list[dict[str, float]], name: str) -> float:
    """Return the mean of a metric over the steps that have it."""
    values = [line[name] for line in lines if name in line]
    return round(sum(values) / len(values), 5)


def solved(out: Path, last_step: int) -> dict[str, bool]:
    """Return whether each game of the last evaluation was solved."""
    episodes = (item for item in read_trajectories(out / "trajectories.jsonl") if item.info["kind"] == "evaluation")
    return {item.task: item.success for item in episodes if item.info["step"] == last_step}


def paired(folder: Path, variant: str, seeds: list[int]) -> dict[str, Any]:
    """Return the difference of success to GRPO: per seed over games, and over seeds."""
    last_step = load_config(CONFIG, COMMON).rl.steps
    per_seed: dict[str, Any] = {}
    for seed in seeds:
        ours, theirs = (solved(folder_of(folder, name, seed), last_step) for name in (variant, BASE))
        differences = [float(ours[task]) - float(theirs[task]) for task in theirs]
        low, high = difference_interval(differences)
        per_seed[str(seed)] = {
            "games": len(differences),
            "difference": round(sum(differences) / len(differences), 4),
            "interval_95": [round(low, 4), round(high, 4)],
        }
    values = [[part["difference"]] for part in per_seed.values()]
    bounds = mean_interval(values)
    return {
        "per_seed": per_seed,
        "mean": round(mean(values), 4),
        "interval_95_over_seeds": None if bounds is None else [round(bounds.low, 4), round(bounds.high, 4)],
    }


def collect(folder: Path) -> dict[str, Any]:
    """Return the result file of all finished runs in `folder`."""
    runs: dict[str, dict[int, dict[str, Any]]] = {}
    for variant in VARIANTS:
        prefix = folder_of(folder, variant, 0).name[:-1]
        seeds = sorted(int(out.name.removeprefix(prefix)) for out in folder.glob(f"{prefix}[0-9]*") if out.is_dir())
        found = {seed: result_of(folder_of(folder, variant, seed)) for seed in seeds}
        runs[variant] = {seed: item for seed, item in found.items() if item is not None}
    with_base = {variant: [seed for seed in items if seed in runs[BASE]] for variant, items in runs.items() if variant != BASE}
    resolved = load_config(CONFIG, COMMON).model_dump(mode="json")
    for key in ("out", "seed"):
        resolved["run"].pop(key)
    return {
        "what": f"success on {GAMES} games of {SPLIT} (embedded, small households) before and after reinforcement, by variant and seed",
        "split": SPLIT,
        "games": GAMES,
        "last_steps": LAST,
        "variants": VARIANTS,
        "warm_start_cpu_seconds": {
            path.name.split(".")[0].removeprefix("warm-"): json.loads(path.read_text())["cpu_seconds"]
            for path in sorted(folder.glob(f"warm-*.{CPU}"))
        },
        "runs": {variant: {str(seed): item for seed, item in items.items()} for variant, items in runs.items()},
        "against_grpo": {variant: paired(folder, variant, seeds) for variant, seeds in with_base.items() if seeds},
        "config": resolved,
        "machine": machine("torch", "transformers"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--variants", nargs="*", default=list(VARIANTS), metavar="VARIANT", help="none: the warm starts only")
    parser.add_argument("--folder", type=Path, default=Path("runs/method_variants"))
    parser.add_argument("--out", type=Path, default=RESULT)
    args = parser.parse_args()
    if unknown := set(args.variants) - set(VARIANTS):
        parser.error(f"unknown variants {sorted(unknown)}; there are {list(VARIANTS)}")
    args.folder.mkdir(parents=True, exist_ok=True)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for seed in args.seeds:
        common = [*COMMON, f"run.seed={seed}"]
        warm = args.folder / f"warm-{seed}"
        run(warm, [*common, "rl.steps=0", "eval.splits=[]", *VARIANTS[BASE]])
        start = ["warmstart.steps=0", "model.from_scratch=none", f'model.name="{warm / "checkpoints" / "rl-000000"}"']
        for variant in args.variants:
            run(folder_of(args.folder, variant, seed), [*common, *start, f'eval.splits=["{SPLIT}"]', *VARIANTS[variant]])
            write_json(args.out, collect(args.folder))


if __name__ == "__main__":
    main()
