"""CPU seconds of every advantage estimator: on 64 trajectories of 50 steps, and on a batch of the demo next to its whole iteration.

python -m benchmarks.estimators

The 64 trajectories are of 8 tasks of the embedded ALFWorld (full size), each played by 8 random agents, so that states repeat; outcomes,
entropies and gold log-probabilities are drawn. The anchor is a measurement by GraphGPO's authors: their estimator took 0.133 s of an
iteration of 291 s (0.046 %). The demo's iterations are those of configs/alfworld-tiny.toml after a short warm start, on one thread.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from benchmarks.machine import machine
from empg_gym.agents.scripted import fill
from empg_gym.recipe import EnvRecipe
from empg_gym.trainers.algorithms import ADVANTAGES, Advantages, RolloutSteps, get_advantage
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.data.batch import RolloutBatch, make_batch
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import Completion, Trajectory

RESULTS = Path(__file__).parent / "results"
CONFIG = Path(__file__).parents[1] / "configs" / "alfworld-tiny.toml"
ANCHOR = {"estimator_s": 0.133, "iteration_s": 291.0}
"""GraphGPO's authors, Qwen2.5 on ALFWorld."""
TARGET_SHARE = 0.0004
GROUPS, REPEATS, STEPS = 8, 8, 50
STACKED: dict[str, tuple[str, dict[str, Any]]] = {"empg over gigpo": ("empg", {"base": "gigpo"})}
"""Methods over another base than their default."""

recorded: list[tuple[float, RolloutSteps]] = []
"""CPU time at each call of `recording`, and the batch; in the module that the trainer imports."""


def recording(batch: RolloutSteps) -> Advantages:
    """EMPG, which keeps its batches: the advantage of the demo here."""
    recorded.append((time.process_time(), batch))
    return get_advantage("empg", {"zeta": 0.05})(batch)


def play(env: Any, task: int, group: int, repeat: int, rng: np.random.Generator) -> Trajectory:
    """Return an episode of a random agent, with an outcome that is drawn."""
    env.reset(seed=group, options={"task": task})
    for index in range(STEPS):
        admissible = env.admissible_actions
        action = fill(admissible[int(rng.integers(len(admissible)))], env.trajectory.instruction, rng)
        entropies = rng.exponential(0.5, size=8).astype(np.float32)
        ids = np.arange(8, dtype=np.int32)
        text = env.dialogue.render("", action)
        env.step(Completion(text=text, prompt_token_ids=ids, token_ids=ids, logprobs=-entropies, entropies=entropies, new_row=index == 0))
    trajectory: Trajectory = env.trajectory
    trajectory.group, trajectory.repeat, trajectory.success = group, repeat, bool(rng.random() < 0.4)
    trajectory.steps[-1].reward = float(trajectory.success)
    return trajectory


def large_batch() -> RolloutBatch:
    """Return 64 trajectories of 50 steps."""
    rng = np.random.default_rng(0)
    recipe = EnvRecipe("EMPG/ALFWorld-v0", {"split": "train", "max_steps": STEPS}, embedded_kwargs={"size": "full"})
    with contextlib.closing(recipe.make()) as env:
        episodes = [play(env, group, group, repeat, rng) for group in range(GROUPS) for repeat in range(REPEATS)]
    return make_batch(episodes, invalid_action_penalty=0.1)


def with_gold(batch: RolloutSteps) -> RolloutSteps:
    """Return the batch with log-probabilities of a gold answer, which IGPO reads."""
    generator = torch.Generator().manual_seed(0)
    gold = -3 * torch.rand(len(batch.step), generator=generator, dtype=torch.float64)
    return dataclasses.replace(batch, gold_logprobs=gold)


def cpu_seconds(call: Callable[[], object], repeats: int) -> float:
    """Return the median CPU seconds of a call."""
    call()
    times = []
    for _ in range(repeats):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return statistics.median(times)


def estimators(batch: RolloutSteps, repeats: int) -> dict[str, float]:
    """Return the CPU seconds of every estimator."""
    batch = with_gold(batch)
    methods = {name: (name, {}) for name in ADVANTAGES} | STACKED
    seconds = {}
    for label, (name, options) in methods.items():
        estimate = get_advantage(name, options)
        seconds[label] = cpu_seconds(lambda estimate=estimate: estimate(batch), repeats)  # type: ignore[misc]
    return seconds


def demo_iterations(steps: int) -> tuple[float, RolloutSteps]:
    """Return the median CPU seconds of the demo's iterations, and the last batch."""
    from benchmarks import estimators as imported

    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"run.out={json.dumps(folder + '/run')}", "run.threads=1", "warmstart.steps=300", "warmstart.episodes=1200",
            f"rl.steps={steps}", "eval.tasks=1", "eval.every=none", "algorithm.advantage=benchmarks.estimators:recording",
            "algorithm.advantage_options={}",
        ]  # fmt: skip
        config = load_config(CONFIG, overrides)
        Trainer(config, ProgressView(Console(width=140))).run()
    calls = [item for item in imported.recorded if len(item[1].rewards) == config.rl.tasks_per_step * config.rl.repeats]
    times = [moment for moment, _ in calls]
    assert len(times) == steps
    return statistics.median(np.diff(times).tolist()), calls[-1][1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--steps", type=int, default=6, help="iterations of the demo")
    args = parser.parse_args()
    torch.set_num_threads(1)
    batch = large_batch()
    entropies = batch.rollout_entropies
    steps = batch.steps(entropies)
    iteration_s, demo = demo_iterations(args.steps)
    large, small = estimators(steps, args.repeats), estimators(demo, args.repeats)
    anchor_s = ANCHOR["iteration_s"]
    assert steps.state is not None
    result = {
        "what": "CPU seconds of the advantage estimators: median of repeated calls on one thread",
        "repeats": args.repeats,
        "anchor": {**ANCHOR, "target_share": TARGET_SHARE, "target_s": TARGET_SHARE * anchor_s},
        "batch": {
            "trajectories": len(steps.rewards),
            "steps": len(steps.step),
            "states": len(steps.state.unique()),
            "prepare_s": cpu_seconds(lambda: batch.steps(entropies), args.repeats),
        },
        "demo": {"trajectories": len(demo.rewards), "steps": len(demo.step), "iteration_s": iteration_s, "iterations": args.steps - 1},
        "estimators": {
            name: {
                "seconds": seconds,
                "share_of_anchor": seconds / anchor_s,
                "demo_seconds": small[name],
                "share_of_demo": small[name] / iteration_s,
            }
            for name, seconds in large.items()
        },
        "machine": machine("torch", "numpy"),
    }
    path = RESULTS / "estimators.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    main()
