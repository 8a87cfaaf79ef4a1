"""Dr. GRPO, RLOO and REINFORCE++ against plain references."""

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import get_advantage
from tests.trainers.algorithms.full_batches import full_batches, make

graded = full_batches(rewards=st.floats(-2, 10, allow_subnormal=False))


def members(batch, trajectory):
    """The rewards of a trajectory's group, its own first."""
    own = int(batch.groups[trajectory])
    others = [float(r) for i, (r, g) in enumerate(zip(batch.rewards, batch.groups, strict=True)) if int(g) == own and i != trajectory]
    return [float(batch.rewards[trajectory]), *others]


def expected(batch, rule):
    """Spread `rule(own, others)` over the steps and subtract the penalties."""
    values = [rule(own, others) for own, *others in (members(batch, index) for index in range(len(batch.rewards)))]
    steps = zip(batch.trajectory.tolist(), batch.penalties.tolist(), strict=True)
    return torch.tensor([values[index] - penalty for index, penalty in steps], dtype=torch.float64)


def close(actual, wanted):
    torch.testing.assert_close(actual, wanted, atol=1e-9, rtol=1e-9)


@given(graded)
def test_dr_grpo(batch):
    close(get_advantage("dr_grpo")(batch).values, expected(batch, lambda own, others: own - statistics.fmean([own, *others])))


@given(graded)
def test_rloo(batch):
    close(get_advantage("rloo")(batch).values, expected(batch, lambda own, others: own - statistics.fmean(others) if others else 0.0))


@given(graded)
def test_reinforce_pp(batch):
    rewards = batch.rewards.tolist()
    mean = statistics.fmean(rewards)
    spread = statistics.stdev(rewards) if len(rewards) > 1 else 0.0
    if 0 < spread < 1e-3:
        return
    close(get_advantage("reinforce_pp")(batch).values, expected(batch, lambda own, _: (own - mean) / (spread + 1e-6)))


@given(graded)
def test_reinforce_pp_with_the_baseline_of_the_group(batch):
    centred = [own - statistics.fmean([own, *others]) for own, *others in (members(batch, i) for i in range(len(batch.rewards)))]
    spread = statistics.stdev(centred) if len(centred) > 1 else 0.0
    if 0 < spread < 1e-3:
        return
    wanted = expected(batch, lambda own, others: (own - statistics.fmean([own, *others])) / (spread + 1e-6))
    close(get_advantage("reinforce_pp", {"baseline": "group"})(batch).values, wanted)


def test_by_hand():
    batch = make([1, 0, 0, 0.5, 0.5], [0, 0, 0, 1, 1], [1, 2, 1, 1, 1])
    assert get_advantage("dr_grpo")(batch).values.tolist() == pytest.approx([2 / 3, -1 / 3, -1 / 3, -1 / 3, 0, 0])
    assert get_advantage("rloo")(batch).values.tolist() == pytest.approx([1, -0.5, -0.5, -0.5, 0, 0])
    spread = (2 / 3 / 4) ** 0.5
    group = get_advantage("reinforce_pp", {"baseline": "group"})(batch).values.tolist()
    assert group == pytest.approx([2 / 3 / spread, *[-1 / 3 / spread] * 3, 0, 0], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "options"), [("dr_grpo", {}), ("rloo", {}), ("reinforce_pp", {"baseline": "group"}), ("reinforce_pp", {})]
)
def test_equal_rewards_and_groups_of_one_are_exactly_zero(name, options):
    """0.1 has no exact mean in binary, so a plain difference would leave a rounding error, which a division then blows up."""
    values = get_advantage(name, options)(make([0.1] * 8, [0, 0, 0, 0, 0, 0, 0, 1], [1] * 8)).values
    assert values.tolist() == [0.0] * 8


def test_an_equal_group_stays_exactly_zero_next_to_others():
    """The centred rewards of the second group add up to a rounding error, which must not reach the first."""
    rewards = [0.3, 0.3, 0.3, 0.1, 0.7, 0.2]
    assert sum(reward - sum(rewards[3:]) / 3 for reward in rewards[3:]) != 0
    values = get_advantage("reinforce_pp", {"baseline": "group"})(make(rewards, [0, 0, 0, 1, 1, 1], [1] * 6)).values
    assert values[:3].tolist() == [0.0] * 3
    assert values[4] > 0


def test_reinforce_pp_without_a_baseline_sees_groups_that_failed():
    values = get_advantage("reinforce_pp")(make([0, 0, 1, 1], [0, 0, 1, 1], [1] * 4)).values
    assert values.tolist() == pytest.approx([-(0.75**0.5)] * 2 + [0.75**0.5] * 2, rel=1e-5)


def test_statistics_count_a_trajectory_once():
    for name in ("dr_grpo", "rloo", "reinforce_pp"):
        short, long = (get_advantage(name)(make([1, 0, 0], [0, 0, 0], lengths)).values for lengths in ([1, 1, 1], [1, 9, 4]))
        assert [float(long[0]), float(long[1]), float(long[-1])] == short.tolist()


@pytest.mark.parametrize("name", ["dr_grpo", "rloo", "reinforce_pp"])
def test_placements_of_the_penalty(name):
    batch = make([1, 0], [0, 0], [2, 2], penalties=torch.tensor([0, 0, 0, 0.1], dtype=torch.float64))
    shared = get_advantage(name, {"penalty": "reward"})(batch).values
    plain = get_advantage(name)(make([1, -0.1], [0, 0], [2, 2])).values
    assert torch.equal(shared, plain)
    with pytest.raises(ConfigError, match="needs a statistic over steps"):
        get_advantage(name, {"penalty": "return"})(batch)


def test_options_are_checked():
    with pytest.raises(ConfigError, match="unknown baseline of reinforce_pp 'groups'; did you mean 'group'"):
        get_advantage("reinforce_pp", {"baseline": "groups"})(make([1.0], [0], [1]))
