"""EMPG and groups: the shift caused by centring, the options against it, and non-finite values."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.algorithms import RolloutSteps, get_advantage
from empg_gym.trainers.algorithms.empg import modulate
from tests.trainers.algorithms.batches import rows
from tests.trainers.algorithms.full_batches import make


@st.composite
def grouped(draw):
    """Groups of 1-4 trajectories with rewards 0 or 1 and 1-6 steps."""
    sizes = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    groups = [group for group, size in enumerate(sizes) for _ in range(size)]
    rewards = [float(draw(st.booleans())) for _ in groups]
    lengths = [draw(st.integers(1, 6)) for _ in groups]
    entropies = [draw(st.floats(0, 4)) for _ in range(sum(lengths))]
    return make(rewards, groups, lengths, entropies)


LONG_FAILURES = make([1, 0, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2], [2, 6, 6, 5, 2, 3], [0.5] * 24)
"""A mixed, an all-fail and an all-success group; failures are longer."""


def mean_over(values, batch, groups):
    return float(values[torch.isin(batch.groups[batch.trajectory], torch.tensor(groups))].mean())


def test_long_failures_shift_groups_without_a_signal_upwards():
    """A = 0 in groups 1 and 2, and centring alone raises their steps by the mean that long failures lower."""
    result = get_advantage("empg", {"zeta": 0.0})(LONG_FAILURES)
    assert bool((result.base[LONG_FAILURES.trajectory >= 2] == 0).all())
    expected = 4 * math.sqrt(0.5) / 24  # two steps of +0.7071 and six of -0.7071, over 24 steps
    assert result.metrics["empg/shift_failed"] == pytest.approx(expected, abs=1e-5)
    assert result.metrics["empg/shift_solved"] == pytest.approx(expected, abs=1e-5)


@given(grouped(), st.sampled_from(["step", "trajectory", False]), st.sampled_from(["keep", "drop"]))
def test_shifts_are_means_of_the_final_advantage(batch, center, uninformative):
    result = get_advantage("empg", {"center": center, "uninformative": uninformative})(batch)
    parts = {"shift": [], "shift_failed": [], "shift_solved": [], "shift_mixed": []}
    for index, trajectory in enumerate(batch.trajectory.tolist()):
        rewards = batch.rewards[batch.groups == batch.groups[trajectory]].tolist()
        kind = "mixed" if len(rewards) == 1 or len(set(rewards)) > 1 else "solved" if rewards[0] > 0 else "failed"
        for name in ("shift", f"shift_{kind}"):
            parts[name].append(float(result.values[index]))
    for name, values in parts.items():
        if values:
            assert result.metrics[f"empg/{name}"] == pytest.approx(sum(values) / len(values), abs=1e-12)
        else:
            assert f"empg/{name}" not in result.metrics


def test_shifts_count_a_copied_step_once():
    metrics = get_advantage("empg")(LONG_FAILURES).metrics
    copied = get_advantage("empg")(rows(LONG_FAILURES, [*range(24), 8, 8, 9])).metrics
    assert copied == pytest.approx(metrics, abs=1e-15)


def test_success_is_a_flag():
    """With a format reward an all-fail group may have positive rewards, and penalties make those of successes negative."""
    flags = torch.tensor([False, False, True, True])
    batch = make([0.1, 0.1, -0.5, -0.5], [0, 0, 1, 1], [3, 3, 1, 1], success=flags)
    metrics = get_advantage("empg", {"zeta": 0.0, "center": False})(batch).metrics
    assert metrics.keys() >= {"empg/shift_failed", "empg/shift_solved"}
    shifted = get_advantage("empg", {"base": "grpo"})(batch)
    assert shifted.metrics["empg/shift_failed"] == pytest.approx(mean_over(shifted.values, batch, [0]))
    assert shifted.metrics["empg/shift_solved"] == pytest.approx(mean_over(shifted.values, batch, [1]))


# Trajectory-weighted centring


def test_centring_by_trajectory_counts_each_trajectory_once():
    values = modulate(
        torch.tensor([1.0, 1.0, 1.0, -1.0]),
        torch.ones(4),
        torch.tensor([0, 0, 0, 1]),
        torch.tensor([0, 1, 2, 0]),
        k=0.0,
        zeta=0.0,
        center="trajectory",
    )
    assert values.tolist() == [1.0, 1.0, 1.0, -1.0]


@given(grouped())
def test_after_centring_by_trajectory_the_mean_over_trajectories_is_zero(batch):
    values = get_advantage("empg", {"center": "trajectory"})(batch).values
    means = [float(values[batch.trajectory == index].mean()) for index in range(len(batch.rewards))]
    assert sum(means) == pytest.approx(0.0, abs=1e-9)


@given(grouped())
def test_both_ways_of_centring_differ_by_a_constant(batch):
    by_step, by_trajectory = (get_advantage("empg", {"center": center})(batch).values for center in ("step", "trajectory"))
    difference = by_step - by_trajectory
    torch.testing.assert_close(difference, difference[:1].expand_as(difference), atol=1e-12, rtol=0)
    assert torch.equal(by_step, get_advantage("empg", {"center": True})(batch).values)


def test_centring_by_trajectory_leaves_no_shift_where_entropies_are_equal():
    result = get_advantage("empg", {"zeta": 0.0, "center": "trajectory"})(LONG_FAILURES)
    assert result.metrics["empg/shift_failed"] == pytest.approx(0.0, abs=1e-12)
    assert torch.allclose(result.values, result.base)


def test_centring_by_trajectory_ignores_order_and_copies():
    order = torch.tensor([5, 5, *reversed(range(24)), 0])
    args = [get_advantage("grpo")(LONG_FAILURES).values, LONG_FAILURES.entropies, LONG_FAILURES.trajectory, LONG_FAILURES.step]
    assert torch.equal(modulate(*(item[order] for item in args), center="trajectory"), modulate(*args, center="trajectory")[order])


# Dropping groups without a signal


@given(grouped())
def test_dropped_groups_are_excluded_from_statistics_and_get_zero(batch):
    """The result equals EMPG on the batch that DAPO's filter would leave."""
    result = get_advantage("empg", {"uninformative": "drop"})(batch).values
    keep_T = torch.tensor(
        [int((batch.groups == group).sum()) == 1 or len(set(batch.rewards[batch.groups == group].tolist())) > 1 for group in batch.groups]
    )
    keep_S = keep_T[batch.trajectory]
    assert bool((result[~keep_S] == 0).all())
    if keep_S.any():
        renumber = keep_T.long().cumsum(0) - 1
        filtered = RolloutSteps(
            rewards=batch.rewards[keep_T],
            groups=batch.groups[keep_T],
            trajectory=renumber[batch.trajectory[keep_S]],
            step=batch.step[keep_S],
            entropies=batch.entropies[keep_S],
            step_rewards=batch.step_rewards[keep_S],
        )
        assert torch.equal(result[keep_S], get_advantage("empg")(filtered).values)


