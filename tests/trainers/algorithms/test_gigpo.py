"""GiGPO against the worked example, and against the equations in plain Python."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.trainers.algorithms import RolloutSteps, get_advantage
from tests.trainers.algorithms.batches import (
    batch_x,
    batches,
    close,
    doubles,
    episode_reference,
    quick,
    returns_reference,
    rows,
    steps_of,
    values,
    z,
)

EXAMPLE = {
    (True, False): [2.309401, 2.309401, 1.861807, -1.154700, -0.577350, -1.154700, -1.154700, -1.154700, -1.284457],
    (True, True): [2.488006, 2.488006, 2.040412, -1.240675, -0.683291, -1.240675, -1.240675, -1.240675, -1.370432],
    (False, True): [12.694444, 13.011111, 11.677778, -6.330556, -3.422222, -6.488889, -6.330556, -6.488889, -8.322222],
}


@pytest.mark.parametrize(("scale", "cross_steps"), EXAMPLE)
def test_worked_example(scale, cross_steps):
    result = values("gigpo", batch_x(), scale=scale, cross_steps=cross_steps, penalty="return")
    close(result, EXAMPLE[scale, cross_steps], atol=1e-6)


def test_step_term_of_the_worked_example():
    without_outcome = replace(batch_x(), rewards=doubles([0.0] * 3), penalties=None)
    expected = [1.154700, 1.154700, 0.707107, -0.577350, 0, -0.577350, -0.577350, -0.577350, -0.707107]
    close(values("gigpo", without_outcome), expected, atol=1e-6)
    expected = [6.016667, 6.333333, 5.000000, -3.008333, 0, -3.166667, -3.008333, -3.166667, -5.000000]
    close(values("gigpo", without_outcome, scale=False), expected, atol=1e-6)


def test_a_copied_row_does_not_move_the_step_term():
    """With the copy in the statistics, as released, the steps in A would have (0.866025, -0.866025, -0.866025, 0.866025)."""
    without_outcome = replace(batch_x(), rewards=doubles([0.0] * 3), penalties=None)
    copied = rows(without_outcome, [*range(9), 0])
    close(values("gigpo", copied)[[0, 3, 6, 9]], [1.154700, -0.577350, -0.577350, 1.154700], atol=1e-6)


def test_all_successes_are_compared_by_their_length():
    """Success after 3 and after 5 steps from the same state, with the returns 9.025 and 8.145063."""
    batch = RolloutSteps(
        rewards=doubles([10.0, 10.0]),
        groups=torch.tensor([0, 0]),
        trajectory=torch.tensor([0] * 3 + [1] * 5),
        step=torch.tensor([0, 1, 2, 0, 1, 2, 3, 4]),
        entropies=doubles([0.5] * 8),
        step_rewards=doubles([0, 0, 10, 0, 0, 0, 0, 10]),
        state=torch.tensor([0, 1, 2, 0, 3, 4, 5, 6]),
    )
    close(values("gigpo", batch), [0.707106, 0, 0, -0.707106, 0, 0, 0, 0], atol=1e-6)


@quick
@given(batches(), st.booleans(), st.booleans(), st.sampled_from(["advantage", "return", "reward"]), st.floats(0, 1), st.floats(0, 2))
def test_equals_the_equations(batch, scale, cross_steps, penalty, gamma, weight):
    steps = steps_of(batch)

    def x(row):
        return returns_reference(steps, row, gamma) - (row["p"] if penalty == "return" else 0.0)

    expected = [
        episode_reference(steps, row, scale, cross_steps, penalty)
        + weight * z(x(row), [x(other) for other in steps if (other["g"], other["s"]) == (row["g"], row["s"])], scale)
        - (row["p"] if penalty == "advantage" else 0.0)
        for row in steps
    ]
    options = {"scale": scale, "cross_steps": cross_steps, "penalty": penalty, "gamma": gamma, "step_weight": weight}
    close(values("gigpo", batch, **options), expected, atol=1e-7)


@quick
@given(batches(max_groups=1), st.sampled_from([-2.0, 0.5, 8.0]))
def test_a_constant_on_all_returns_of_a_group_changes_no_step_term(batch, constant):
    """With gamma = 1 a constant added to the last reward of a trajectory is added to each of its returns."""
    last = torch.tensor([not ((batch.trajectory == i) & (batch.step > t)).any() for i, t in zip(batch.trajectory, batch.step, strict=True)])
    shifted = replace(batch, step_rewards=batch.step_rewards + constant * last)
    for method in ("gigpo", "hgpo"):
        close(values(method, shifted, gamma=1.0), values(method, batch, gamma=1.0), atol=1e-7)


def test_weight_zero_is_grpo():
    assert torch.equal(values("gigpo", batch_x(), step_weight=0.0), values("grpo", batch_x()))


def test_reports_how_steps_are_grouped():
    metrics = get_advantage("gigpo")(batch_x()).metrics
    assert metrics == pytest.approx({"gigpo/alone": 1 / 9, "gigpo/group_size": (3 * 3 + 3 * 3 + 2 * 2 + 1) / 9})
