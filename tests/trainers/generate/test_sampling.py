"""The sampler against float64 in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.generate.sampling import Sampling, log_probabilities, sample


def reference(logits: np.ndarray, temperature: float) -> np.ndarray:
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(-1, keepdims=True)
    return scaled - np.log(np.exp(scaled).sum(-1, keepdims=True))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([0.3, 1.0, 2.0]), st.sampled_from([0.1, 3.0, 30.0]), st.integers(1, 300))
def test_ids_logprobs_and_entropies(seed, temperature, scale, vocabulary):
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(7, vocabulary)) * scale).astype(np.float32)
    uniforms = np.append(rng.random(5), [0.0, np.nextafter(1.0, 0.0)])
    drawn, logps, entropy = sample(torch.from_numpy(logits), torch.from_numpy(uniforms)[:, None], Sampling(temperature=temperature))
    ids, logp = drawn[:, 0], logps[:, 0]
    exact = reference(logits, temperature)
    np.testing.assert_allclose(logp.numpy(), exact[np.arange(7), ids], atol=1e-4)
    np.testing.assert_allclose(entropy.numpy(), -(np.exp(exact) * exact).sum(-1), atol=1e-5)
    cumulative = np.cumsum(np.exp(exact), -1)
    at, token = np.arange(7), ids.numpy()
    assert (cumulative[at, token] >= uniforms - 1e-5).all()
    assert (cumulative[at, token] - np.exp(exact[at, token]) <= uniforms + 1e-5).all()
    assert np.isfinite(logp.numpy()).all()


def test_samples_follow_the_distribution():
    logits = torch.tensor([[0.0, 1.0, 2.0, -3.0, 0.5]])
    uniforms = torch.from_numpy((np.arange(20_000) + 0.5) / 20_000)
    ids, *_ = sample(logits, uniforms[None], Sampling(temperature=0.8))
    shares = np.bincount(ids[0].numpy(), minlength=5) / 20_000
    np.testing.assert_allclose(shares, np.exp(reference(logits.numpy(), 0.8))[0], atol=1e-4)


def test_impossible_tokens_are_never_drawn():
    logits = torch.full((2, 6), -torch.inf)
    logits[:, 2] = 1.0
    uniforms = torch.tensor([[0.0, 0.5], [1 - 2**-53, 0.999]], dtype=torch.float64)
    ids, logp, entropy = sample(logits, uniforms, Sampling())
    assert ids.tolist() == [[2, 2], [2, 2]]
    assert logp.tolist() == [[0.0, 0.0]] * 2 and entropy.tolist() == [0.0] * 2


def test_top_k_and_top_p_cut_and_renormalise():
    logits = torch.log(torch.tensor([[0.4, 0.3, 0.2, 0.1]]))
    kept = log_probabilities(logits, Sampling(top_k=2)).exp()
    torch.testing.assert_close(kept, torch.tensor([[4 / 7, 3 / 7, 0.0, 0.0]]))
    kept = log_probabilities(logits, Sampling(top_p=0.65)).exp()
    torch.testing.assert_close(kept, torch.tensor([[4 / 7, 3 / 7, 0.0, 0.0]]))
    torch.testing.assert_close(log_probabilities(logits, Sampling(top_p=0.01)).exp(), torch.tensor([[1.0, 0, 0, 0]]))
    _, logp, entropy = sample(logits, torch.tensor([[0.9]], dtype=torch.float64), Sampling(top_k=2))
    torch.testing.assert_close(logp.exp(), torch.tensor([[3 / 7]]))
    torch.testing.assert_close(entropy, torch.distributions.Categorical(torch.tensor([[4 / 7, 3 / 7]])).entropy())


def test_greedy():
    logits = torch.tensor([[0.0, 2.0, 1.0]])
    ids, logp, entropy = sample(logits, torch.tensor([[0.999]], dtype=torch.float64), Sampling(temperature=0.0))
    assert ids.tolist() == [[1]]
    exact = reference(logits.numpy(), 1.0)
    np.testing.assert_allclose(logp[:, 0].numpy(), exact[:, 1], atol=1e-6)
    np.testing.assert_allclose(entropy.numpy(), -(np.exp(exact) * exact).sum(-1), atol=1e-6)


def test_bfloat16_logits_are_summed_in_float32():
    logits = torch.randn(3, 5000, dtype=torch.bfloat16)
    _, logp, entropy = sample(logits, torch.rand(3, 1, dtype=torch.float64), Sampling())
    exact = reference(logits.float().numpy(), 1.0)
    assert logp.dtype == entropy.dtype == torch.float32
    np.testing.assert_allclose(entropy.numpy(), -(np.exp(exact) * exact).sum(-1), atol=1e-5)


@pytest.mark.parametrize("wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_p": 1.5}, {"top_k": -1}])
def test_values_out_of_range(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Sampling(**wrong)
