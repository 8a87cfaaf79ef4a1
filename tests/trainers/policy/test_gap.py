"""The gap between rollout and training, its noise floor and its correction by truncated importance sampling."""

from __future__ import annotations

import dataclasses
import io
import json
import math

import pytest
import torch
from rich.console import Console

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.data.batch import make_batch
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.policy.gap import gap_metrics, importance_weights
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.run import iteration
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config
from tests.trainers.generate.worlds import play

GAP = ("rollout/logprob_gap_mean", "rollout/logprob_gap_max", "rollout/logprob_gap_kl")
FLOOR = ("rollout/noise_floor_mean", "rollout/noise_floor_max", "rollout/noise_floor_kl")


@pytest.fixture(scope="module")
def played():
    shape = FromScratch(layers=2, width=32, heads=2, init_std=0.3)
    model, tokenizer = load_model(from_scratch=shape, tokenizer_texts=["go to the shelf and take the book", "you see a desk"] * 9)
    return model, make_batch(play(HFGenerator(model, tokenizer, max_response_tokens=8), 12))


def shifted(batch, shift):
    return dataclasses.replace(batch, rollout_logprobs=batch.rollout_logprobs + shift)


def test_the_gap_of_equal_weights_is_of_the_size_of_the_noise_floor(played):
    model, batch = played
    policy = Policy(model)
    metrics = gap_metrics(policy, batch, policy.score_rows(batch.rows).logprobs)
    assert metrics["rollout/logprob_gap_tokens"] == len(batch.step_of_token)
    assert 0 < metrics["rollout/logprob_gap_mean"] <= metrics["rollout/logprob_gap_max"] < 1e-4
    assert all(0 <= metrics[name] < 1e-4 for name in (*GAP, *FLOOR))


@pytest.mark.parametrize("scored_by", ["trainer", "generator"])
def test_a_shift_of_the_rollout_shows_in_the_gap_whoever_scores_and_not_in_the_floor(played, scored_by):
    model, batch = played
    policy, batch = Policy(model), shifted(batch, 0.5)
    old = policy.score_rows(batch.rows).logprobs if scored_by == "trainer" else batch.rollout_logprobs
    metrics = gap_metrics(policy, batch, old)
    assert metrics["rollout/logprob_gap_mean"] == pytest.approx(0.5, abs=1e-4)
    assert metrics["rollout/logprob_gap_kl"] == pytest.approx(math.exp(-0.5) + 0.5 - 1, abs=1e-4), "KL(rollout || train)"
    assert metrics["rollout/noise_floor_max"] < 1e-4
    sampled = metrics["rollout/logprob_gap_tokens"]
    assert sampled == len(batch.step_of_token) if scored_by == "trainer" else 0 < sampled < len(batch.step_of_token)


class BatchDependent(Policy):
    """Its log-probabilities depend on the number of rows in a micro-batch, as those of a bfloat16 model on a GPU do."""

    def score(self, batch, **options):
        scores = super().score(batch, **options)
        return dataclasses.replace(scores, logprobs=scores.logprobs + (0.01 if len(batch.starts) > 2 else 0.0))


def test_the_floor_is_what_two_batchings_differ_by(played):
    model, batch = played
    policy = BatchDependent(model)
    metrics = gap_metrics(policy, batch, policy.score_rows(batch.rows).logprobs)
    assert metrics["rollout/noise_floor_mean"] == pytest.approx(0.01, abs=1e-4)
    assert metrics["rollout/noise_floor_kl"] == pytest.approx(0.01**2 / 2, rel=0.05)
    assert metrics["rollout/logprob_gap_mean"] == pytest.approx(0.01, abs=1e-4), "not above the floor: rounding"


def test_a_forward_pass_in_bfloat16_shows_in_the_gap(played):
    model, batch = played
    policy = Policy(model, compute_dtype=torch.bfloat16)
    assert 1e-4 < gap_metrics(policy, batch, policy.score_rows(batch.rows).logprobs)["rollout/logprob_gap_mean"] < 0.3


