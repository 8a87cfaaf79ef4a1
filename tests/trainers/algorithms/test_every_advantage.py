"""Properties of every registered advantage: order, copies, unchanged input, and EMPG switched off on top of it."""

import math
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.errors import TrainingError
from empg_gym.trainers.algorithms import ADVANTAGES, Advantages, RolloutSteps, get_advantage
from tests.trainers.algorithms.batches import rows
from tests.trainers.algorithms.full_batches import full_batches, make

NAMES = sorted(ADVANTAGES)
OFF = {"k": 0.0, "zeta": 0.0, "center": False}
quick = settings(max_examples=25)
every_name = pytest.mark.parametrize("name", NAMES)


def discounted(batch, *, slope: float = 0.5) -> Advantages:
    """A user's advantage function whose values differ between steps."""
    values = batch.rewards[batch.trajectory] - slope * batch.step
    return Advantages(values=values, base=values)


def same(left, right):
    """Whether two tensors hold the same bits, up to the sign of zero."""
    return left.dtype == right.dtype and torch.equal(left, right)


def test_the_methods_are_registered():
    assert {"aepo", "dr_grpo", "empg", "grpo", "igpo", "reinforce_pp", "rloo"} <= set(NAMES)


@pytest.mark.parametrize("name", [*NAMES, f"{__name__}:discounted"])
@quick
@given(batch=full_batches())
def test_empg_switched_off_is_the_base_bit_by_bit(name, batch):
    base = get_advantage(name)(batch)
    result = get_advantage("empg", OFF | {"base": name})(batch)
    assert same(result.values, base.values)
    assert same(result.base, base.values)


@pytest.mark.parametrize("name", [*NAMES, f"{__name__}:discounted"])
@quick
@given(batch=full_batches())
def test_aepo_with_no_weight_is_the_base_bit_by_bit(name, batch):
    assert same(get_advantage("aepo", {"a": 0.0, "base": name})(batch).values, get_advantage(name)(batch).values)


@every_name
@quick
@given(batch=full_batches(), random=st.randoms())
def test_the_order_of_steps_changes_no_bit(name, batch, random):
    order = list(range(len(batch.step)))
    random.shuffle(order)
    assert torch.equal(get_advantage(name)(rows(batch, order)).values, get_advantage(name)(batch).values[order])


@every_name
@quick
@given(batch=full_batches(), data=st.data())
def test_copied_steps_change_no_bit_and_no_metric(name, batch, data):
    count = len(batch.step)
    order = [*range(count), *data.draw(st.lists(st.integers(0, count - 1), max_size=6))]
    copied, plain = get_advantage(name)(rows(batch, order)), get_advantage(name)(batch)
    assert torch.equal(copied.values, plain.values[order])
    assert copied.metrics == plain.metrics


@every_name
@quick
@given(batch=full_batches(), shift=st.integers(1, 2**40))
def test_names_of_groups_do_not_matter(name, batch, shift):
    moved = replace(batch, groups=batch.groups.max() - batch.groups + shift)
    torch.testing.assert_close(get_advantage(name)(moved).values, get_advantage(name)(batch).values, atol=1e-12, rtol=0)


@every_name
@quick
@given(batch=full_batches(), other=full_batches())
def test_it_is_a_function_of_the_batch_alone(name, batch, other):
    """No state is kept between batches (AEPO's released code keeps the first batch's entropies), and the input is unchanged."""
    before = {field.name: getattr(batch, field.name) for field in fields(batch)}
    before = {key: value.clone() if isinstance(value, torch.Tensor) else value for key, value in before.items()}
    function = get_advantage(name)
    first = function(batch)
    function(other)
    assert torch.equal(function(batch).values, first.values)
    for key, value in before.items():
        now = getattr(batch, key)
        assert torch.equal(now, value) if isinstance(value, torch.Tensor) else now == value
    assert not first.values.requires_grad
    assert first.values.dtype == torch.float64
    assert all(math.isfinite(item) for item in first.metrics.values())


@every_name
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_reward_that_is_not_finite_is_refused_with_its_trajectory(name, value):
    count = 6
    optional = {
        "success": torch.tensor([True, False, False]),
        "state": torch.arange(count),
        "next_state": torch.arange(count) + 1,
        "valid": torch.ones(count, dtype=torch.bool),
        "gold_logprobs": torch.full((count,), -1.0, dtype=torch.float64),
    }
    with pytest.raises(TrainingError, match=f"trajectory 1 is {value}"):
        get_advantage(name)(make([1.0, value, 0.0], [0, 0, 0], [2, 2, 2], **optional))


@every_name
@quick
@given(batch=full_batches())
def test_penalties_act_on_their_step_alone(name, batch):
    """In methods that modulate nothing, a step's penalty is subtracted unscaled."""
    if name in ("empg", "aepo"):
        return
    with_penalties = get_advantage(name)(batch).values
    without = get_advantage(name)(replace(batch, penalties=None)).values
    torch.testing.assert_close(with_penalties, without - batch.penalties, atol=1e-12, rtol=0)


@every_name
def test_a_batch_without_steps_has_no_advantages(name):
    none = torch.zeros(0, dtype=torch.long)
    empty = RolloutSteps(
        rewards=none.double(), groups=none, trajectory=none, step=none, entropies=none.double(), step_rewards=none.double()
    )
    assert len(get_advantage(name)(empty).values) == 0
