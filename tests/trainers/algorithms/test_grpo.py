"""GRPO's group statistics and the registries."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import (
    ADVANTAGES,
    Advantages,
    RolloutSteps,
    get_advantage,
    get_policy_loss,
    register_advantage,
)
from empg_gym.trainers.algorithms.grpo import advantages
from tests.trainers.algorithms.batches import batch_x, batches, close, episode_reference, quick, rows, steps_of, values


def batch(rewards, groups, lengths):
    steps = [(index, position) for index, length in enumerate(lengths) for position in range(length)]
    return RolloutSteps(
        rewards=torch.tensor(rewards),
        groups=torch.tensor(groups),
        trajectory=torch.tensor([index for index, _ in steps]),
        step=torch.tensor([position for _, position in steps]),
        entropies=torch.rand(len(steps), generator=torch.Generator().manual_seed(0)),
        step_rewards=torch.zeros(len(steps)),
    )


def test_normalised_in_the_group_with_the_unbiased_deviation():
    rewards = torch.tensor([1.0, 0.0, 0.0, 1.0, 3.0], dtype=torch.float64)
    groups = torch.tensor([7, 7, 7, 2, 2])
    result = advantages(rewards, groups)
    first = (rewards[:3] - rewards[:3].mean()) / (rewards[:3].std() + 1e-6)
    second = (rewards[3:] - rewards[3:].mean()) / (rewards[3:].std() + 1e-6)
    torch.testing.assert_close(result, torch.cat([first, second]))


def test_statistics_use_one_value_per_trajectory():
    short = get_advantage("grpo")(batch([1.0, 0.0, 0.0], [0, 0, 0], [1, 1, 1]))
    long = get_advantage("grpo")(batch([1.0, 0.0, 0.0], [0, 0, 0], [1, 9, 4]))
    assert long.values[0] == short.values[0]
    assert torch.equal(long.values[1:10], short.values[1].expand(9))


def test_equal_rewards_are_exactly_zero():
    assert advantages(torch.full((7,), 0.1), torch.zeros(7, dtype=torch.long)).tolist() == [0.0] * 7


def test_group_of_one_is_its_reward():
    assert advantages(torch.tensor([2.0]), torch.tensor([0])).item() == pytest.approx(2.0, rel=1e-5)


def test_without_scaling():
    assert advantages(torch.tensor([1.0, 0.0]), torch.tensor([0, 0]), scale=False).tolist() == [0.5, -0.5]


def test_order_of_trajectories_does_not_matter():
    rewards, groups = torch.rand(12, dtype=torch.float64), torch.arange(12) % 3
    order = torch.randperm(12)
    torch.testing.assert_close(advantages(rewards[order], groups[order]), advantages(rewards, groups)[order])


def test_empg_switched_off_is_grpo_bit_by_bit():
    given = batch([1.0, 0.0, 0.3, 0.0], [0, 0, 1, 1], [3, 2, 5, 1])
    off = get_advantage("empg", {"k": 0.0, "zeta": 0.0, "center": False})(given)
    assert torch.equal(off.values, get_advantage("grpo")(given).values)
    assert torch.equal(off.values, off.base)


def test_empg_reports_its_statistics():
    metrics = get_advantage("empg")(batch([1.0, 0.0], [0, 0], [3, 2])).metrics
    assert {"empg/scaling_min", "empg/scaling_max", "empg/bonus_mean", "empg/sign_flips"} <= metrics.keys()


def test_empg_modulates_any_registered_advantage():
    """What later methods need: a new base is one decorated function, in another file."""

    @register_advantage("twice-the-reward")
    def twice(given: RolloutSteps, *, factor: float = 2.0) -> Advantages:
        values = factor * given.rewards[given.trajectory]
        return Advantages(values=values, base=values)

    try:
        given = batch([1.0, 0.0], [0, 0], [2, 2])
        off = {"k": 0.0, "zeta": 0.0, "center": False, "base": "twice-the-reward", "base_options": {"factor": 4.0}}
        assert get_advantage("empg", off)(given).values.tolist() == [4.0, 4.0, 0.0, 0.0]
        with pytest.raises(ConfigError, match="is already registered"):
            register_advantage("twice-the-reward")(lambda given: given)
    finally:
        ADVANTAGES._functions.pop("twice-the-reward")


def test_unknown_names_and_options_name_the_nearest():
    with pytest.raises(ConfigError, match="unknown advantage 'empgg'; did you mean 'empg'"):
        get_advantage("empgg")
    with pytest.raises(ConfigError, match="has no option 'zet'; did you mean 'zeta'"):
        get_advantage("empg", {"zet": 1})
    with pytest.raises(ConfigError, match="did you mean 'ppo_clip'"):
        get_policy_loss("ppo_clop")


def test_worked_example():
    close(values("grpo", batch_x()), [1.154700] * 3 + [-0.577350, -0.677350, -0.577350] + [-0.577350] * 3, atol=1e-6)
    close(values("grpo", batch_x(), scale=False), [6.666667] * 3 + [-3.333333, -3.433333, -3.333333] + [-3.333333] * 3, atol=1e-6)


def test_worked_example_with_step_row_statistics():
    """verl-agent's default: R = 10 in one step and 0 in four."""
    given = batch([10.0, 0.0], [0, 0], [1, 4])
    close(values("grpo", given, cross_steps=True), [1.788854] + [-0.447214] * 4, atol=1e-6)
    close(values("grpo", given), [0.707107] + [-0.707107] * 4, atol=1e-6)
    released = {"cross_steps": True, "penalty": "return"}
    close(values("grpo", batch_x(), **released), [1.333305] * 3 + [-0.663325, -0.683291] + [-0.663325] * 4, atol=1e-6)
    expected = [6.677778] * 3 + [-3.322222, -3.422222] + [-3.322222] * 4
    close(values("grpo", batch_x(), **released, scale=False), expected, atol=1e-6)


