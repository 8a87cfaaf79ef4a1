"""Metrics of an update: what the losses were, how far the policy went, whether old values had to be computed."""

import dataclasses
import io
import json
import math

import pytest
import torch
from rich.console import Console

from empg_gym.trainers.algorithms import PolicyLoss, PolicyTokens
from empg_gym.trainers.algorithms.ppo_clip import ppo_clip
from empg_gym.trainers.policy import update
from empg_gym.trainers.policy.scorer import Scorer
from empg_gym.trainers.run import iteration
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config


def train(folder, algorithm=None, **rl):
    shown = io.StringIO()
    rl = {"steps": 2, "minibatches": 1, "reward": "score", "optimizer": {"lr": 1e-2}, **rl}
    config = corridor_config(str(folder), rl=rl, algorithm=algorithm or {}, eval={"splits": []})
    Trainer(config, ProgressView(Console(file=shown, width=200))).run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == "rl" and line["step"]], shown.getvalue()


recorded_losses: list[float] = []


def recorded_loss(tokens):
    result = ppo_clip(tokens)
    recorded_losses.append(float(result.loss.detach()))
    return result


def test_the_policy_loss_is_reported_without_the_kl_term(tmp_path):
    algorithm = {"policy_loss": f"{__name__}:recorded_loss"}
    lines, _ = train(tmp_path / "run", algorithm=algorithm, kl_coef=0.5, epochs=2)
    first, second = recorded_losses[-4:-2], recorded_losses[-2:]
    reported = [line["loss/policy"] for line in lines]
    assert reported == pytest.approx([sum(first) / 2, sum(second) / 2], abs=1e-12), "one micro-batch per epoch"
    assert max(map(abs, reported)) > 1e-6
    for line in lines:
        assert line["loss/kl"] == pytest.approx(0.5 * line["loss/kl_reference"], rel=1e-4), "token-mean"
        assert line["loss/kl"] > 1e-6


seen_entropies: list[torch.Tensor | None] = []


def entropies_seen(tokens):
    seen_entropies.append(tokens.entropies)
    return ppo_clip(tokens)


def entropies_declared(tokens):
    return entropies_seen(tokens)


entropies_declared.needs = ("entropies",)


@pytest.mark.parametrize(
    ("loss", "coefficient", "passes"),
    [
        ("entropies_seen", 0.0, {"values", "none"}),
        ("entropies_declared", 0.0, {"values"}),
        ("entropies_seen", 0.1, {"values", "gradient"}),
    ],
)
def test_entropies_are_computed_only_for_losses_that_use_them(tmp_path, monkeypatch, loss, coefficient, passes):
    """The values are those of the old policy's pass; the reference pass never computes them."""
    seen_entropies.clear()
    modes = []
    forward = Scorer.forward
    monkeypatch.setattr(Scorer, "forward", lambda self, *given: modes.append((torch.is_grad_enabled(), given[4])) or forward(self, *given))
    train(tmp_path / "run", algorithm={"policy_loss": f"{__name__}:{loss}"}, entropy_coef=coefficient, kl_coef=0.1, steps=1)
    (update_mode,) = {mode for gradient, mode in modes[-1:] if gradient}
    scoring = [mode for gradient, mode in modes if not gradient]
    assert scoring.count("values") == 1, "the old policy's pass; those of the reference and of the gap have none"
    assert {"values", update_mode} == passes
    assert (seen_entropies[-1] is not None) == (loss == "entropies_declared")


def test_kl_old_is_the_divergence_of_the_old_policy_from_the_new():
    """Two tokens that the old policy draws with probability 1/2 each: the mean over them is the divergence itself."""
    old, new = torch.tensor([0.5, 0.5]).log(), torch.tensor([0.2, 0.8]).log()
    tokens = PolicyTokens(
        logprobs=new, old_logprobs=old, advantages=torch.zeros(2), weights=torch.ones(2), row=torch.zeros(2), entropies=torch.zeros(2)
    )
    tally = update._Tally()
    tally.add(tokens, PolicyLoss(loss=torch.tensor(0.0), clipped=torch.tensor([True, False])))
    expected = 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    reported = tally.metrics(1, with_reference=False, with_entropy=False)
    assert reported == {"loss/policy": 0.0, "loss/clip_share": 0.5, "loss/kl_old": pytest.approx(expected, abs=1e-6)}


def test_values_that_the_generator_leaves_out_are_counted_and_reported_once(tmp_path, monkeypatch):
    whole, shown = train(tmp_path / "whole", old_logprobs="rollout")
    assert [line["rollout/unscored_tokens"] for line in whole] == [0, 0]
    assert "left values out" not in shown

    def holes(*given, **options):
        batch = make_batch(*given, **options)
        batch.rollout_logprobs[0] = math.nan
        entropies = batch.rollout_entropies.clone()
        entropies[:2] = math.nan
        return dataclasses.replace(batch, rollout_entropies=entropies)

    make_batch = iteration.make_batch
    monkeypatch.setattr(iteration, "make_batch", holes)
    lines, shown = train(tmp_path / "holes", old_logprobs="rollout")
    assert [line["rollout/unscored_tokens"] for line in lines] == [2, 2]
    assert shown.count("the generator left values out") == 1
    assert lines[0]["entropy/token_mean"] == pytest.approx(whole[0]["entropy/token_mean"], abs=1e-4)
    monkeypatch.undo()
    recomputed, _ = train(tmp_path / "recomputed")
    assert "rollout/unscored_tokens" not in recomputed[0]


def test_the_reference_is_the_policy_itself_as_long_as_the_weights_are_equal(tmp_path):
    config = corridor_config(
        str(tmp_path / "run"),
        run={"dtype": "bfloat16"},
        rl={"steps": 1, "minibatches": 1, "kl_coef": 0.1, "reward": "score"},
        eval={"splits": []},
    )
    Trainer(config, ProgressView(Console(file=io.StringIO()))).run()
    last = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["loss/kl_reference"] == 0
