"""The parity check of a generator that has a copy of the weights."""

from __future__ import annotations

import io

import pytest
import torch
from rich.console import Console

from empg_gym.errors import TrainingError
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.generate.parity import TOKENS, check_parity
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.run.bundle import ModelBundle
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config
from tests.trainers.generate.worlds import tiny_model


@pytest.fixture
def tiny():
    return tiny_model()


def scores(policy):
    return lambda rows: policy.score_rows(rows).logprobs


def probe(model, tokenizer, temperature=1.0, **options):
    return HFGenerator(model, tokenizer, **options).with_sampling(Sampling(temperature=temperature), TOKENS)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_equal_weights_pass(tiny, temperature):
    model, tokenizer = tiny
    assert check_parity(probe(model, tokenizer, temperature), scores(Policy(model, temperature=temperature)), 3) < 1e-5


def test_a_copy_in_bfloat16_passes_with_its_own_tolerance(tiny):
    model, tokenizer = tiny
    generator = probe(model, tokenizer, dtype=torch.bfloat16)
    assert (generator.shares_weights, generator.dtype) == (False, torch.bfloat16)
    assert 1e-5 < check_parity(generator, scores(Policy(model, compute_dtype=torch.bfloat16)), 0) < 0.2


def test_stale_weights_and_another_temperature_are_found(tiny):
    model, tokenizer = tiny
    generator = probe(model, tokenizer, dtype=torch.bfloat16)
    policy = scores(Policy(model))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    with pytest.raises(TrainingError, match=r"weights \(version 5\): expected .* at most 0\.2 nats .*received .*rollout\.backend"):
        check_parity(generator, policy, 5)
    generator.update_weights(model.named_parameters(), 5)
    check_parity(generator, policy, 5)
    with pytest.raises(TrainingError, match="does not have the training model's weights"):
        check_parity(probe(model, tokenizer, temperature=0.3), policy, 5)


def test_damaged_weights_are_found(tiny):
    model, tokenizer = tiny
    generator = probe(model, tokenizer, dtype=torch.bfloat16)
    with torch.no_grad():
        generator.model.get_input_embeddings().weight[:] = 0
    with pytest.raises(TrainingError, match="does not have the training model's weights"):
        check_parity(generator, scores(Policy(model)), 1)


def test_a_run_checks_every_copy_and_stops_at_the_first_that_fails(tmp_path, monkeypatch):
    """The check follows each publication of a generator with its own weights, and never one that shares the model's."""
    checked = []
    monkeypatch.setattr("empg_gym.trainers.run.bundle.check_parity", lambda generator, score, version: checked.append(version))
    for name, dtype, expected in (("shared", "float32", []), ("copied", "bfloat16", [0, 0, 1, 2])):
        checked.clear()
        config = corridor_config(str(tmp_path / name), run={"dtype": dtype}, rl={"steps": 2, "minibatches": 1}, eval={"splits": []})
        Trainer(config, ProgressView(Console(file=io.StringIO()))).run()
        assert checked == expected


def test_publish_raises_when_the_copy_went_wrong(tmp_path, monkeypatch):
    bundle = ModelBundle(corridor_config(str(tmp_path / "run"), run={"dtype": "bfloat16"}))
    bundle.publish(0)
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    monkeypatch.setattr(HFGenerator, "update_weights", lambda self, named_tensors, version: None)
    with pytest.raises(TrainingError, match="version 1"):
        bundle.publish(1)