def test_tokens_without_rollout_values_are_not_compared(played):
    model, batch = played
    given = batch.rollout_logprobs.clone()
    given[::2] = math.nan
    batch = dataclasses.replace(batch, rollout_logprobs=given)
    policy = Policy(model)
    old = policy.score_rows(batch.rows).logprobs
    assert gap_metrics(policy, batch, old)["rollout/logprob_gap_tokens"] == len(given) // 2
    weights, _ = importance_weights(batch, old, 2.0)
    assert weights.isfinite().all() and torch.equal(weights[::2], torch.ones_like(weights[::2]))
    nothing = gap_metrics(policy, dataclasses.replace(batch, rollout_logprobs=torch.full_like(given, math.nan)), old)
    assert set(nothing) == set(FLOOR)


def test_importance_weights_are_the_truncated_ratio(played):
    _, batch = played
    log_ratio = torch.linspace(-3, 3, len(batch.step_of_token))
    weights, metrics = importance_weights(batch, batch.rollout_logprobs + log_ratio, 2.0)
    torch.testing.assert_close(weights, log_ratio.exp().clamp(max=2.0), atol=1e-5, rtol=1e-5)
    assert metrics["rollout/tis_truncated_share"] == pytest.approx(float((log_ratio > math.log(2)).double().mean()), abs=0.02)
    assert metrics["rollout/tis_weight_mean"] == pytest.approx(float(weights.mean()))


# In a training run


def train(folder, run=None, **rl):
    rl = {"steps": 1, "minibatches": 1, "reward": "score", "optimizer": {"lr": 1e-2}, **rl}
    config = corridor_config(str(folder), rl=rl, eval={"splits": []}, run={"out": str(folder), "threads": 1, "device": "cpu"} | (run or {}))
    trainer = Trainer(config, ProgressView(Console(file=io.StringIO())))
    trainer.run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return trainer, [line for line in lines if line["phase"] == "rl" and line["step"]]


@pytest.mark.parametrize("old", ["recompute", "rollout"])
def test_a_run_measures_the_gap_in_every_step_and_mode(tmp_path, old):
    _, lines = train(tmp_path / "run", steps=2, old_logprobs=old)
    for line in lines:
        assert set(GAP) | set(FLOOR) <= set(line)
        assert line["rollout/logprob_gap_tokens"] > 0
        assert "rollout/tis_weight_mean" not in line


def test_the_correction_of_a_constant_gap_scales_the_policy_loss_and_its_gradient(tmp_path, monkeypatch):
    _, plain = train(tmp_path / "plain", kl_coef=0.5)
    make = iteration.make_batch
    monkeypatch.setattr(iteration, "make_batch", lambda *given, **options: shifted(make(*given, **options), -math.log(1.5)))
    _, corrected = train(tmp_path / "corrected", kl_coef=0.5, rollout_correction="tis")
    _, cut = train(tmp_path / "cut", kl_coef=0.5, rollout_correction="tis", rollout_correction_cap=1.25)
    for lines, factor in ((corrected, 1.5), (cut, 1.25)):
        assert lines[0]["rollout/tis_weight_mean"] == pytest.approx(factor, abs=1e-3)
        assert lines[0]["loss/grad_norm"] == pytest.approx(factor * plain[0]["loss/grad_norm"], rel=1e-3), "KL has no gradient yet"
        assert lines[0]["rollout/logprob_gap_mean"] == pytest.approx(math.log(1.5), abs=1e-3)
    assert (corrected[0]["rollout/tis_truncated_share"], cut[0]["rollout/tis_truncated_share"]) == (0, 1)


def test_a_correction_needs_the_trainers_logprobs(tmp_path):
    with pytest.raises(ConfigError, match=r"rollout_correction.*old_logprobs = .recompute"):
        corridor_config(str(tmp_path), rl={"steps": 1, "old_logprobs": "rollout", "rollout_correction": "tis"})


def test_rollout_logprobs_of_another_number_type_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"needs a generator in float32.*bfloat16.*rollout_correction"):
        train(tmp_path / "run", run={"dtype": "bfloat16"}, old_logprobs="rollout")
    _, lines = train(tmp_path / "corrected", run={"dtype": "bfloat16"}, rollout_correction="tis")
    assert lines[0]["rollout/logprob_gap_mean"] > 1e-5
    assert abs(lines[0]["rollout/tis_weight_mean"] - 1) < 0.1
