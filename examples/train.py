"""Train from a preset: EMPG on the small ALFWorld with a model from scratch, and success on held-out tasks before and after.

    python examples/train.py --advantage empg --set rl.steps=60

The preset as it is takes about ten minutes of one CPU core (`make demo`); this shortens it, which shows less of a gain. A larger model:
--config configs/alfworld.toml, which needs a GPU and the released games.
"""

import argparse
from pathlib import Path

from rich.console import Console

from empg_gym.report import write_report
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer

SHORT = ["warmstart.steps=600", "warmstart.episodes=2400", "rl.steps=20", "eval.tasks=64"]
"""Overrides of the preset, in the grammar of `empg-gym train --set`."""


def main() -> None:
    """Train, write the report and print the success rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/alfworld-tiny.toml"))
    parser.add_argument("--advantage", default="empg", help="any advantage of docs/algorithms.md, or your own as module:function")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key, as in empg-gym train")
    parser.add_argument("--out", default="runs/train")
    parser.add_argument("--resume", action="store_true", help="continue a run that was stopped")
    args = parser.parse_args()

    chosen = [f"algorithm.advantage={args.advantage}", f"run.out={args.out}"]
    if args.advantage != "empg":
        chosen.append("algorithm.advantage_options={}")  # those of the preset are EMPG's
    config = load_config(args.config, [*SHORT, *chosen, *args.set])
    summary = Trainer(config, ProgressView(Console()), resume=args.resume).run()

    for before, after in zip(summary["before"], summary["after"], strict=True):
        print(f"{before['split']}: success {before['success']:.2f} before reinforcement, {after['success']:.2f} after")
    print(f"report: {write_report(Path(config.run.out))}")


if __name__ == "__main__":
    main()
