"""The hash of the weights that reinforcement starts from."""

from __future__ import annotations

import io

from rich.console import Console

from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.run.checkpoint import weights_hash
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config


def test_the_summary_has_a_hash_of_the_weights_after_the_warm_start(tmp_path):
    summaries = []
    for name in ("one", "two"):
        config = corridor_config(str(tmp_path / name), rl={"steps": 2}, run={"seed": 3})
        summaries.append(Trainer(config, ProgressView(Console(file=io.StringIO()))).run())
    start, _ = load_model(str(tmp_path / "one" / "checkpoints" / "rl-000000"))
    end, _ = load_model(str(tmp_path / "one" / "checkpoints" / "rl-000002"))
    assert summaries[0]["start_weights"] == summaries[1]["start_weights"] == weights_hash(start) != weights_hash(end)
    assert summaries[0]["cpu_seconds"] > 0
