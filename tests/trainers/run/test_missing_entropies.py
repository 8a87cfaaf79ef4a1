"""A backend that reports log-probabilities but no entropies, as vLLM does: they come from the trainer's scoring pass."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from empg_gym.errors import TrainingError
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import read_trajectories
from tests.trainers.corridor import corridor_config
from tests.trainers.generate.worlds import play, tiny_model

RL = {"steps": 2, "minibatches": 1, "reward": "score", "entropy_coef": 0.01, "optimizer": {"lr": 1e-2}}


def train(folder, **rl):
    shown = io.StringIO()
    algorithm = {"advantage": "empg", "advantage_options": {"zeta": 0.1}}
    config = corridor_config(str(folder), rl={**RL, **rl}, algorithm=algorithm, eval={"splits": []})
    Trainer(config, ProgressView(Console(file=shown, width=200))).run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    steps = [step for item in read_trajectories(folder / "trajectories.jsonl") for step in item.steps]
    return [line for line in lines if line["phase"] == "rl" and line["step"]], steps, shown.getvalue()


def without_entropies(monkeypatch):
    respond = HFGenerator.respond

    async def silent(self, row, prompt):
        return dataclasses.replace(await respond(self, row, prompt), entropies=None)

    monkeypatch.setattr(HFGenerator, "respond", silent)


@pytest.mark.parametrize("old", ["recompute", "rollout"])
def test_they_come_from_the_scoring_pass(tmp_path, monkeypatch, old):
    reference, given, _ = train(tmp_path / "given")
    without_entropies(monkeypatch)
    lines, steps, shown = train(tmp_path / "missing", old_logprobs=old)
    for line, expected in zip(lines, reference, strict=True):
        for name in ("entropy/step_mean", "advantage/std", "loss/policy", "train/score", "rollout/logprob_gap_mean"):
            assert line[name] == pytest.approx(expected[name], abs=1e-5)
    assert len(steps) == len(given) > 0
    for step, other in zip(steps, given, strict=True):
        assert step.response == other.response
        assert step.entropies == pytest.approx(other.entropies, abs=1e-3) and step.entropy == pytest.approx(other.entropy, abs=1e-3)
    assert ("the generator left values out" in shown) == (old == "rollout")


def test_the_failure_of_an_engine_ends_a_rollout_and_is_not_retried(monkeypatch):
    generator = HFGenerator(*tiny_model())
    calls = []

    async def failing(self, row, prompt):
        calls.append(1)
        raise TrainingError("the engine has failed")

    monkeypatch.setattr(HFGenerator, "respond", failing)
    with pytest.raises(TrainingError, match="the engine has failed"):
        play(generator, 4)
    assert 1 <= len(calls) <= 4