def test_penalties_folded_into_the_reward():
    expected = [1.154657] * 3 + [-0.585946] * 3 + [-0.568712] * 3
    close(values("grpo", batch_x(), penalty="reward"), expected, atol=1e-6)


def test_a_penalty_lowers_its_own_step_and_no_other():
    failed = replace(batch_x(), rewards=torch.zeros(3, dtype=torch.float64))
    assert values("grpo", failed).tolist() == [0, 0, 0, 0, -0.1, 0, 0, 0, 0]
    blown_up = values("grpo", failed, cross_steps=True, penalty="return")
    assert blown_up[4] < -2 and (blown_up[[0, 1, 2, 3, 5, 6, 7, 8]] > 0.3).all()


def test_a_penalty_of_one_step_needs_a_score_of_one_step():
    with pytest.raises(ConfigError, match="needs cross_steps = true"):
        values("grpo", batch_x(), penalty="return")


@quick
@given(batches(), st.booleans(), st.booleans(), st.sampled_from(["advantage", "return", "reward"]))
def test_equals_the_formula(given_batch, scale, cross_steps, penalty):
    if penalty == "return" and not cross_steps:
        return
    steps = steps_of(given_batch)
    expected = [episode_reference(steps, row, scale, cross_steps, penalty) - (row["p"] if penalty == "advantage" else 0.0) for row in steps]
    close(values("grpo", given_batch, scale=scale, cross_steps=cross_steps, penalty=penalty), expected)


@quick
@given(batches(), st.data(), st.booleans())
def test_copied_and_permuted_rows_change_nothing(given_batch, data, cross_steps):
    order = data.draw(st.permutations([*range(len(given_batch.step)), 0]))
    plain = values("grpo", given_batch, cross_steps=cross_steps)
    assert torch.equal(values("grpo", rows(given_batch, order), cross_steps=cross_steps), plain[torch.tensor(order)])
