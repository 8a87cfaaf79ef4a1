"""Generated folders of several training runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.report.samples import training_run


def training_family(folder: Path, seeds: dict[str, tuple[int, ...]], episodes: int = 8) -> list[Path]:
    """Write training runs of several methods and seeds; `solved` of a run is a task in three, shifted by its seed, two with "empg"."""
    runs = []
    for method, numbers in seeds.items():
        for seed in numbers:
            run = training_run(folder / f"{method}-{seed}", episodes)
            edit(run, algorithm={"advantage": method}, run={"seed": seed, "out": str(run)})
            lines = [json.loads(line) for line in (run / "outcomes.jsonl").read_text().splitlines()]
            for line in lines[2:]:
                line["success"] = [int((number + seed) % 3 < (2 if method == "empg" else 1)) for number in range(96)]
            (run / "outcomes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            curve = {step: min(1.0, step / 60 + seed / 10) for step in range(0, 61, 10)}
            metrics = [{"phase": "rl", "step": step, "seconds": step, "train/success": value} for step, value in curve.items()]
            (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
            runs.append(run)
    return runs


def edit(run: Path, /, **sections: Any) -> None:
    """Replace sections of a run's configuration."""
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(config | sections))
