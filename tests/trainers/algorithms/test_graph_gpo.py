"""GraphGPO against the worked example, and against a breadth-first search in plain Python."""

from collections import deque
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import get_advantage
from empg_gym.trainers.algorithms.graph_gpo import distances
from tests.trainers.algorithms.batches import (
    A,
    B,
    C,
    D,
    batch_x,
    batches,
    close,
    doubles,
    episode_reference,
    quick,
    steps_of,
    values,
    z,
)

GRAPH = [0.577339, 0.577349, 0.707107, -1.154678, 0, -1.154699, 0.577339, 0.577349, -0.707107]
TRAJECTORIES = [1.732039, 1.732050, 1.861807, -1.732028, -0.577350, -1.732049, -0.000011, -0.000001, -1.284457]
ROWS = [1.910645, 1.910655, 2.040412, -1.818003, -0.683291, -1.818024, -0.085986, -0.085976, -1.370432]


def test_shaping_that_outweighs_success_does_not_reward_the_longer_way():
    batch = batch_x()
    shaped = replace(batch, rewards=batch.rewards - 2 * batch.rewards.max())
    assert bool((shaped.rewards < 0).all())
    close(values("graph_gpo", shaped, episode_weight=0.0), values("graph_gpo", batch, episode_weight=0.0), atol=1e-2)


@pytest.mark.parametrize(
    ("options", "expected"),
    [({"episode_weight": 0.0}, GRAPH), ({}, TRAJECTORIES), ({"cross_steps": True}, ROWS)],
)
def test_worked_example(options, expected):
    close(values("graph_gpo", batch_x(), penalty="return", **options), expected, atol=1e-6)


def test_distances_of_the_worked_example():
    _, d, d_next = distances(batch_x())
    assert d.tolist() == [3, 2, 1, 3, 3, 2, 3, 2, 1]
    assert d_next.tolist() == [2, 1, 0, 3, 2, 4, 2, 1, 4]


def test_distance_gained_instead_of_distance_left():
    """r = (10, 10, 10, 1, 10, 0.01, 10, 10, 0.001), from the spec."""
    r = [10, 10, 10, 1, 10, 0.01, 10, 10, 0.001]
    state = batch_x().state.tolist()
    expected = [z(value, [other for other, s in zip(r, state, strict=True) if s == mine]) for value, mine in zip(r, state, strict=True)]
    close(values("graph_gpo", batch_x(), penalty="return", episode_weight=0.0, normalize_distance=True), expected)


def test_a_failure_that_ends_in_a_state_on_the_way_is_not_far():
    """Trajectory 2 is truncated in C, from where another one succeeded."""
    cut = replace(batch_x(), next_state=torch.where(torch.arange(9) == 8, 2, batch_x().next_state))
    assert distances(cut)[2].tolist()[8] == 1


def test_without_a_success_every_distance_is_one():
    failed = replace(batch_x(), success=torch.tensor([False] * 3))
    assert [d.tolist() for d in distances(failed)[1:]] == [[1.0] * 9] * 2


def test_the_greatest_distance_is_that_of_the_group():
    """Trajectory 0, three steps from success, is in another group than 1 and 2, where 2 succeeds at its last step only."""
    apart = replace(batch_x(), groups=torch.tensor([0, 1, 1]), success=torch.tensor([True, False, True]))
    _, _, d_next = distances(replace(apart, state=torch.tensor([A, B, C, A, D, B, 7, 7, 7])))
    assert d_next.tolist() == [2, 1, 0, 2, 2, 2, 2, 2, 0]


def test_a_partial_score_is_not_success():
    scored = replace(batch_x(), rewards=doubles([10.0, 9.0, 0.0]))
    assert torch.equal(distances(scored)[2], distances(batch_x())[2])


@quick
@given(
    batches(states=5, max_groups=2),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["advantage", "return", "reward"]),
    st.sampled_from([0.1, 0.5, 1.0]),
    st.sampled_from([None, 10.0]),
)
def test_equals_the_equations(batch, normalize_distance, scale, penalty, gamma, success_reward):
    steps = steps_of(batch)
    final = {i: max(row["t"] for row in steps if row["i"] == i) for i in range(len(batch.rewards))}
    for row in steps:
        row["to"] = "success" if row["won"] and row["t"] == final[row["i"]] else row["after"]
    r = {}
    for group in {row["g"] for row in steps}:
        members = [row for row in steps if row["g"] == group]
        d, queue = {"success": 0}, deque(["success"])
        while queue:
            node = queue.popleft()
            for row in members:
                if row["to"] == node and row["s"] not in d:
                    d[row["s"]] = d[node] + 1
                    queue.append(row["s"])
        beyond = 1 + max(d.values())
        worth = max((row["R"] for row in members if row["won"]), default=0.0) if success_reward is None else success_reward
        for row in members:
            left = d.get(row["to"], beyond)
            hops = left - d.get(row["s"], beyond) + 1 if normalize_distance else left
            r[row["i"], row["t"]] = worth * gamma**hops - (row["p"] if penalty == "return" else 0.0)
    expected = [
        episode_reference(steps, row, scale, penalty=penalty)
        + z(
            r[row["i"], row["t"]],
            [r[other["i"], other["t"]] for other in steps if (other["g"], other["s"]) == (row["g"], row["s"])],
            scale,
        )
        - (row["p"] if penalty == "advantage" else 0.0)
        for row in steps
    ]
    options = {"normalize_distance": normalize_distance, "scale": scale, "penalty": penalty, "gamma": gamma}
    close(values("graph_gpo", batch, **options, success_reward=success_reward), expected, atol=1e-7)


def test_a_loop_on_the_way_costs_its_length():
    """One trajectory that stays in A before it succeeds: the step that leaves is better than the step that stays."""
    batch = batch_x()
    loop = replace(batch, state=torch.tensor([A, A, A, 3, 4, 5, 3, 4, 5]), penalties=None)
    loop = replace(loop, next_state=torch.tensor([A, A, 6, 4, 5, 3, 4, 5, 3]))
    result = values("graph_gpo", loop, episode_weight=0.0)
    assert result[0] == result[1] < 0 < result[2]
    assert result[3:].tolist() == [0.0] * 6


def test_the_graph_alone_cannot_place_a_penalty_on_the_reward():
    with pytest.raises(ConfigError, match="needs an episode_weight"):
        values("graph_gpo", batch_x(), penalty="reward", episode_weight=0.0)


def test_reports_the_mean_distance_left():
    assert get_advantage("graph_gpo")(batch_x()).metrics["graph_gpo/distance"] == pytest.approx((2 + 1 + 0 + 3 + 2 + 4 + 2 + 1 + 4) / 9)
