"""Rollout batches with every field that a registered advantage reads."""

from dataclasses import replace

import torch
from hypothesis import strategies as st

from empg_gym.trainers.algorithms import RolloutSteps

COUNTS = st.lists(st.integers(1, 4), min_size=1, max_size=4)


def make(rewards, groups, lengths, entropies=None, **optional):
    """Return a batch of trajectories with these numbers of steps."""
    trajectory = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    count = len(trajectory)
    if entropies is None:
        entropies = torch.rand(count, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
    return RolloutSteps(
        rewards=torch.as_tensor(rewards, dtype=torch.float64),
        groups=torch.as_tensor(groups),
        trajectory=trajectory,
        step=torch.cat([torch.arange(length) for length in lengths]),
        entropies=torch.as_tensor(entropies, dtype=torch.float64),
        step_rewards=torch.zeros(count, dtype=torch.float64),
        **optional,
    )


@st.composite
def full_batches(draw, rewards=(0.0, 1.0)):
    """A batch of 1-4 groups of 1-4 trajectories of 1-6 steps, with every field that a registered advantage reads."""
    rewards = st.sampled_from(rewards) if isinstance(rewards, tuple) else rewards
    groups = [group for group, size in enumerate(draw(COUNTS)) for _ in range(size)]
    outcome = [draw(rewards) for _ in groups]
    lengths = [draw(st.integers(1, 6)) for _ in groups]
    count = sum(lengths)
    number = st.floats(0, 4, allow_subnormal=False)
    batch = make(outcome, groups, lengths, draw(st.lists(number, min_size=count, max_size=count)))
    states = torch.tensor(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count))) + 10 * batch.groups[batch.trajectory]
    step_rewards = torch.zeros(count, dtype=torch.float64)
    last = torch.tensor(lengths).cumsum(0) - 1
    step_rewards[last] = batch.rewards
    following = states.roll(-1)
    following[last] = 10 * batch.groups + 9
    valid = torch.tensor(draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    return replace(
        batch,
        success=batch.rewards > 0,
        truncated=torch.zeros(len(groups), dtype=torch.bool),
        step_rewards=step_rewards,
        penalties=torch.where(valid, 0.0, 0.1).double(),
        valid=valid,
        state=states,
        next_state=following,
        gold_logprobs=torch.tensor(draw(st.lists(st.floats(-5, -0.1), min_size=count, max_size=count)), dtype=torch.float64),
        tree=torch.arange(len(groups)),
        parent=torch.full((len(groups),), -1),
        branch_step=torch.zeros(len(groups), dtype=torch.long),
    )
