"""EMPG against the hand example, its invariants and its choices (algorithms.md, "Properties" and section (f))."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import RolloutSteps, get_advantage
from empg_gym.trainers.algorithms.empg import modulate, modulate_with_stats

quick = settings(deadline=None, max_examples=60)

HAND = {
    "advantages": torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64),
    "entropies": torch.tensor([0.2, 0.6, 0.4, 1.0], dtype=torch.float64),
    "trajectory_ids": torch.tensor([0, 0, 1, 1]),
    "step_ids": torch.tensor([0, 1, 0, 1]),
}


@st.composite
def batches(draw, min_steps=1):
    """A batch of 1-5 trajectories of 1-6 steps, with one advantage per trajectory."""
    lengths = draw(st.lists(st.integers(min_steps, 6), min_size=1, max_size=5))
    number = st.floats(-3, 3, allow_nan=False, width=32)
    entropy = st.floats(0, 8, allow_nan=False, width=32)
    advantages, entropies, trajectory, step = [], [], [], []
    for index, length in enumerate(lengths):
        value = draw(number)
        for position in range(length):
            advantages.append(value)
            entropies.append(draw(entropy))
            trajectory.append(index)
            step.append(position)
    return (
        torch.tensor(advantages, dtype=torch.float64),
        torch.tensor(entropies, dtype=torch.float64),
        torch.tensor(trajectory),
        torch.tensor(step),
    )


def reference(advantages, entropies, trajectory, step, k=1.0, k_future=1.0, zeta=0.1):
    """The pseudo-code, step by step, in plain Python."""
    low, high = min(entropies), max(entropies)
    normal = [(value - low) / (high - low + 1e-8) for value in entropies]
    weights = [math.exp(-k * value) for value in normal]
    mean = sum(weights) / len(weights)
    clarity = {(i, t): math.exp(-k_future * value) for i, t, value in zip(trajectory, step, normal, strict=True)}
    modulated = [
        a * w / mean + zeta * clarity.get((i, t + 1), 0.0) for a, w, i, t in zip(advantages, weights, trajectory, step, strict=True)
    ]
    shift = sum(modulated) / len(modulated)
    return [value - shift for value in modulated]


def test_hand_example():
    result, stats = modulate_with_stats(**HAND)
    torch.testing.assert_close(result, torch.tensor([1.32212, 0.68981, -1.28608, -0.72586], dtype=torch.float64), atol=6e-6, rtol=0)
    assert stats.scaling_min == pytest.approx(0.53447, abs=1e-5)
    assert stats.scaling_max == pytest.approx(1.45285, abs=1e-5)
    assert stats.clarity_mean == pytest.approx((math.exp(-0.5) + math.exp(-1)) / 2, abs=1e-6)
    assert stats.bonus_mean == pytest.approx(0.1 * (math.exp(-0.5) + math.exp(-1)) / 4, abs=1e-6)
    assert (stats.entropy_min, stats.entropy_max, stats.sign_flips) == (0.2, 1.0, 0.0)


def test_hand_example_before_centring():
    result = modulate(**HAND, center=False)
    torch.testing.assert_close(result, torch.tensor([1.51350, 0.88120, -1.09469, -0.53447], dtype=torch.float64), atol=6e-6, rtol=0)


@quick
@given(batches(), st.floats(0, 3), st.floats(0, 3), st.floats(0, 1))
def test_equals_the_pseudo_code(batch, k, k_future, zeta):
    expected = reference(*(item.tolist() for item in batch), k, k_future, zeta)
    torch.testing.assert_close(modulate(*batch, k=k, k_future=k_future, zeta=zeta), torch.tensor(expected, dtype=torch.float64))


@quick
@given(batches())
def test_scaling_has_mean_one_and_spans_at_most_e_to_the_k(batch):
    _, _, trajectory, step = batch
    ones = torch.ones(len(step), dtype=torch.float64)
    g = modulate(ones, batch[1], trajectory, step, zeta=0.0, center=False, k=1.5)
    assert float(g.mean()) == pytest.approx(1.0, abs=1e-9)
    assert bool((g > 0).all())
    entropies = batch[1]
    spread = float(entropies.max() - entropies.min())
    if spread > 1e-3:
        assert float(g.max() / g.min()) == pytest.approx(math.exp(1.5), rel=1e-4)


@quick
@given(batches())
def test_bonus_lies_between_its_bounds_and_is_absent_after_the_last_step(batch):
    _, entropies, trajectory, step = batch
    zero = torch.zeros(len(step), dtype=torch.float64)
    bonus = modulate(zero, entropies, trajectory, step, zeta=1.0, k_future=2.0, center=False)
    last = torch.tensor([t == int(step[trajectory == i].max()) for i, t in zip(trajectory, step, strict=True)])
    assert torch.equal(bonus[last], zero[last])
    assert bool((bonus[~last] >= math.exp(-2.0) - 1e-12).all() and (bonus[~last] <= 1.0).all())


@quick
@given(batches())
def test_final_advantages_have_mean_zero(batch):
    assert float(modulate(*batch).mean()) == pytest.approx(0.0, abs=1e-12)


@quick
@given(batches(), st.floats(0.1, 100), st.floats(-5, 5))
def test_units_of_entropy_do_not_matter(batch, scale, shift):
    advantages, entropies, trajectory, step = batch
    spread = float(entropies.max() - entropies.min())
    if 0 < spread < 1e-2:
        return
    moved = modulate(advantages, scale * entropies + shift, trajectory, step)
    torch.testing.assert_close(moved, modulate(*batch), atol=1e-4, rtol=1e-4)


@quick
@given(batches())
def test_equal_entropies_scale_by_one_and_give_the_full_bonus(batch):
    advantages, entropies, trajectory, step = batch
    flat = torch.full_like(entropies, 0.7)
    result, stats = modulate_with_stats(advantages, flat, trajectory, step, zeta=0.25, center=False)
    assert (stats.scaling_min, stats.scaling_max) == (1.0, 1.0)
    followed = torch.tensor([t < int(step[trajectory == i].max()) for i, t in zip(trajectory, step, strict=True)])
    torch.testing.assert_close(result, advantages + 0.25 * followed)


def test_single_step_batch_scales_by_one_and_has_no_bonus():
    one = torch.tensor([0])
    result, stats = modulate_with_stats(torch.tensor([2.0]), torch.tensor([0.3]), one, one, center=False)
    assert result.item() == 2.0
    assert (stats.scaling_mean, stats.bonus_mean, stats.clarity_mean) == (1.0, 0.0, 0.0)
    assert modulate(torch.tensor([2.0]), torch.tensor([0.3]), one, one).item() == 0.0


@quick
@given(batches())
def test_switched_off_is_the_base_bit_by_bit(batch):
    for dtype in (torch.float32, torch.float64):
        advantages = batch[0].to(dtype)
        assert torch.equal(modulate(advantages, *batch[1:], k=0.0, zeta=0.0, center=False), advantages)


@quick
@given(batches())
def test_switched_off_but_centred_subtracts_the_mean_over_steps(batch):
    torch.testing.assert_close(modulate(*batch, k=0.0, zeta=0.0), batch[0] - batch[0].mean())


def test_last_steps_lie_below_the_others():
    result = modulate(torch.zeros(6), torch.tensor([0.0, 0.2, 0.9, 0.1, 0.5, 1.0]), torch.tensor([0, 0, 0, 1, 1, 1]), torch.arange(6) % 3)
    assert float(result[[2, 5]].max()) < float(result[[0, 1, 3, 4]].min())


def test_a_group_without_variance_still_prefers_clear_next_steps():
    batch = RolloutSteps(
        rewards=torch.zeros(2),
        groups=torch.tensor([0, 0]),
        trajectory=torch.tensor([0, 0, 1, 1]),
        step=torch.tensor([0, 1, 0, 1]),
        entropies=torch.tensor([0.5, 0.1, 0.5, 0.9]),
        step_rewards=torch.zeros(4),
    )
    advantages = get_advantage("empg")(batch)
    assert torch.equal(advantages.base, torch.zeros(4))
    assert advantages.values[0] > advantages.values[2] > 0


@quick
@given(batches())
def test_scaling_never_flips_a_sign(batch):
    result = modulate(*batch, zeta=0.0, center=False)
    assert torch.equal(result.sign(), batch[0].sign())


@quick
@given(batches(), st.randoms())
def test_the_order_of_rows_changes_no_bit(batch, random):
    order = list(range(len(batch[0])))
    random.shuffle(order)
    assert torch.equal(modulate(*(item[order] for item in batch)), modulate(*batch)[order])


@quick
@given(batches(), st.data())
def test_copied_rows_change_no_bit(batch, data):
    count = len(batch[0])
    copies = data.draw(st.lists(st.integers(0, count - 1), max_size=8))
    order = [*range(count), *copies]
    assert torch.equal(modulate(*(item[order] for item in batch)), modulate(*batch)[order])


@quick
@given(batches())
def test_empty_steps_are_excluded_from_statistics_and_get_zero(batch):
    advantages, entropies, trajectory, step = batch
    padded = (
        torch.cat([advantages, torch.tensor([5.0, -5.0], dtype=torch.float64)]),
        torch.cat([entropies, torch.tensor([math.nan, math.nan], dtype=torch.float64)]),
        torch.cat([trajectory, torch.tensor([0, 99])]),
        torch.cat([step, torch.tensor([50, 0])]),
    )
    result = modulate(*padded)
    assert torch.equal(result[:-2], modulate(*batch))
    assert result[-2:].tolist() == [0.0, 0.0]


def test_a_missing_next_step_gives_no_bonus():
    arguments = (torch.zeros(2), torch.tensor([0.1, 0.1]), torch.tensor([4, 4]))
    assert modulate(*arguments, torch.tensor([0, 2]), center=False).tolist() == [0.0, 0.0]
    assert modulate(*arguments, torch.tensor([1, 2]), center=False).tolist() == pytest.approx([0.1, 0.0])


def test_an_empty_next_step_gives_no_bonus():
    result = modulate(torch.zeros(2), torch.tensor([0.1, math.nan]), torch.tensor([0, 0]), torch.tensor([0, 1]), center=False)
    assert result.tolist() == [0.0, 0.0]


def test_only_empty_steps():
    result, stats = modulate_with_stats(torch.ones(2), torch.full((2,), math.nan), torch.tensor([0, 0]), torch.tensor([0, 1]))
    assert result.tolist() == [0.0, 0.0]
    assert stats.scaling_max == 0.0


def test_sign_flips_are_counted():
    _, stats = modulate_with_stats(torch.tensor([0.01, 3.0]), torch.tensor([0.5, 0.5]), torch.tensor([0, 1]), torch.tensor([0, 0]))
    assert stats.sign_flips == 0.5


def test_statistics_run_over_steps_not_trajectories():
    """A long trajectory weighs more: 7. k = zeta = 0 subtracts the step-weighted mean."""
    result = modulate(
        torch.tensor([1.0, 1.0, 1.0, -1.0]), torch.ones(4), torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 2, 0]), k=0.0, zeta=0.0
    )
    assert result.tolist() == [0.5, 0.5, 0.5, -1.5]


# The released port in ARLArena (step-credit.md, section 9), whose defects are absent here. Its zeta is 0.05.

PORT = [1.303972, 0.701994, -1.292289, -0.713677]


def test_the_port_without_its_defects():
    assert modulate(**HAND, zeta=0.05).tolist() == pytest.approx(PORT, abs=1e-6)


def test_a_row_copied_as_padding_is_excluded_from_statistics():
    """The port counts it: 1.593119, 0.932453, -1.268460, -0.628556."""
    copied = {name: value[[0, 1, 2, 3, 3]] for name, value in HAND.items()}
    assert modulate(**copied, zeta=0.05).tolist() == pytest.approx([*PORT, PORT[-1]], abs=1e-6)


def test_a_fully_masked_row_is_excluded_from_statistics():
    """In the port its entropy is 0, which becomes the minimum: 1.213333, 0.791190, 0, -0.549285."""
    masked = dict(HAND, entropies=torch.tensor([0.2, 0.6, math.nan, 1.0], dtype=torch.float64))
    assert modulate(**masked, zeta=0.05).tolist() == pytest.approx([0.912306, 0.284126, 0.0, -1.196433], abs=1e-6)


def test_arguments_are_checked():
    with pytest.raises(ConfigError, match="vectors of one length"):
        modulate(torch.ones(2), torch.ones(3), torch.zeros(2), torch.zeros(2))
    with pytest.raises(ConfigError, match="at least 0"):
        modulate(**HAND, zeta=-0.1)


def test_trajectory_ids_may_be_any_integers():
    moved = dict(HAND, trajectory_ids=torch.tensor([2**40, 2**40, -7, -7]))
    torch.testing.assert_close(modulate(**moved), modulate(**HAND))
