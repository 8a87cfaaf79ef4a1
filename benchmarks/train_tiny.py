"""A tiny configuration from warm start to evaluation, one seed: success and score before and after reinforcement.

python -m benchmarks.train_tiny configs/webshop-tiny.toml
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from rich.console import Console

from benchmarks.machine import machine
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--folder", type=Path, default=None, help="run folder; default: run.out of the configuration")
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    args = parser.parse_args()
    overrides = [*args.overrides, *([] if args.folder is None else [f'run.out="{args.folder}"'])]
    config = load_config(args.config, overrides)
    out = Path(config.run.out)
    if not (out / "summary.json").is_file():
        Trainer(config, ProgressView(Console(width=140)), resume=(out / "checkpoints" / "latest").is_file()).run()
    resolved = config.model_dump(mode="json")
    resolved["run"].pop("out")
    result = {
        "what": f"{args.config.name}: held-out tasks after the warm start and after reinforcement, one seed",
        "summary": json.loads((out / "summary.json").read_text()),
        "config": resolved,
        "machine": machine("torch", "transformers"),
    }
    path = RESULTS / f"{args.config.stem.replace('-', '_')}.json"
    path.write_text(json.dumps(result, indent=2) + "\n")
    print(path)


if __name__ == "__main__":
    main()
