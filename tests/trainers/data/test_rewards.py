"""Outcomes, filters and shapers; penalties stay with their step; states are numbered within their group."""

import math

import pytest
import torch

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.data.batch import make_batch
from empg_gym.trainers.data.rewards import FILTERS, OUTCOMES, SHAPERS, informative, overlong
from tests.trainers.data.test_rows import make_trajectory


def test_outcomes_by_name():
    won = make_trajectory([([5], [6], 0), ([7], [8], 0)], success=True, score=0.5, total_reward=2.0)
    assert [OUTCOMES.find(name)(won) for name in ("success", "score", "return")] == [1.0, 0.5, 2.0]
    with pytest.raises(ConfigError, match="unknown reward 'succes'; did you mean 'success'"):
        OUTCOMES.find("succes")


def test_a_penalty_stays_with_its_step_and_leaves_the_reward_alone():
    won = make_trajectory([([5], [6], 0), ([7], [8], 0)], success=True, total_reward=2.0)
    won.steps[1].valid_action = False
    batch = make_batch([won], OUTCOMES.find("return"), reward_scale=10.0, invalid_action_penalty=0.1)
    assert batch.rewards.tolist() == [20.0]
    assert batch.penalties.tolist() == [0.0, 0.1]
    steps = batch.steps(torch.zeros(2))
    assert steps.valid.tolist() == [True, False]
    assert steps.step_rewards.tolist() == [10.0 * step.reward for step in won.steps]


def test_shapers_add_to_the_scaled_outcome_and_must_be_finite():
    won = make_trajectory([([5], [6, 7, 8], 0)], success=True)
    batch = make_batch([won], shapers=[lambda item: -0.25, lambda item: 1.0], reward_scale=2.0)
    assert batch.rewards.tolist() == [2.75]
    with pytest.raises(TrainingError, match=r"the reward of task .* is nan; expected a finite number"):
        make_batch([won], lambda item: math.nan)


def test_the_filter_keeps_groups_whose_outcomes_differ():
    groups = [0, 0, 1, 1, 2, 2]
    trajectories = [make_trajectory([([5], [6], 0)], group=group) for group in groups]
    kept = FILTERS.bind("informative", {})(trajectories, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0])
    assert kept == informative(trajectories, [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]) == [True, True, False, False, False, False]


@pytest.mark.parametrize(("tokens", "expected"), [(4, 0.0), (6, 0.0), (8, -0.5), (10, -1.0), (12, -1.0)])
def test_overlong_episodes_lose_linearly(tokens, expected):
    episode = make_trajectory([([5], list(range(tokens)), 0)])
    assert overlong(episode, max_tokens=10, buffer=4) == pytest.approx(expected)
    assert SHAPERS.bind("overlong", {"max_tokens": 10, "buffer": 4, "penalty": 2.0})(episode) == pytest.approx(2 * expected)
    with pytest.raises(ConfigError, match="overlong expects"):
        overlong(episode, max_tokens=10, buffer=11)


def test_states_are_numbered_within_their_group():
    trajectories = [make_trajectory([([5], [6], 0), ([7], [8], 0)], group=group) for group in (0, 0, 1)]
    for trajectory in trajectories:
        trajectory.steps[0].observation, trajectory.steps[1].observation, trajectory.final_observation = "a", "b", "a"
    steps = make_batch(trajectories[:2], OUTCOMES.find("success")).steps(torch.zeros(4), state_key="observation")
    assert steps.state.tolist() == [0, 1, 0, 1]
    assert steps.next_state.tolist() == [1, 0, 1, 0]
    trajectories.append(make_trajectory([([5], [6], 0), ([7], [8], 0)], group=1))
    trajectories[3].steps[0].observation, trajectories[3].steps[1].observation, trajectories[3].final_observation = "a", "c", "a"
    steps = make_batch(trajectories).steps(torch.zeros(8), state_key="observation")
    assert len(set(steps.state[:4].tolist()) & set(steps.state[4:].tolist())) == 0, "a state of another group is another state"
