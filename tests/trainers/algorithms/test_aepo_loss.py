"""AEPO's policy loss: PPO's value, with the gradient factors of algorithms.md (f) 4."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import PolicyTokens, get_policy_loss
from tests.trainers.algorithms.losses import evaluate, policy_tokens

ratios = st.lists(st.tuples(st.floats(-3, 3), st.floats(-2, 2)), min_size=1, max_size=8)


def factor(ratio, advantage, low=0.2, high=0.2, dual=3.0):
    """The paper's F: the gradient is F A grad log pi."""
    if advantage > 0:
        return 1 + high if ratio > 1 + high else ratio
    if ratio < 1 - low or (dual is not None and ratio > dual):
        return 0.0
    return ratio


@pytest.mark.parametrize(("ratio", "advantage", "F"), [(1.5, 1, 1.2), (1.5, -1, 1.5), (0.5, -1, 0), (0.5, 1, 0.5), (4, -1, 0), (1, 1, 1)])
def test_gradient_factors_of_the_specification(ratio, advantage, F):
    _, slope, clipped = evaluate("aepo", policy_tokens([math.log(ratio)], [advantage]))
    assert slope == [pytest.approx(-F * advantage, abs=1e-12)]
    assert clipped == [F == 0]


@given(ratios)
def test_gradients_equal_the_factors(pairs):
    pairs = [(ratio, A) for ratio, A in pairs if min(abs(math.exp(ratio) - bound) for bound in (0.8, 1.2, 3.0)) > 1e-9 and abs(A) > 1e-6]
    if not pairs:
        return
    logs, advantages = zip(*pairs, strict=True)
    _, slope, _ = evaluate("aepo", policy_tokens(logs, advantages))
    assert slope == pytest.approx([-factor(math.exp(x), A) * A for x, A in pairs], abs=1e-12)


@given(ratios, st.sampled_from([None, 3.0]))
def test_the_value_is_that_of_ppo(pairs, dual_clip):
    tokens = policy_tokens(*zip(*pairs, strict=True))
    assert evaluate("aepo", tokens, dual_clip=dual_clip)[0] == pytest.approx(
        evaluate("ppo_clip", tokens, dual_clip=dual_clip)[0], abs=1e-12
    )


@given(ratios)
def test_it_differs_from_ppo_only_above_the_upper_bound(pairs):
    """Everything but tokens with A > 0 above the bound has PPO's gradient."""
    tokens = policy_tokens(*zip(*pairs, strict=True))
    _, aepo, kept = evaluate("aepo", tokens)
    _, ppo, cut = evaluate("ppo_clip", tokens)
    for (log_ratio, A), ours, theirs, is_kept, is_cut in zip(pairs, aepo, ppo, kept, cut, strict=True):
        if A > 0 and log_ratio > math.log(1.2):
            assert (ours, theirs, is_kept) == (pytest.approx(-1.2 * A), 0.0, False)
        else:
            assert (ours, is_kept) == (pytest.approx(theirs, abs=1e-12), is_cut)


def test_no_entropy_gate():
    """ARLArena's port detaches the bound where z(H) > 0, which removes the gradient of tokens of high entropy."""
    logs, advantages = [math.log(2.0)] * 4, [1.0] * 4
    _, flat, _ = evaluate("aepo", policy_tokens(logs, advantages))
    _, spread, clipped = evaluate("aepo", policy_tokens(logs, advantages, entropies=[0.0, 0.1, 3.0, 9.0]))
    assert spread == flat == pytest.approx([-1.2] * 4)
    assert clipped == [False] * 4


def test_clip_higher_sets_the_kept_gradient():
    assert evaluate("aepo", policy_tokens([math.log(2.0)], [1.0]), clip_high=0.28)[1] == [pytest.approx(-1.28)]


def test_without_the_dual_clip():
    assert evaluate("aepo", policy_tokens([math.log(4.0)], [-1.0]), dual_clip=None)[1] == [pytest.approx(4.0)]


def test_micro_batches_add_up():
    """The released code normalises entropies inside the loss, so its result depends on how the mini-batch is split."""
    logs, advantages, entropies = [0.1, 0.9, -0.7, 1.4], [1.0, 0.5, -1.0, -2.0], [0.1, 2.0, 0.4, 5.0]
    whole = evaluate("aepo", policy_tokens(logs, advantages, entropies=entropies, weights=[0.25] * 4))[0]
    parts = [
        evaluate("aepo", policy_tokens(logs[cut], advantages[cut], entropies=entropies[cut], weights=[0.25] * 2))[0]
        for cut in (slice(0, 2), slice(2, 4))
    ]
    assert sum(parts) == pytest.approx(whole, abs=1e-15)


def test_extreme_ratios_stay_finite():
    logprobs = torch.tensor([-200.0, 0.0, 0.0], requires_grad=True)
    tokens = PolicyTokens(
        logprobs=logprobs,
        old_logprobs=torch.tensor([0.0, -200.0, -200.0]),
        advantages=torch.tensor([1.0, 1.0, -1.0]),
        weights=torch.ones(3),
        row=torch.zeros(3, dtype=torch.long),
        entropies=torch.zeros(3),
    )
    result = get_policy_loss("aepo")(tokens)
    result.loss.backward()
    assert torch.isfinite(result.loss)
    assert logprobs.grad.tolist() == pytest.approx([0.0, -1.2, 0.0])


def test_ranges_are_checked():
    with pytest.raises(ConfigError, match="expected 0 <= clip_low"):
        evaluate("aepo", policy_tokens([0.0], [1.0]), clip_high=-0.1)
