"""HGPO against the worked example, and against the equations in plain Python."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import get_advantage
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

CODE = [1.414213, 1.165685, 1.000000, -0.707106, 0, -0.707106, -0.707106, -0.882842, -1.000000]
PAPER = [1.414212, 1.138071, 1.000000, -0.707106, 0, -0.707106, -0.707106, -0.902368, -1.000000]
EPISODE = [1.387243, 1.193622, 1.033330, -0.692513, -0.683291, -0.692513, -0.692513, -0.846256, -0.966332]


@pytest.mark.parametrize("skip", ["group", "item"])
@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, CODE), ({"weights": "paper"}, PAPER), ({"episode": True, "cross_steps": True}, EPISODE)],
)
def test_worked_example(options, expected, skip):
    close(values("hgpo", batch_x(), history=2, penalty="return", skip=skip, **options), expected, atol=1e-6)


def test_a_step_on_the_mean_of_a_level():
    """Returns (10, 5, 0) share a state; those of 5 and 0 share two states."""
    batch = rows(batch_x(), [0, 1, 3, 4, 6, 7])
    batch = replace(
        batch,
        state=torch.tensor([0, 2, 1, 2, 1, 2]),
        step_rewards=doubles([0, 10, 0, 5, 0, 0]),
        penalties=None,
    )
    close(values("hgpo", batch)[3], 0.6, atol=1e-6)
    close(values("hgpo", batch, skip="item")[3], 0.999999, atol=1e-6)


@pytest.mark.slow
@quick
@given(
    batches(states=3, max_groups=2),
    st.integers(0, 4),
    st.sampled_from([0.0, 1.0, 0.7]),
    st.sampled_from(["code", "paper"]),
    st.sampled_from(["group", "item"]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["advantage", "return"]),
)
def test_equals_the_equations(batch, history, alpha, weights, skip, episode, scale, penalty):
    steps = steps_of(batch)
    state = {(row["i"], row["t"]): row["s"] for row in steps}
    x = {(row["i"], row["t"]): returns_reference(steps, row, 0.95) - (row["p"] if penalty == "return" else 0.0) for row in steps}

    def context(row, k):
        return (row["g"], *(state[row["i"], row["t"] - back] for back in range(k)))

    expected = []
    for row in steps:
        items = [(1.0, episode_reference(steps, row, scale))] if episode else []
        for k in range(1, min(history, row["t"]) + 2):
            same = [x[other["i"], other["t"]] for other in steps if other["t"] + 1 >= k and context(other, k) == context(row, k)]
            if len(same) < 2:
                continue
            a = z(x[row["i"], row["t"]], same, scale, ddof=0)
            on_the_mean = abs(a) < 1e-9  # rounding decides there whether the value is exactly 0
            if min(same) == max(same) or (skip == "item" and on_the_mean):
                continue
            items.append(((k + 1 if weights == "code" else k) ** alpha, a))
        mixed = sum(w * a for w, a in items) / (sum(w for w, _ in items) + 1e-6)
        expected.append(mixed - (row["p"] if penalty == "advantage" else 0.0))
    options = {"history": history, "alpha": alpha, "weights": weights, "skip": skip, "episode": episode, "scale": scale}
    close(values("hgpo", batch, **options, penalty=penalty), expected, atol=1e-7)


def test_without_history_it_is_the_step_term_with_the_population_deviation():
    plain = replace(batch_x(), penalties=None)
    step_term = values("gigpo", replace(plain, rewards=doubles([0.0] * 3)))
    ratio = torch.tensor([3 / 2] * 2 + [2] + [3 / 2] * 5 + [2], dtype=torch.float64).sqrt()
    close(values("hgpo", plain, history=0), step_term * ratio, atol=2e-6)


def test_invalid_arguments_are_refused():
    with pytest.raises(ConfigError, match="history of hgpo must be at least 0, not -1"):
        values("hgpo", batch_x(), history=-1)
    with pytest.raises(ConfigError, match="unknown weights of hgpo 'papers'; did you mean 'paper'"):
        values("hgpo", batch_x(), weights="papers")
    with pytest.raises(ConfigError, match="unknown skip of hgpo 'items'; did you mean 'item'"):
        values("hgpo", batch_x(), skip="items")
    with pytest.raises(ConfigError, match="needs episode = true"):
        values("hgpo", batch_x(), penalty="reward")


def test_reports_the_levels_in_use():
    assert get_advantage("hgpo")(batch_x()).metrics["hgpo/levels"] == pytest.approx((1 + 2 + 3 + 1 + 0 + 1 + 1 + 2 + 3) / 9)