def test_dropping_is_off_by_default():
    kept, default = get_advantage("empg", {"uninformative": "keep"})(LONG_FAILURES), get_advantage("empg")(LONG_FAILURES)
    assert torch.equal(kept.values, default.values)
    dropped = get_advantage("empg", {"uninformative": "drop"})(LONG_FAILURES)
    assert (dropped.metrics["empg/shift_failed"], dropped.metrics["empg/shift_solved"]) == (0.0, 0.0)
    assert kept.metrics["empg/shift_failed"] > 0.1


# The ablations of the paper


@given(grouped())
def test_scaling_alone_and_bonus_alone_add_up(batch):
    """A_mod = A g + zeta f: the two ablations share the base A."""
    off = {"center": False}
    full, scaling, bonus = (get_advantage("empg", off | options)(batch).values for options in ({}, {"zeta": 0.0}, {"k": 0.0}))
    base = get_advantage("grpo")(batch).values
    torch.testing.assert_close(full, scaling + (bonus - base), atol=1e-12, rtol=0)


# Values that are not finite


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_entropy_is_refused_with_its_step(value):
    batch = make([1, 0], [0, 0], [2, 3])
    entropies = batch.entropies.clone()
    entropies[3] = value
    for options in ({}, {"k": 0.0, "zeta": 0.0, "center": False}, {"uninformative": "drop"}):
        with pytest.raises(TrainingError, match=rf"the entropy of step 1 of trajectory 1 is {value}"):
            get_advantage("empg", options)(replace(batch, entropies=entropies))


def test_an_infinite_entropy_is_refused_in_a_dropped_group_too():
    entropies = LONG_FAILURES.entropies.clone()
    entropies[10] = math.inf
    with pytest.raises(TrainingError, match="the entropy of step 2 of trajectory 2 is inf"):
        get_advantage("empg", {"uninformative": "drop"})(replace(LONG_FAILURES, entropies=entropies))


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_an_advantage_that_is_not_finite_is_refused_with_its_step(value):
    advantages = torch.tensor([1.0, value, -1.0])
    with pytest.raises(TrainingError, match=rf"the advantage of step 4 of trajectory 7 is {value}; expected a finite number"):
        modulate(advantages, torch.ones(3), torch.tensor([7, 7, 8]), torch.tensor([3, 4, 0]))


def test_one_empty_step_leaves_the_others_finite():
    batch = make([1, 0], [0, 0], [2, 3])
    entropies = batch.entropies.clone()
    entropies[1] = math.nan
    result = get_advantage("empg")(replace(batch, entropies=entropies))
    assert bool(result.values.isfinite().all())
    assert all(math.isfinite(value) for value in result.metrics.values())


# Options


def test_options_are_checked():
    batch = make([1, 0], [0, 0], [2, 3])
    with pytest.raises(ConfigError, match="unknown center 'steps'; did you mean 'step'"):
        get_advantage("empg", {"center": "steps"})(batch)
    with pytest.raises(ConfigError, match="unknown treatment of uninformative groups 'dropp'; did you mean 'drop'"):
        get_advantage("empg", {"uninformative": "dropp"})(batch)
    with pytest.raises(ConfigError, match="finite and at least 0"):
        get_advantage("empg", {"zeta": math.inf})(batch)
