"""The demo's configuration on the released ALFWorld games: success before and after reinforcement.

    python ../shared/data/alfworld/export.py DATA --split train && python ../shared/data/alfworld/export.py DATA --split valid_seen
    python -m benchmarks.train_official DATA

Runs `empg-gym train configs/alfworld-tiny.toml --set env.data=DATA`: the games have their full size, the episodes are as short as in the
demo. `--set` overrides more keys; the result file contains the whole configuration.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.demo_alfworld import CONFIG, ROOT, run
from benchmarks.machine import machine
from empg_gym.trainers.config.file import load_config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folder", type=Path, default=Path("runs/official"))
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "alfworld_official_tiny.json")
    args = parser.parse_args()
    overrides = [f'env.data="{args.data}"', *args.overrides]
    summary = run(args.folder, overrides)
    resolved = load_config(CONFIG, overrides).model_dump(mode="json")
    resolved["run"].pop("out")
    resolved["env"]["data"] = "the released games, json_2.1.1"
    result = {
        "what": "success on held-out released ALFWorld games after the warm start and after reinforcement, one seed",
        "summary": summary,
        "config": resolved,
        "machine": machine("torch", "transformers"),
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: [(item["split"], item["success"]) for item in summary[key]] for key in ("before", "after")}))


if __name__ == "__main__":
    main()
