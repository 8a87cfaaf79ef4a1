"""IGPO against the worked example of step-credit.md section 6 and a plain reference."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.algorithms import get_advantage
from tests.trainers.algorithms.batches import rows
from tests.trainers.algorithms.full_batches import full_batches, make

EXAMPLE = make([1, 0], [0, 0], [4, 2], gold_logprobs=torch.tensor([0.10, 0.30, 0.25, 0.60, 0.10, 0.12], dtype=torch.float64).log())
PROB = {"basis": "prob", "normalisation": "joint"}


def z_scores(values):
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / len(values)
    if all(value == values[0] for value in values):
        return [0.0] * len(values)
    return [(value - mean) / (math.sqrt(variance + 1e-8) + 1e-6) for value in values]


def reference(batch, basis, joint, gamma):
    """Group by group, trajectory by trajectory, from the last step back."""
    gold = {
        (i, t): math.exp(value) if basis == "prob" else value
        for i, t, value in zip(batch.trajectory.tolist(), batch.step.tolist(), batch.gold_logprobs.tolist(), strict=True)
    }
    result = {}
    for group in set(batch.groups.tolist()):
        members = [i for i, its in enumerate(batch.groups.tolist()) if its == group]
        keys = [key for key in gold if key[0] in members and (key[0], key[1] + 1) in gold]
        gains = [gold[i, t + 1] - gold[i, t] for i, t in keys]
        outcomes = [float(batch.rewards[i]) for i in members]
        scores = z_scores(gains + outcomes) if joint else [*(z_scores(gains) if gains else []), *z_scores(outcomes)]
        r = dict(zip(keys, scores[: len(keys)], strict=True))
        for i, score in zip(members, scores[len(keys) :], strict=True):
            r[i, max(t for j, t in gold if j == i)] = score
        for i in members:
            total = 0.0
            for t in range(max(t for j, t in gold if j == i), -1, -1):
                total = r[i, t] + gamma * total
                result[i, t] = total
    steps = zip(batch.trajectory.tolist(), batch.step.tolist(), batch.penalties.tolist(), strict=True)
    return torch.tensor([result[i, t] - penalty for i, t, penalty in steps], dtype=torch.float64)


def test_worked_example_with_logarithms_separately():
    values = get_advantage("igpo")(EXAMPLE).values
    assert values.tolist() == pytest.approx([1.602924, 0.430600, 1.739997, 0.999998, -1.602924, -0.999998], abs=1e-6)


def test_worked_example_with_probabilities_jointly():
    values = get_advantage("igpo", PROB)(EXAMPLE).values
    assert values.tolist() == pytest.approx([1.349478, 1.497366, 2.338480, 2.070433, -1.349478, -0.702468], abs=1e-6)


def test_worked_example_before_the_sum():
    values = get_advantage("igpo", {"gamma": 0.0})(EXAMPLE).values
    assert values.tolist() == pytest.approx([1.172324, -1.309397, 0.739999, 0.999998, -0.602926, -0.999998], abs=1e-6)


@pytest.mark.slow
@given(full_batches(), st.sampled_from([("log", False), ("prob", False), ("prob", True)]), st.sampled_from([0.0, 0.9, 1.0]))
def test_equals_the_formula(batch, options, gamma):
    basis, joint = options
    batch = replace(batch, gold_logprobs=batch.gold_logprobs.round(decimals=3))
    given = {"basis": basis, "normalisation": "joint" if joint else "separate", "gamma": gamma}
    torch.testing.assert_close(get_advantage("igpo", given)(batch).values, reference(batch, basis, joint, gamma), atol=1e-8, rtol=1e-8)


def test_equal_gains_and_outcomes_are_exactly_zero():
    batch = make([0.1] * 3, [0] * 3, [3, 3, 3], gold_logprobs=torch.tensor([-3.0, -2.0, -1.0] * 3, dtype=torch.float64))
    assert get_advantage("igpo")(batch).values.tolist() == [0.0] * 9


def test_a_gain_of_zero_does_not_merge_steps():
    """The released code infers steps from non-zero rewards, so that a normalised gain of 0 merges two of them (seen with gamma < 1)."""
    gold = torch.tensor([-3.0, -2.0, -2.0, -3.0, -3.0, -2.0, -2.0, -3.0], dtype=torch.float64)
    values = get_advantage("igpo", {"gamma": 0.5})(make([1, 0], [0, 0], [4, 4], gold_logprobs=gold)).values
    gain, outcome = math.sqrt(1.5), 1.0
    r = [gain, 0.0, -gain, outcome]
    expected = [sum(0.5 ** (k - t) * r[k] for k in range(t, 4)) for t in range(4)]
    assert values[:4].tolist() == pytest.approx(expected, abs=1e-5)


def test_unknown_gains_are_excluded_from_statistics_and_add_nothing():
    gold = EXAMPLE.gold_logprobs.clone()
    gold[1] = math.nan  # the gains of steps 0 and 1
    result = get_advantage("igpo")(replace(EXAMPLE, gold_logprobs=gold))
    known = z_scores([math.log(0.60 / 0.25), math.log(1.2)])
    outcome = z_scores([1.0, 0.0])
    first = known[0] + outcome[0]
    assert result.values.tolist() == pytest.approx([first, first, first, outcome[0], known[1] + outcome[1], outcome[1]])
    assert result.metrics["igpo/known_gains"] == 0.5


def test_a_batch_without_gold_is_an_error():
    with pytest.raises(ConfigError, match=r"igpo needs RolloutSteps.gold_logprobs, which this batch lacks"):
        get_advantage("igpo")(make([1, 0], [0, 0], [2, 2]))
    with pytest.raises(ConfigError, match="NaN for every step"):
        get_advantage("igpo")(replace(EXAMPLE, gold_logprobs=torch.full((6,), math.nan, dtype=torch.float64)))


def test_an_infinite_log_probability_is_refused_with_its_step():
    gold = EXAMPLE.gold_logprobs.clone()
    gold[5] = -math.inf
    with pytest.raises(TrainingError, match="the gold log-probability of step 1 of trajectory 1 is -inf"):
        get_advantage("igpo")(replace(EXAMPLE, gold_logprobs=gold))


def test_a_missing_step_leaves_its_gain_unknown_and_shifts_none():
    """Indices are carried: without step 2 the gains of steps 1 and 2 are unknown, and that of step 0 stays."""
    part = get_advantage("igpo", {"gamma": 0.0})(rows(EXAMPLE, [0, 1, 3, 4, 5]))
    gains = z_scores([math.log(3.0), math.log(1.2)])
    assert part.values.tolist() == pytest.approx([gains[0], 0.0, 0.999998, gains[1], -0.999998], abs=1e-6)


def test_options_are_checked():
    with pytest.raises(ConfigError, match="different scales"):
        get_advantage("igpo", {"normalisation": "joint"})(EXAMPLE)
    with pytest.raises(ConfigError, match="unknown basis of igpo 'probs'; did you mean 'prob'"):
        get_advantage("igpo", {"basis": "probs"})(EXAMPLE)
    with pytest.raises(ConfigError, match="unknown normalisation"):
        get_advantage("igpo", {"normalisation": "both"})(EXAMPLE)
    with pytest.raises(ConfigError, match="gamma of igpo must be between 0 and 1"):
        get_advantage("igpo", {"gamma": 1.5})(EXAMPLE)
