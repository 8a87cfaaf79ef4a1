"""G2PO against the worked example, and against the equations in plain Python."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.trainers.algorithms import get_advantage
from empg_gym.trainers.algorithms.credit import state_groups
from empg_gym.trainers.algorithms.g2po import state_values
from tests.trainers.algorithms.batches import batch_x, batches, close, doubles, episode_reference, quick, rows, steps_of, values, z

EXAMPLE = {
    (True, False): [1.729538, 2.225718, 3.449435, -2.672613, 0.311287, -2.719516, -0.002512, 0.493668, -2.815005],
    (True, True): [1.908143, 2.404323, 3.628040, -2.758588, 0.205346, -2.805491, -0.088487, 0.407693, -2.900980],
    (False, True): [7.672500, 9.844306, 16.769306, -8.344167, -0.572361, -9.655694, -2.327500, -0.155694, -13.230694],
}


@pytest.mark.parametrize(("scale", "cross_steps"), EXAMPLE)
def test_worked_example(scale, cross_steps):
    result = values("g2po", batch_x(), scale=scale, cross_steps=cross_steps, penalty="return")
    close(result, EXAMPLE[scale, cross_steps], atol=1e-6)


def test_values_of_the_worked_example():
    V, V_next = state_values(batch_x(), state_groups(batch_x(), "g2po"), 0.95, None)
    close(V, [2.857917, 3.008333, 4.75, 2.857917, 0, 3.008333, 2.857917, 3.008333, 4.75], atol=1e-6)
    close(V_next, [3.008333, 4.75, 10, 0, 3.008333, 0, 3.008333, 4.75, 0], atol=1e-6)


def test_an_unfinished_end_has_value_zero():
    """A partial reward counts in V, but not after the last step."""
    batch = replace(batch_x(), rewards=doubles([10.0, 5.0, 0.0]))
    assert state_values(batch, state_groups(batch, "g2po"), 0.95, None)[1].tolist()[5] == 0.0


def test_the_reward_of_success_can_be_set():
    batch = batch_x()
    assert state_values(batch, state_groups(batch, "g2po"), 0.95, 3.0)[1].tolist()[2] == 3.0


def test_one_row_in_the_group_has_no_edge_term():
    single = rows(batch_x(), [0])
    single = replace(single, rewards=doubles([0.0]), groups=torch.tensor([0]), success=torch.tensor([True]))
    assert values("g2po", single).tolist() == [0.0]


@quick
@given(
    batches(),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["advantage", "return", "reward"]),
    st.floats(0, 1),
    st.sampled_from([None, 10.0]),
)
def test_equals_the_equations(batch, scale, cross_steps, penalty, gamma, success_reward):
    steps = steps_of(batch)
    at = {(row["i"], row["t"]): row for row in steps}
    length = {i: sum(row["i"] == i for row in steps) for i in range(len(batch.rewards))}

    def V(row):
        visits = [other for other in steps if (other["g"], other["s"]) == (row["g"], row["s"])]
        return sum(gamma ** (length[other["i"]] - other["t"]) * other["R"] for other in visits) / len(visits)

    def V_next(row):
        following = at.get((row["i"], row["t"] + 1))
        if following:
            return V(following)
        if not row["won"]:
            return 0.0
        return max(other["R"] for other in steps if other["won"] and other["g"] == row["g"]) if success_reward is None else success_reward

    def node(row):
        return V_next(row) - (row["p"] if penalty == "return" else 0.0)

    expected = []
    for row in steps:
        group = [other for other in steps if other["g"] == row["g"]]
        NC = z(node(row), [node(other) for other in group if other["s"] == row["s"]], scale)
        EC = z(V_next(row) - V(row), [V_next(other) - V(other) for other in group], scale)
        episode = episode_reference(steps, row, scale, cross_steps, penalty)
        expected.append(episode + 0.8 * (NC + EC) - (row["p"] if penalty == "advantage" else 0.0))
    options = {"scale": scale, "cross_steps": cross_steps, "penalty": penalty, "gamma": gamma, "success_reward": success_reward}
    close(values("g2po", batch, **options, step_weight=0.8), expected, atol=1e-7)


def test_reports_values_and_gains():
    metrics = get_advantage("g2po")(batch_x()).metrics
    assert metrics["g2po/gain"] == pytest.approx(0.158472, abs=1e-6)
    assert metrics["g2po/value"] == pytest.approx((3 * 2.857917 + 3 * 3.008333 + 2 * 4.75) / 9, abs=1e-6)
