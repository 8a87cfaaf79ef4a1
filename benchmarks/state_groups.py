"""What GiGPO compares a step with: groups by the environment's exact state key next to groups by observation text, on the same episodes.

    python -m benchmarks.state_groups RUN/checkpoints/rl-000000

The policy of a checkpoint of the demo plays some batches; nothing is trained. A pair is two steps of one task group.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.machine import machine
from empg_gym.trainers.algorithms import RolloutSteps, get_advantage
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.data.batch import RolloutBatch, StateKey, make_batch
from empg_gym.trainers.run.bundle import ModelBundle
from empg_gym.trainers.run.collecting import build_collector
from empg_gym.trainers.run.stages import build_stages

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "alfworld-tiny.toml"
RESULT = ROOT / "benchmarks" / "results" / "state_groups.json"
KEYS: tuple[StateKey, ...] = ("state", "observation")


def play(checkpoint: str, batches: int) -> list[RolloutBatch]:
    """Return batches of episodes of a checkpoint's policy."""
    overrides = ["warmstart.steps=0", "model.from_scratch=none", f'model.name="{checkpoint}"', 'algorithm.advantage="gigpo"']
    config = load_config(CONFIG, [*overrides, "algorithm.advantage_options={}", "algorithm.filters=[]"])
    models = ModelBundle(config)
    collector = build_collector(config, build_stages(config), models.train_generator, None)
    models.publish(0)
    try:
        return [make_batch(collector.collect(step).trajectories) for step in range(batches)]
    finally:
        collector.close()
        models.close()


def compare(batch: RolloutBatch) -> dict[str, float]:
    """Return the numbers of a batch."""
    steps = {key: batch.steps(batch.rollout_entropies, state_key=key) for key in KEYS}
    advantages = {key: get_advantage("gigpo")(steps[key]) for key in KEYS}
    same = {key: _same(steps[key]) for key in KEYS}
    only_observation, only_state = same["observation"] & ~same["state"], same["state"] & ~same["observation"]
    values = [advantages[key].values for key in KEYS]
    return {
        "steps": float(len(batch.step)),
        "success": float(torch.tensor([item.success for item in batch.trajectories]).double().mean()),
        **{f"{key}_{name}": advantages[key].metrics[f"gigpo/{name}"] for key in KEYS for name in ("alone", "group_size")},
        "observation_pairs_in_different_states": float(only_observation.sum() / same["observation"].sum()),
        "state_pairs_with_different_observations": float(only_state.sum() / same["state"].sum()),
        "cosine_of_advantages": float(torch.nn.functional.cosine_similarity(*values, dim=0)),
        "sign_differs": float((values[0] * values[1] < 0).double().mean()),
    }


def _same(steps: RolloutSteps) -> Tensor:
    """Return [S, S] bool, whether two different steps share their state id; ids are distinct between task groups."""
    assert steps.state is not None
    return (steps.state[:, None] == steps.state[None]).fill_diagonal_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("--batches", type=int, default=4)
    args = parser.parse_args()
    found = [compare(batch) for batch in play(args.checkpoint, args.batches)]
    result: dict[str, Any] = {
        "what": "groups of GiGPO's step term by exact state and by observation text, on the same episodes of the embedded ALFWorld (small)",
        "batches": len(found),
        "episodes_per_batch": "16 tasks x 8",
        "mean": {name: round(sum(item[name] for item in found) / len(found), 4) for name in found[0]},
        "per_batch": [{name: round(value, 4) for name, value in item.items()} for item in found],
        "machine": machine("torch", "transformers"),
    }
    Path(RESULT).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result["mean"], indent=2))


if __name__ == "__main__":
    main()
