"""GSPO: one ratio per row or step; step-credit.md section 5."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from tests.trainers.algorithms.losses import evaluate, policy_tokens

NARROW = {"clip_low": 0.003, "clip_high": 0.004}
token_lists = st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-2, 2), st.integers(0, 3)), min_size=1, max_size=10)


def reference(tokens, low, high):
    """The formula, token by token, in plain Python: loss and gradient with equal weights of 1."""
    ids = [number for _, _, number in tokens]
    s = {number: math.exp(sum(x for x, _, i in tokens if i == number) / ids.count(number)) for number in set(ids)}
    loss, slopes = 0.0, []
    for _, A, number in tokens:
        ratio = s[number]
        free, bound = ratio * A, min(max(ratio, 1 - low), 1 + high) * A
        loss -= min(free, bound)
        slopes.append(0.0 if bound < free else -ratio * A)
    return loss, slopes


@pytest.mark.parametrize(
    ("log_ratios", "advantage", "loss", "kept"),
    [
        ([0.02, -0.01, 0.005, 0.001], 1.0, -1.004, False),
        ([0.02, -0.01, 0.005, 0.001], -1.0, 1.004008, True),
        ([-0.004] * 4, -1.0, 0.997, False),
        ([-0.004] * 4, 1.0, -0.996008, True),
    ],
)
def test_worked_example(log_ratios, advantage, loss, kept):
    tokens = policy_tokens(log_ratios, [advantage] * 4, weights=[0.25] * 4)
    value, slope, clipped = evaluate("gspo", tokens, **NARROW)
    ratio = math.exp(sum(log_ratios) / 4)
    assert value == pytest.approx(loss, abs=1e-6)
    assert slope == pytest.approx([-ratio * advantage / 4 if kept else 0.0] * 4)
    assert clipped == [not kept] * 4


@given(token_lists)
def test_equals_the_formula_by_rows(tokens):
    log_ratios, advantages, rows = zip(*tokens, strict=True)
    loss, slopes = reference(tokens, 0.1, 0.2)
    given = policy_tokens(log_ratios, advantages, row=rows)
    value, slope, _ = evaluate("gspo", given, clip_low=0.1, clip_high=0.2)
    assert value == pytest.approx(loss, abs=1e-12)
    near = any(abs(math.exp(sum(x for x, _, i in tokens if i == n) / rows.count(n)) - b) < 1e-9 for n in set(rows) for b in (0.9, 1.2))
    if not near:
        assert slope == pytest.approx(slopes, abs=1e-12)


@given(token_lists)
def test_steps_are_sequences_by_option(tokens):
    log_ratios, advantages, ids = zip(*tokens, strict=True)
    by_row = evaluate("gspo", policy_tokens(log_ratios, advantages, row=ids))
    by_step = evaluate("gspo", policy_tokens(log_ratios, advantages, step=ids), sequence="step")
    assert by_step == by_row


def test_one_row_of_two_steps_has_one_ratio_or_two():
    tokens = policy_tokens([math.log(2.0), math.log(2.0), -math.log(2.0), -math.log(2.0)], [1.0] * 4, step=[0, 0, 1, 1])
    assert evaluate("gspo", tokens)[1] == pytest.approx([-1.0] * 4)
    assert evaluate("gspo", tokens, sequence="step")[1] == pytest.approx([0.0, 0.0, -0.5, -0.5])


def test_the_mean_counts_tokens_whatever_their_weight():
    uneven = policy_tokens([0.6, 0.0], [1.0, 1.0], weights=[0.9, 0.1])
    assert evaluate("gspo", uneven, clip_high=1.0)[0] == pytest.approx(-math.exp(0.3))


def test_the_gradient_of_a_token_is_the_sequence_ratio_times_its_own_score():
    """sg(s) pi / sg(pi): no gradient flows through the mean, so a token with weight 0 has none."""
    tokens = policy_tokens([0.2, -0.2, 0.6], [1.0, 1.0, 1.0], weights=[1.0, 0.0, 2.0])
    assert evaluate("gspo", tokens, clip_high=1.0)[1] == pytest.approx([-math.exp(0.2), 0.0, -2 * math.exp(0.2)])


def test_micro_batches_of_whole_rows_add_up():
    log_ratios, advantages, row = [0.1, 0.4, -0.3, 0.2, 0.0], [1.0, 1.0, -1.0, -1.0, 0.5], [0, 0, 1, 1, 2]
    whole = evaluate("gspo", policy_tokens(log_ratios, advantages, row=row, weights=[0.2] * 5))[0]
    parts = [
        evaluate("gspo", policy_tokens(log_ratios[cut], advantages[cut], row=row[cut], weights=[0.2] * len(row[cut])))[0]
        for cut in (slice(0, 2), slice(2, 5))
    ]
    assert sum(parts) == pytest.approx(whole, abs=1e-15)


def test_the_dual_clip_is_off_by_default():
    tokens = policy_tokens([math.log(4.0)], [-1.0])
    assert evaluate("gspo", tokens)[:2] == (pytest.approx(4.0), [pytest.approx(4.0)])
    assert evaluate("gspo", tokens, dual_clip=3.0) == (pytest.approx(3.0), [0.0], [True])


def test_a_ratio_beyond_the_bound_stays_finite_and_has_no_gradient():
    value, slope, clipped = evaluate("gspo", policy_tokens([500.0, -500.0], [-1.0, 1.0], row=[0, 1]))
    assert value == pytest.approx(math.exp(10.0))
    assert slope == pytest.approx([0.0, 0.0], abs=1e-200)
    assert clipped == [True, False]


def test_options_are_checked():
    with pytest.raises(ConfigError, match="unknown sequence of gspo 'rows'; did you mean 'row'"):
        evaluate("gspo", policy_tokens([0.0], [1.0]), sequence="rows")
    with pytest.raises(ConfigError, match=r"needs PolicyTokens.step"):
        evaluate("gspo", policy_tokens([0.0], [1.0]), sequence="step")
    with pytest.raises(ConfigError, match="expected 0 <= clip_low"):
        evaluate("gspo", policy_tokens([0.0], [1.0]), clip_low=1.0)
