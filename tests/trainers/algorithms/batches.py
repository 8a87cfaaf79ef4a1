"""Batches for the tests of step-level credit: the spec's worked example, random ones, and changes that must have no effect."""

from dataclasses import fields, replace

import torch
from hypothesis import settings
from hypothesis import strategies as st

from empg_gym.trainers.algorithms import RolloutSteps, get_advantage
from empg_gym.trainers.algorithms.distinct import PER_TRAJECTORY

quick = settings(deadline=None, max_examples=60)

A, B, C, D, E, F, DONE = range(7)


def doubles(values):
    return torch.tensor(values, dtype=torch.float64)


def batch_x():
    """Batch X of the spec: one group of three trajectories with three steps each; step 1 of trajectory 1 is invalid."""
    return RolloutSteps(
        rewards=doubles([10.0, 0.0, 0.0]),
        groups=torch.tensor([0, 0, 0]),
        trajectory=torch.arange(3).repeat_interleave(3),
        step=torch.arange(3).repeat(3),
        entropies=torch.full((9,), 0.5, dtype=torch.float64),
        step_rewards=doubles([0, 0, 10, 0, 0, 0, 0, 0, 0]),
        success=torch.tensor([True, False, False]),
        truncated=torch.tensor([False, False, False]),
        penalties=doubles([0, 0, 0, 0, 0.1, 0, 0, 0, 0]),
        state=torch.tensor([A, B, C, A, D, B, A, B, C]),
        next_state=torch.tensor([B, C, DONE, D, B, E, B, C, F]),
    )


@st.composite
def batches(draw, states=4, max_groups=3):
    """Up to three groups of 1-4 trajectories with 1-5 steps, few states (so that groups form), penalties, success flags."""
    number = st.sampled_from([-1.0, 0.0, 0.0, 0.5, 1.0, 2.0])
    rewards, groups, success, rows = [], [], [], []
    for group in range(draw(st.integers(1, max_groups))):
        for _ in range(draw(st.integers(1, 4))):
            won = draw(st.booleans())
            length = draw(st.integers(1, 5))
            visited = draw(st.lists(st.integers(0, states - 1), min_size=length + 1, max_size=length + 1))
            for step in range(length):
                state, after = (group * states + visited[step + offset] for offset in (0, 1))
                penalty = draw(st.sampled_from([0.0, 0.0, 0.1]))
                rows.append((len(rewards), step, draw(number), penalty, state, after))
            rewards.append(draw(st.sampled_from([1.0, 1.0, 10.0])) if won else draw(st.sampled_from([0.0, 0.0, 0.3])))
            groups.append(17 - group)
            success.append(won)
    trajectory, step, step_rewards, penalties, state, next_state = zip(*rows, strict=True)
    return RolloutSteps(
        rewards=doubles(rewards),
        groups=torch.tensor(groups),
        trajectory=torch.tensor(trajectory),
        step=torch.tensor(step),
        entropies=torch.full((len(rows),), 0.5, dtype=torch.float64),
        step_rewards=doubles(step_rewards),
        success=torch.tensor(success),
        truncated=torch.zeros(len(rewards), dtype=torch.bool),
        penalties=doubles(penalties),
        state=torch.tensor(state),
        next_state=torch.tensor(next_state),
    )


def rows(batch, order):
    """Return the batch with its steps in this order; an index may occur twice."""
    order = torch.as_tensor(order)
    changed = {
        field.name: getattr(batch, field.name)[order]
        for field in fields(batch)
        if field.name not in PER_TRAJECTORY and isinstance(getattr(batch, field.name), torch.Tensor)
    }
    return replace(batch, **changed)


def only_groups(batch, kept):
    """Return the batch of these groups only, and the indices of its steps in the whole batch."""
    trajectories = torch.isin(batch.groups, torch.tensor(kept)).nonzero().flatten()
    held = torch.isin(batch.trajectory, trajectories).nonzero().flatten()
    part = rows(batch, held)
    number = torch.zeros(len(batch.rewards), dtype=torch.long)
    number[trajectories] = torch.arange(len(trajectories))
    changed = {name: getattr(batch, name)[trajectories] for name in PER_TRAJECTORY if getattr(batch, name) is not None}
    return replace(part, trajectory=number[part.trajectory], **changed), held


def values(name, batch, **options):
    return get_advantage(name, options)(batch).values


def close(result, expected, atol=1e-9):
    torch.testing.assert_close(result, torch.as_tensor(expected, dtype=torch.float64), atol=atol, rtol=0)


def steps_of(batch):
    """Return a dictionary per step in plain Python, for references."""
    return [
        {
            "i": i,
            "t": t,
            "g": int(batch.groups[i]),
            "s": int(batch.state[row]),
            "after": int(batch.next_state[row]),
            "p": float(batch.penalties[row]),
            "r": float(batch.step_rewards[row]),
            "R": float(batch.rewards[i]),
            "won": bool(batch.success[i]),
        }
        for row, (i, t) in enumerate(zip(batch.trajectory.tolist(), batch.step.tolist(), strict=True))
    ]


def z(x, others, scale=True, ddof=1, eps=1e-6):
    """Return (x - mean) / (std + eps) in plain Python; 0 for one value or equal values."""
    if len(others) == 1 or min(others) == max(others):
        return 0.0
    mean = sum(others) / len(others)
    std = (sum((other - mean) ** 2 for other in others) / (len(others) - ddof)) ** 0.5
    return (x - mean) / (std + eps) if scale else x - mean


def episode_reference(steps, row, scale=True, cross_steps=False, penalty="advantage"):
    """Return GRPO's term of one step in plain Python."""
    group = [other for other in steps if other["g"] == row["g"]]

    def score(other):
        shared = sum(each["p"] for each in steps if each["i"] == other["i"]) if penalty == "reward" else 0.0
        own = other["p"] if penalty == "return" and cross_steps else 0.0
        return other["R"] - shared - own

    scores = [score(other) for other in group] if cross_steps else [score(other) for other in group if other["t"] == 0]
    if len(scores) == 1:
        return scores[0] / (1 + 1e-6) if scale else scores[0]
    return z(score(row), scores, scale)


def returns_reference(steps, row, gamma):
    return sum(gamma ** (other["t"] - row["t"]) * other["r"] for other in steps if other["i"] == row["i"] and other["t"] >= row["t"])
