"""GRPO's group statistics and the registries."""

import pytest
import torch

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


def test_statistics_take_one_value_a_trajectory_however_long_it_is():
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


def test_empg_reports_what_it_did():
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
