"""Your own method: an advantage is a function from the steps of a batch to one number per step.

    python examples/own_method.py --gamma 0.9

Any configuration can name it; on the command line, with the options of the preset's own method left out:

    empg-gym train configs/alfworld-tiny.toml --set algorithm.advantage=examples.own_method:discounted --set algorithm.advantage_options={}
"""

import argparse
import json
from pathlib import Path

import torch
from rich.console import Console

from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer


def discounted(batch: RolloutSteps, *, gamma: float = 0.95) -> Advantages:
    """Credit late steps more than early ones: A(i,t) = gamma^(T_i - 1 - t) (R_i - mean of the group's R).

    Options are keyword-only parameters; `algorithm.advantage_options = { gamma = 0.9 }` sets them.
    """
    _, group = batch.groups.unique(return_inverse=True)
    size = torch.bincount(group).double()
    mean = torch.zeros_like(size).index_add(0, group, batch.rewards) / size
    base = (batch.rewards - mean[group])[batch.trajectory]
    last = torch.zeros_like(batch.groups).scatter_reduce(0, batch.trajectory, batch.step, "amax")
    weight = gamma ** (last[batch.trajectory] - batch.step).double()
    return Advantages(values=weight * base, base=base, metrics={"discounted/weight_mean": float(weight.mean())})


def main() -> None:
    """Train a tiny model from scratch on ALFWorld with `discounted`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gamma", type=float, default=0.95)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, as in empg-gym train")
    args = parser.parse_args()
    method = ["algorithm.advantage=examples.own_method:discounted", f"algorithm.advantage_options={{gamma={args.gamma}}}"]
    short = ["warmstart.steps=300", "warmstart.episodes=1200", "rl.steps=20", "algorithm.filters=[]", "eval.splits=[]"]
    config = load_config(Path("configs/alfworld-tiny.toml"), [*method, *short, "run.out=runs/own-method", *args.set])
    Trainer(config, ProgressView(Console())).run()
    latest = json.loads(Path(config.run.out, "metrics.jsonl").read_text().splitlines()[-1])
    print(f"step {latest['step']}: success in training {latest['train/success']:.2f}, weight {latest['discounted/weight_mean']:.3f}")


if __name__ == "__main__":
    main()
