"""The statistics that the advantage methods share."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.algorithms import get_advantage
from empg_gym.trainers.algorithms.credit import (
    context_ids,
    discounted_returns,
    normalise,
    pair_ids,
    previous_steps,
    state_groups,
    steps_to_go,
    success_rewards,
    visits,
)
from empg_gym.trainers.algorithms.distinct import distinct_steps
from empg_gym.trainers.algorithms.penalties import step_penalties
from tests.trainers.algorithms.batches import batch_x, batches, close, doubles, quick, returns_reference, rows, steps_of, z

numbers = st.lists(st.tuples(st.floats(-100, 100, width=32), st.integers(0, 3)), min_size=1, max_size=20)


@quick
@given(numbers, st.booleans(), st.sampled_from([0, 1]))
def test_normalise_equals_the_formula(pairs, scale, ddof):
    x, ids = zip(*pairs, strict=True)
    expected = [z(value, [other for other, j in pairs if j == i], scale, ddof) for value, i in pairs]
    torch.testing.assert_close(normalise(doubles(x), torch.tensor(ids), scale=scale, ddof=ddof), doubles(expected), atol=1e-9, rtol=1e-6)


def test_equal_values_normalise_to_exactly_zero():
    assert normalise(torch.full((7,), 0.1, dtype=torch.float64), torch.zeros(7, dtype=torch.long)).tolist() == [0.0] * 7


def test_a_single_value():
    ids = torch.tensor([5, -2])
    assert normalise(doubles([3.0, 4.0]), ids).tolist() == [0.0, 0.0]
    close(normalise(doubles([3.0, 4.0]), ids, singleton="keep"), [3 / (1 + 1e-6), 4 / (1 + 1e-6)])
    assert normalise(doubles([3.0, 4.0]), ids, singleton="keep", scale=False).tolist() == [3.0, 4.0]


def test_returns_are_discounted_from_the_end_of_each_trajectory():
    close(discounted_returns(batch_x(), 0.95), [9.025, 9.5, 10, 0, 0, 0, 0, 0, 0])
    assert steps_to_go(batch_x()).tolist() == [3, 2, 1] * 3


@quick
@given(batches(), st.floats(0, 1))
def test_returns_equal_the_sum(batch, gamma):
    steps = steps_of(batch)
    close(discounted_returns(batch, gamma), [returns_reference(steps, row, gamma) for row in steps])


def test_a_missing_step_counts_as_reward_zero():
    """Returns keep the distance in steps where a step is not in the batch."""
    batch = rows(batch_x(), [0, 2])
    close(discounted_returns(batch, 0.5), [2.5, 10.0])
    assert previous_steps(batch).tolist() == [-1, -1]


def test_contexts_are_the_last_states():
    batch = batch_x()
    first, second, third = context_ids(batch, state_groups(batch, "test"), 3)
    partners = [{row for row in range(9) if ids[row] == ids[1]} for ids in (first, second)]
    assert partners == [{1, 5, 7}, {1, 7}]  # B; then A, B
    assert visits(third)[[2, 8]].tolist() == [2, 2]  # A, B, C
    assert third[5] != third[2]
    assert (second < 0).tolist() == [True, False, False] * 3
    assert (third < 0).tolist() == [True, True, False] * 3


def test_the_context_of_a_branch_reaches_into_the_trajectory_it_was_forked_from():
    """Trajectory 1 leaves 0 at step 1, and 2 leaves 1 at step 1, so that its step 0 is that of 0."""
    batch = replace(
        rows(batch_x(), [0, 1, 2, 4, 5, 7, 8]),
        parent=torch.tensor([-1, 0, 1]),
        branch_step=torch.tensor([0, 1, 1]),
    )
    assert previous_steps(batch).tolist() == [-1, 0, 1, 0, 3, 0, 5]


def test_states_of_different_groups_never_meet():
    batch = replace(batch_x(), groups=torch.tensor([0, 1, 1]), state=torch.zeros(9, dtype=torch.long))
    assert visits(state_groups(batch, "test")).tolist() == [3] * 3 + [6] * 6


@quick
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=1, max_size=12))
def test_pairs_are_equal_if_both_parts_are(pairs):
    first, second = (torch.tensor(ids) for ids in zip(*pairs, strict=True))
    result = pair_ids(first, second)
    assert [[result[i] == result[j] for j in range(len(pairs))] for i in range(len(pairs))] == [[a == b for b in pairs] for a in pairs]


def test_success_is_worth_the_highest_reward_of_a_success_in_the_group():
    batch = replace(batch_x(), rewards=doubles([0.8, 5.0, 0.9]), success=torch.tensor([True, False, True]))
    assert success_rewards(batch, None).tolist() == [0.9] * 9
    assert success_rewards(batch, 10.0).tolist() == [10.0] * 9
    assert success_rewards(replace(batch, rewards=doubles([-0.8, 5.0, -0.9])), None).tolist() == [1.0] * 9
    assert success_rewards(replace(batch, success=torch.tensor([False] * 3)), None).tolist() == [0.0] * 9


def test_distinct_steps_are_sorted_and_double():
    batch = rows(replace(batch_x(), rewards=torch.tensor([10.0, 0.0, 0.0])), [8, 3, 8, 0])
    steps, row_of = distinct_steps(batch)
    assert (steps.trajectory.tolist(), steps.step.tolist(), row_of.tolist()) == ([0, 1, 2], [0, 0, 2], [2, 1, 2, 0])
    assert steps.rewards.dtype == torch.float64 and len(steps.rewards) == 3


def test_distinct_steps_keep_the_action_of_each_step():
    steps, _ = distinct_steps(replace(rows(batch_x(), [4, 0, 4]), actions=("look", "go north", "look")))
    assert steps.actions == ("go north", "look")


def test_a_batch_without_penalties_has_none():
    assert step_penalties(replace(batch_x(), penalties=None)).tolist() == [0.0] * 9


@pytest.mark.parametrize("method", ["grpo"])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"rewards": doubles([1.0, float("nan"), 0.0])}, "the reward of trajectory 1 is nan; expected a finite number"),
        ({"step_rewards": doubles([0.0] * 7 + [float("inf"), 0.0])}, "the reward of step 1 of trajectory 2 is inf"),
        (
            {"penalties": doubles([0.0] * 5 + [-0.1] + [0.0] * 3)},
            "the penalty of step 2 of trajectory 1 is -0.1; .* at least 0",
        ),
        ({"penalties": doubles([float("nan")] + [0.0] * 8)}, "the penalty of step 0 of trajectory 0 is nan"),
    ],
)
def test_invalid_values_are_refused_by_name(method, changed, message):
    with pytest.raises(TrainingError, match=message):
        get_advantage(method)(replace(batch_x(), **changed))


@pytest.mark.parametrize("method", ["grpo"])
def test_an_unknown_placement_of_the_penalty_is_refused(method):
    with pytest.raises(ConfigError, match="unknown penalty placement 'advantag'; did you mean 'advantage'"):
        get_advantage(method, {"penalty": "advantag"})(batch_x())


@pytest.mark.parametrize("method", ["grpo"])
def test_a_batch_without_steps(method):
    empty = rows(batch_x(), torch.zeros(0, dtype=torch.long))
    assert get_advantage(method)(empty).values.shape == (0,)
