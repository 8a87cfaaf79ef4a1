"""A step that several episodes share gets the mean of their advantages; without branches nothing changes, to the bit."""

import dataclasses

import torch

from empg_gym.trainers.algorithms import ADVANTAGES, RolloutSteps, get_advantage
from empg_gym.trainers.algorithms.branches import mean_over_paths
from empg_gym.trainers.run.probe import PROBE_BATCH

# Episode 0 has steps 0..3; episode 1 branches off before step 2, episode 2 off episode 1 before its step 3, episode 3 before step 1.
TREE = RolloutSteps(
    rewards=torch.tensor([0.0, 1.0, 4.0, 7.0], dtype=torch.float64),
    groups=torch.tensor([0, 0, 0, 0]),
    trajectory=torch.tensor([0, 0, 0, 0, 1, 1, 2, 3]),
    step=torch.tensor([0, 1, 2, 3, 2, 3, 3, 1]),
    entropies=torch.full((8,), 0.5, dtype=torch.float64),
    step_rewards=torch.zeros(8, dtype=torch.float64),
    tree=torch.tensor([0, 0, 0, 0]),
    parent=torch.tensor([-1, 0, 1, 0]),
    branch_step=torch.tensor([0, 2, 3, 1]),
)


def test_shared_steps_get_the_mean_over_their_paths():
    values = mean_over_paths(TREE.rewards, TREE)
    # Step 0 is shared by all, step 1 by episodes 0, 1 and 2, step 2 of episode 1 by 1 and 2.
    assert values.tolist() == [3.0, 5 / 3, 0.0, 0.0, 2.5, 1.0, 4.0, 7.0]


def test_grpo_over_a_tree():
    found = get_advantage("grpo", {"scale": False})(TREE).values
    assert torch.allclose(found, mean_over_paths(TREE.rewards - TREE.rewards.mean(), TREE))


def test_without_branches_nothing_changes():
    for name in ADVANTAGES:
        alone = dict.fromkeys(("tree", "parent", "branch_step"))
        whole = get_advantage(name)(PROBE_BATCH).values
        assert torch.equal(whole, get_advantage(name)(dataclasses.replace(PROBE_BATCH, **alone)).values), name
