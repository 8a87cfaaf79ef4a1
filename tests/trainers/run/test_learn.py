"""What a step learns from batches that failures, filters and empty responses have thinned out."""

import dataclasses
import io
import math

import numpy as np
import pytest
import torch
from rich.console import Console

from empg_gym.errors import TrainingError
from empg_gym.trainers.collect.plans import Collection
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import StopReason
from tests.trainers.corridor import corridor_config
from tests.trainers.data.test_rows import make_trajectory


@pytest.fixture
def learner(tmp_path):
    """Return a function that makes an iteration with the given options of the algorithm."""

    def make(**algorithm):
        config = corridor_config(str(tmp_path / "run"), algorithm={"advantage": "grpo", **algorithm}, eval={"splits": []})
        run = Trainer(config, ProgressView(Console(file=io.StringIO())))
        return run._iteration(run._optimizer(run.config.rl.optimizer, 10))

    return make


def group_of(*outcomes, group=0, steps=(([5], [6, 2], 0),)):
    """Make a group of episodes: True for a success, False for a failure, None for an episode that an error ended."""
    reasons = [StopReason.ERROR if outcome is None else StopReason.TERMINATED for outcome in outcomes]
    return [
        make_trajectory(list(steps), group=group, repeat=repeat, success=bool(outcome), stop_reason=reason)
        for repeat, (outcome, reason) in enumerate(zip(outcomes, reasons, strict=True))
    ]


def test_a_failed_episode_does_not_make_its_group_informative(learner):
    solved, mixed = group_of(True, True, None, group=0), group_of(True, False, None, group=1)
    batch = learner(filters=("informative",)).batch(Collection(trajectories=[*solved, *mixed]))
    assert [(item.group, item.repeat) for item in batch.trajectories] == [(1, 0), (1, 1)]


def test_filtered_episodes_are_not_failed_ones(learner):
    collection = Collection(trajectories=[*group_of(True, True, None, group=0), *group_of(True, False, None, group=1)])
    assert learner(filters=("informative",)).learn(0, collection)["train/failed_episodes"] == 2


def test_a_step_ends_the_run_where_all_episodes_failed_and_were_discarded(learner):
    collection = Collection(trajectories=[], discarded=group_of(None, None))
    iteration = learner()
    with pytest.raises(TrainingError, match="all 2 episodes of reinforcement step 1 failed"):
        iteration.learn(0, collection)
    assert iteration.learn(0, Collection(trajectories=[], discarded=group_of(True, True))) == {"train/failed_episodes": 0.0}


def test_a_batch_without_generated_tokens_changes_nothing(learner):
    silent = group_of(True, False, steps=[([5], [], 0)])
    iteration = learner()
    before = [item.clone() for item in iteration.policy.model.parameters()]
    assert iteration.learn(0, Collection(trajectories=silent)) == {"train/failed_episodes": 0.0}
    assert all(torch.equal(old, new) for old, new in zip(before, iteration.policy.model.parameters(), strict=True))


@pytest.mark.parametrize("method", ["grpo", "empg", "aepo"])
def test_a_token_without_entropy_is_refused_with_its_step(learner, method):
    iteration = learner(advantage=method)
    collection = Collection(trajectories=group_of(True, False, steps=[([5], [6, 2], 0), ([7], [8], 0)]))
    whole = iteration.score(iteration.batch(collection))
    entropies = whole.entropies.clone()
    entropies[5] = math.nan  # the second step of the second episode
    iteration.stages = dataclasses.replace(iteration.stages, scorer=lambda policy, batch: TokenScores(whole.logprobs, entropies))
    with pytest.raises(TrainingError, match=r"entropy of a token of step 1 of task 't' \(group 0, repeat 1\) is nan"):
        iteration.learn(0, collection)


def shorter_half(trajectories, outcomes):
    """A filter that looks at single episodes."""
    return [len(item.steps) < 3 for item in trajectories]


def family():
    """Episode 1 branched off episode 0 before its step 1, episode 2 off episode 1 before its step 2; episode 3 began at the start."""
    steps = [([5], [6, 2], 0), ([7], [8, 2], 0), ([9], [10, 2], 0), ([11], [12, 2], 0)]
    return [
        make_trajectory(steps[:2], repeat=0, success=True),
        make_trajectory(steps[1:], repeat=1, parent=0, branch_step=1),
        make_trajectory(steps[2:], repeat=2, parent=1, branch_step=2, success=True),
        make_trajectory(steps[:1], repeat=3),
    ]


def test_a_branch_keeps_its_context_and_its_tree_where_a_filter_drops_its_parent(learner):
    batch = learner(filters=(f"{__name__}:shorter_half",)).batch(Collection(trajectories=family()))
    assert [item.repeat for item in batch.trajectories] == [0, 2, 3]
    assert batch.rows[1].ids.tolist() == [5, 6, 2, 7, 8, 2, 9, 10, 2, 11, 12, 2], "the row holds the whole path"
    steps = batch.steps(torch.ones(10))
    assert steps.parent.tolist() == [-1, 0, -1] and steps.branch_step.tolist() == [0, 1, 0], "the nearest ancestor that is left"
    assert steps.tree[0] == steps.tree[1] != steps.tree[2]


def own_tokens(trajectory):
    return float(trajectory.num_tokens)


def test_a_shaper_sees_the_whole_path_of_a_branch(learner):
    batch = learner(shapers=(f"{__name__}:own_tokens",)).batch(Collection(trajectories=family()))
    assert (batch.rewards - torch.tensor([1.0, 0.0, 1.0, 0.0])).tolist() == [4.0, 8.0, 8.0, 2.0]
    assert [len(item.steps) for item in batch.trajectories] == [2, 3, 2, 1]
    assert np.isfinite(batch.rewards.numpy()).all()
