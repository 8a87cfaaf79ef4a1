"""AEPO's entropy-aware advantage, and the defects of its released code."""

import math
import statistics
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.algorithms import get_advantage
from tests.trainers.algorithms.full_batches import full_batches, make


def reference(batch, a, by_group):
    """The formula in plain Python."""
    base = get_advantage("grpo")(batch).values.tolist()
    entropies, groups = batch.entropies.tolist(), batch.groups[batch.trajectory].tolist()
    result = []
    for value, entropy, group in zip(base, entropies, groups, strict=True):
        peers = [other for other, its in zip(entropies, groups, strict=True) if not by_group or its == group]
        spread = statistics.stdev(peers) if len(peers) > 1 and len(set(peers)) > 1 else 1.0
        result.append(value * (1 + a * (entropy - statistics.fmean(peers)) / spread))
    return torch.tensor(result, dtype=torch.float64)


@given(full_batches(), st.floats(0, 1), st.sampled_from(["batch", "group"]))
def test_equals_the_formula(batch, a, over):
    entropies = batch.entropies.round(decimals=3)
    batch = replace(batch, entropies=entropies)
    values = get_advantage("aepo", {"a": a, "statistics": over})(batch).values
    torch.testing.assert_close(values, reference(batch, a, over == "group"), atol=1e-9, rtol=1e-9)


def test_by_hand():
    """Entropies of mean 0.5 and deviation 0.5."""
    result = get_advantage("aepo")(make([1, 0], [0, 0], [2, 1], [0.0, 0.5, 1.0]))
    assert result.values.tolist() == pytest.approx([0.7071 * 0.8, 0.7071, -0.7071 * 1.2], abs=1e-4)
    assert result.metrics["aepo/factor_min"] == pytest.approx(0.8)
    assert result.metrics["aepo/factor_max"] == pytest.approx(1.2)
    assert result.metrics["aepo/sign_flips"] == 0.0


def test_uncertain_steps_weigh_more_and_with_empg_less():
    batch = make([1, 0], [0, 0], [2, 2], [0.1, 0.9, 0.1, 0.9])
    aepo = get_advantage("aepo")(batch).values.abs()
    empg = get_advantage("empg", {"zeta": 0.0, "center": False})(batch).values.abs()
    assert aepo[1] > aepo[0]
    assert empg[1] < empg[0]


@given(full_batches(), st.floats(0.1, 50), st.floats(-3, 3))
def test_units_of_entropy_do_not_matter(batch, scale, shift):
    batch = replace(batch, entropies=batch.entropies.round(decimals=2))
    moved = replace(batch, entropies=scale * batch.entropies + shift)
    if len(set(batch.entropies.tolist())) > 1:
        torch.testing.assert_close(get_advantage("aepo")(moved).values, get_advantage("aepo")(batch).values, atol=1e-8, rtol=1e-8)


def test_equal_entropies_change_nothing():
    batch = make([1, 0], [0, 0], [2, 3], [0.1] * 5)
    result = get_advantage("aepo")(batch)
    assert torch.equal(result.values, result.base)


def test_a_sign_flip_by_an_outlier_is_counted():
    batch = make([1, 0], [0, 0], [60, 60], [1.0] * 119 + [-200.0])
    metrics = get_advantage("aepo", {"a": 0.5})(batch).metrics
    assert metrics["aepo/factor_min"] < 0
    assert metrics["aepo/sign_flips"] == pytest.approx(1 / 120)


# Defects of the released code


def test_missing_entropies_are_an_error():
    with pytest.raises(TrainingError, match="none of the 5 steps of this batch has one"):
        get_advantage("aepo")(make([1, 0], [0, 0], [2, 3], [math.nan] * 5))


def test_statistics_do_not_carry_over_to_the_next_batch():
    first, second = make([1, 0], [0, 0], [2, 3], [9, 8, 7, 6, 5]), make([1, 0], [0, 0], [2, 3], [0.1, 0.2, 0.3, 0.4, 0.5])
    used, fresh = get_advantage("aepo"), get_advantage("aepo")
    used(first)
    assert torch.equal(used(second).values, fresh(second).values)


def test_an_empty_step_is_excluded_from_statistics_and_keeps_its_base():
    whole = make([1, 0], [0, 0], [3, 2], [0.1, 0.4, 0.9, math.nan, 0.2])
    result = get_advantage("aepo")(whole)
    others = torch.tensor([0.1, 0.4, 0.9, 0.2], dtype=torch.float64)
    z = (others - others.mean()) / others.std()
    torch.testing.assert_close(result.values[[0, 1, 2, 4]], result.base[[0, 1, 2, 4]] * (1 + 0.2 * z))
    assert result.values[3] == result.base[3]


def test_an_infinite_entropy_is_refused_with_its_step():
    with pytest.raises(TrainingError, match="the entropy of step 1 of trajectory 1 is inf"):
        get_advantage("aepo")(make([1, 0], [0, 0], [2, 2], [0.1, 0.4, 0.9, math.inf]))


def test_options_are_checked():
    batch = make([1, 0], [0, 0], [2, 2])
    with pytest.raises(ConfigError, match="unknown statistics of aepo 'groups'; did you mean 'group'"):
        get_advantage("aepo", {"statistics": "groups"})(batch)
    with pytest.raises(ConfigError, match="a must be finite and at least 0, not -1"):
        get_advantage("aepo", {"a": -1})(batch)
