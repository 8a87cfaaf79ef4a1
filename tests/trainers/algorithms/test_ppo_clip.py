"""The clipped loss: values, gradients and the dual clip, token by token."""

import math

import pytest
import torch

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import PolicyTokens, get_policy_loss
from tests.trainers.algorithms.losses import evaluate, policy_tokens


def gradient(ratio, advantage, **options):
    """Return (loss, gradient with respect to the log-probability, clipped) of one token with this ratio."""
    loss, slope, clipped = evaluate("ppo_clip", policy_tokens([math.log(ratio)], [advantage]), **options)
    return loss, slope[0], clipped[0]


@pytest.mark.parametrize(
    ("ratio", "advantage", "loss", "slope", "clipped"),
    [
        (1.0, 1.0, -1.0, -1.0, False),
        (1.1, 2.0, -2.2, -2.2, False),
        (1.5, 1.0, -1.2, 0.0, True),
        (1.5, -1.0, 1.5, 1.5, False),
        (0.5, -1.0, 0.8, 0.0, True),
        (0.5, 1.0, -0.5, -0.5, False),
        (4.0, -1.0, 3.0, 0.0, True),
        (4.0, 0.0, 0.0, 0.0, False),
    ],
)
def test_a_token(ratio, advantage, loss, slope, clipped):
    value, derivative, cut = gradient(ratio, advantage)
    assert (value, derivative, cut) == (pytest.approx(loss), pytest.approx(slope), clipped)


def test_clip_higher_allows_larger_ratios():
    assert gradient(1.25, 1.0, clip_high=0.28)[1] == pytest.approx(-1.25)
    assert gradient(1.25, 1.0)[1] == 0.0


def test_dual_clip_can_be_switched_off():
    assert gradient(4.0, -1.0, dual_clip=None)[1] == pytest.approx(4.0)


def test_ranges_are_checked():
    with pytest.raises(ConfigError, match="expected 0 <= clip_low"):
        gradient(1.0, 1.0, clip_low=1.5)


def test_extreme_ratios_stay_finite():
    logprobs = torch.tensor([-200.0, 0.0, 0.0], requires_grad=True)
    tokens = PolicyTokens(
        logprobs=logprobs,
        old_logprobs=torch.tensor([0.0, -200.0, -200.0]),
        advantages=torch.tensor([1.0, 1.0, 0.0]),
        weights=torch.ones(3),
        row=torch.zeros(3, dtype=torch.long),
        entropies=torch.zeros(3),
    )
    result = get_policy_loss("ppo_clip", {})(tokens)
    result.loss.backward()
    assert torch.isfinite(result.loss)
    assert torch.isfinite(logprobs.grad).all()
