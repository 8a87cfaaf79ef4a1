"""Rows, micro-batches and batches: every token is in its place, however the batch is split."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.errors import ConfigError, DataError
from empg_gym.trainers.data.aggregation import AGGREGATIONS, token_weights
from empg_gym.trainers.data.batch import make_batch, usable
from empg_gym.trainers.data.rows import micro_batches, rows_of
from empg_gym.trajectory import Step, StopReason, Trajectory

quick = settings(deadline=None, max_examples=50)


def make_trajectory(steps, **fields):
    """Make a trajectory of (prompt ids, response ids, row) triples; log-probabilities and entropies are derived from the ids."""
    made = [
        Step(
            observation=f"o{index}",
            response="r",
            thought="",
            action="a",
            valid_action=index % 2 == 0,
            reward=0.0,
            row=row,
            prompt_token_ids=np.array(prompt, np.int32),
            response_token_ids=np.array(response, np.int32),
            logprobs=-np.array(response, np.float32),
            entropies=np.array(response, np.float32) / 2,
        )
        for index, (prompt, response, row) in enumerate(steps)
    ]
    defaults = {"env_id": "e", "env_version": "1", "data_fingerprint": "", "split": "train", "task": "t", "instruction": ""}
    return Trajectory(**(defaults | {"steps": made, "stop_reason": StopReason.TERMINATED} | fields))


def test_a_row_is_the_concatenation_of_its_steps():
    (row,) = rows_of(make_trajectory([([5, 6, 7], [20, 2], 0), ([8], [2], 0)]), position=4)
    assert row.ids.tolist() == [5, 6, 7, 20, 2, 8, 2]
    assert row.generated.int().tolist() == [0, 0, 0, 1, 1, 0, 1]
    assert row.step.tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert row.trajectory == 4


def test_rewritten_history_makes_a_second_row():
    first, second = rows_of(make_trajectory([([5], [20, 2], 0), ([5, 8], [21, 2], 1)]))
    assert (first.ids.tolist(), second.ids.tolist()) == ([5, 20, 2], [5, 8, 21, 2])
    assert second.step.tolist() == [1, 1, 1, 1]


def test_steps_without_ids_are_refused():
    trajectory = make_trajectory([([5], [20], 0)])
    trajectory.steps[0].response_token_ids = None
    with pytest.raises(DataError, match="has no token ids"):
        rows_of(trajectory)
    with pytest.raises(DataError, match="begins with a generated token"):
        rows_of(make_trajectory([([], [20], 0)]))


@st.composite
def batches(draw):
    ids = st.lists(st.integers(1, 90), min_size=1, max_size=5)
    steps = st.lists(st.tuples(ids, st.lists(st.integers(1, 90), max_size=4), st.just(0)), min_size=1, max_size=4)
    return [make_trajectory(draw(steps), group=index % 2) for index in range(draw(st.integers(2, 6)))]


@quick
@given(batches(), st.integers(1, 60), st.booleans())
def test_micro_batches_hold_every_generated_token_once(trajectories, budget, padded):
    rows = [row for position, item in enumerate(trajectories) for row in rows_of(item, position)]
    expected = torch.cat([row.ids[row.generated] for row in rows])
    seen = torch.zeros_like(expected)
    count = 0
    for batch in micro_batches(rows, budget, padded=padded):
        lengths = batch.starts.diff()
        assert batch.starts[-1] == len(batch.ids)
        assert batch.longest == int(lengths.max())
        assert (len(lengths) * batch.longest if padded else len(batch.ids)) <= budget or len(lengths) == 1
        inside = batch.position - batch.starts[batch.row]
        assert bool((inside >= 1).all()) and bool((inside < lengths[batch.row]).all())
        seen[batch.flat] = batch.ids[batch.position]
        count += len(batch.flat)
    assert count == len(expected)
    assert torch.equal(seen, expected)


@quick
@given(batches())
def test_the_axes_of_a_batch_agree(trajectories):
    batch = make_batch(trajectories)
    responses = [step.response_token_ids for item in batch.trajectories for step in item.steps]
    assert torch.equal(batch.rollout_logprobs, -torch.from_numpy(np.concatenate(responses).astype(np.float32)))
    expected = [float(np.mean(ids) / 2) if len(ids) else float("nan") for ids in responses]
    torch.testing.assert_close(
        batch.step_entropies(batch.rollout_entropies), torch.tensor(expected, dtype=torch.float64), equal_nan=True, rtol=1e-6, atol=1e-6
    )


def test_failed_episodes_and_single_survivors_are_excluded_from_a_batch():
    whole = [make_trajectory([([5], [6], 0)], group=group, task=f"{group}") for group in (0, 0, 1, 1, 2)]
    whole[0].stop_reason = StopReason.ERROR
    assert [item.task for item in usable(whole)] == ["1", "1", "2"]


def test_aggregations():
    trajectories = torch.tensor([3, 3, 3, 8])
    for name, expected in (("token-mean", [0.25] * 4), ("row-mean", [1 / 6] * 3 + [0.5]), ("row-sum", [0.05] * 4)):
        assert token_weights(trajectories, AGGREGATIONS.find(name), 10).tolist() == pytest.approx(expected)
        assert token_weights(trajectories[:0], AGGREGATIONS.find(name), 10).shape == (0,)
    with pytest.raises(ConfigError, match="did you mean 'row-mean'"):
        AGGREGATIONS.find("row-men")
    with pytest.raises(ConfigError, match=r"one weight per token, a tensor of shape \(4,\), not a tensor of shape \(1,\)"):
        token_weights(trajectories, lambda trajectories, budget: torch.ones(1), 10)
