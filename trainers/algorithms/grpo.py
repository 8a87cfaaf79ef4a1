"""GRPO: a trajectory is as good as it is better than others of its group (Shao et al. 2024, arXiv 2402.03300).

    A_i = (R_i - mean(R)) / (std(R) + eps)           over the G trajectories of the group, std unbiased
    A_t = A_i - p_t                                  for every step t of trajectory i; p_t is the step's penalty

Decided where the paper leaves room:
    - Statistics run over trajectories, one value each. `cross_steps=True` takes them over step rows, so that long trajectories weigh more
      (verl-agent's default).
    - A group of one has mean 0 and std 1, as in verl, so A = R / (1 + eps): plain REINFORCE. The training loop drops a group that failed
      episodes have reduced to one, because that reward was meant to be compared. With `cross_steps` a group of one is one with one step.
    - Equal rewards give exactly 0: such a group says nothing.
    - `scale=False` omits the division (Dr. GRPO).
    - A step's penalty is subtracted unscaled from that step's advantage; `penalties` lists the other placements. `penalty="return"` needs
      `cross_steps`: a statistic over trajectories has no score of a single step.
"""

from __future__ import annotations

from torch import Tensor

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import register_advantage
from empg_gym.trainers.algorithms.base import Advantages, RolloutSteps
from empg_gym.trainers.algorithms.branches import mean_over_paths
from empg_gym.trainers.algorithms.credit import EPSILON, normalise, step_groups
from empg_gym.trainers.algorithms.distinct import on_distinct_steps
from empg_gym.trainers.algorithms.penalties import Penalty, after_normalisation, before_normalisation, check_penalty, penalised_rewards


def advantages(rewards: Tensor, groups: Tensor, *, scale: bool = True, epsilon: float = EPSILON) -> Tensor:
    """Return the group-relative advantage of every trajectory.

    Args:
        rewards: [T] reward of each trajectory.
        groups: [T] integer id of each trajectory's group, in any order.
        scale: whether to divide by the group's standard deviation.
        epsilon: added to the standard deviation.

    Returns:
        [T] advantages in the dtype of `rewards`.
    """
    return normalise(rewards.double(), groups, scale=scale, epsilon=epsilon, singleton="keep").to(rewards.dtype)


def episode_term(batch: RolloutSteps, *, scale: bool, epsilon: float, cross_steps: bool, penalty: Penalty) -> Tensor:
    """Return [S] the advantage A_i of each step's trajectory, before `penalty="advantage"` is applied.

    Args:
        batch: distinct steps.
        scale: whether to divide by the group's standard deviation.
        epsilon: added to the standard deviation.
        cross_steps: whether the statistics count a trajectory once per step.
        penalty: where the penalties of the steps go.

    Raises:
        ConfigError: `penalty` is unknown.
    """
    check_penalty(penalty)
    rewards = penalised_rewards(batch, penalty)
    if not cross_steps:
        return mean_over_paths(advantages(rewards, batch.groups, scale=scale, epsilon=epsilon), batch)
    scores = before_normalisation(rewards[batch.trajectory], batch, penalty)
    return advantages(scores, step_groups(batch), scale=scale, epsilon=epsilon)


@register_advantage("grpo")
@on_distinct_steps
def grpo(
    batch: RolloutSteps,
    *,
    scale: bool = True,
    epsilon: float = EPSILON,
    cross_steps: bool = False,
    penalty: Penalty = "advantage",
) -> Advantages:
    """GRPO's advantage; every step has its trajectory's, less its own penalty."""
    if penalty == "return" and not cross_steps:
        raise ConfigError("penalty = 'return' needs cross_steps = true: a statistic over trajectories has no score of a single step")
    term = episode_term(batch, scale=scale, epsilon=epsilon, cross_steps=cross_steps, penalty=penalty)
    values = after_normalisation(term, batch, penalty)
    return Advantages(values=values, base=values)
