"""AEPO's rollout on real environments: budgets, trees, shared prefixes, and the released code's defects that it must not have."""

import asyncio
import dataclasses
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.agents.base import BaseAgent
from empg_gym.errors import ConfigError, TrainingError
from empg_gym.recipe import EnvRecipe
from empg_gym.rollout import Rollout
from empg_gym.trainers.collect.collector import Collector
from empg_gym.trainers.collect.journal import Journal
from empg_gym.trainers.collect.plans import PLANS
from empg_gym.trainers.collect.plans.branching import _Rule, _Tree
from empg_gym.trainers.collect.tasks import TaskTypes, uniform
from empg_gym.trainers.data.batch import make_batch
from empg_gym.trajectory import Completion, StopReason, Trajectory, path_of, read_trajectories, write_trajectories

WORLDS = {
    "ALFWorld": {"size": "small", "max_steps": 6},
    "WebShop": {"max_steps": 6},
    "DeepSearch": {"max_steps": 4},
}


class Scribe(BaseAgent):
    """Takes random actions; its tokens are the bytes of the conversation, and its entropies are random."""

    entropies = True

    def session(self, env, seed):
        return Session(env, np.random.default_rng(seed), self.entropies)


class Session:
    def __init__(self, env, rng, entropies):
        self.env, self.rng, self.entropies, self.read = env, rng, entropies, 0

    def act(self, messages, *, tools=None):
        env, rng = self.env, self.rng
        actions = env.admissible_actions or ["look"]
        text = env.dialogue.render("", actions[int(rng.integers(len(actions)))].replace("<query>", "red").replace("<question>", "who"))
        ids = np.frombuffer(text.encode()[:40], np.uint8).astype(np.int32)
        prompt = np.frombuffer(messages[-1]["content"].encode()[:50], np.uint8).astype(np.int32)
        return Completion(
            text=text, token_ids=ids, prompt_token_ids=prompt, logprobs=np.full(len(ids), -1.0, np.float32),
            entropies=rng.random(len(ids)).astype(np.float32) if self.entropies else None,
        )  # fmt: skip


def collect(world="ALFWorld", journal=None, agent=None, repeats=6, tasks=2, step=3, **options):
    recipe = EnvRecipe(f"EMPG/{world}-v0", {"split": "train", **WORLDS[world]})
    rollout = Rollout(recipe, agent or Scribe())
    collector = Collector(
        rollout, journal, source=uniform, plan=PLANS.bind("branching", options), outcome=lambda item: float(item.success),
        seed=0, tasks=tasks, repeats=repeats, num_tasks=recipe.num_tasks(), task_types=TaskTypes(recipe),
    )  # fmt: skip
    try:
        return collector.collect(step)
    finally:
        collector.close()


def plain(trajectory):
    """Return the record without times."""
    for one in trajectory.steps:
        one.model_seconds = one.env_seconds = 0.0
    return trajectory.to_json()


@pytest.mark.parametrize("world", WORLDS)
def test_every_tree_uses_its_budget_and_branches_share_their_prefix(world):
    found = collect(world, initial=2)
    episodes = found.trajectories
    assert [(item.group, item.repeat) for item in episodes] == [(group, repeat) for group in range(2) for repeat in range(6)]
    branches = [item for item in episodes if item.parent is not None]
    assert branches and found.metrics["collect/branches"] == len(branches)
    assert len({plain(item) for item in episodes}) == len(episodes), "no episode is a copy of another"
    env = EnvRecipe(f"EMPG/{world}-v0", {"split": "train", **WORLDS[world]}).make()
    for item in branches:
        parent = next(other for other in episodes if (other.group, other.repeat) == (item.group, item.parent))
        own = item.branch_step - parent.branch_step
        assert item.branch_step >= 1 and 0 <= own < len(parent.steps)
        assert item.steps[0].observation == parent.steps[own].observation and item.steps[0].state_key == parent.steps[own].state_key
        # The whole path is a real episode: played from the start it has the same observations, states and rewards.
        env.reset(seed=item.seed, options={"task": item.task})
        path = path_of(item, episodes)
        for step in path:
            assert env.messages[-1]["content"] == step.observation
            _, reward, *_ = env.step(step.response)
            assert reward == step.reward
        assert env.trajectory.total_reward == pytest.approx(item.total_reward)
        assert (env.trajectory.success, env.trajectory.final_state_key) == (item.success, item.final_state_key)
    env.close()


def test_the_tree_is_a_function_of_the_seed(tmp_path):
    first, second = collect(), collect()
    assert [plain(item) for item in first.trajectories] == [plain(item) for item in second.trajectories]
    assert [plain(item) for item in collect(step=4).trajectories] != [plain(item) for item in first.trajectories]


@pytest.mark.parametrize("kept", [1, 5, 9])
def test_a_killed_step_resumes_its_trees_from_the_journal(tmp_path, kept):
    whole = collect(journal=Journal(tmp_path))
    path = Journal(tmp_path).path(4)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 12
    path.write_text("".join(lines[:kept]) + lines[kept][:50])
    resumed = collect(journal=Journal(tmp_path))
    assert [plain(item) for item in resumed.trajectories] == [plain(item) for item in whole.trajectories]
    assert len(list(read_trajectories(path))) == 12


def test_what_branched_off_a_replaced_episode_is_played_again(tmp_path):
    options = {"initial": 1, "repeats": 8, "tasks": 1}
    whole = collect(journal=Journal(tmp_path), **options).trajectories
    child = next(item for item in whole if item.parent)
    path = Journal(tmp_path).path(4)
    records = list(read_trajectories(path))
    for record in records:
        if record.repeat == child.parent:
            record.branch_step += 1  # the recording of another episode of that name, from which `child` then branched off
        elif record.repeat == child.repeat:
            record.steps[0].response = "stale"
    path.unlink()
    write_trajectories(path, records)
    resumed = collect(journal=Journal(tmp_path), **options).trajectories
    assert [plain(item) for item in resumed] == [plain(item) for item in whole]
    again = collect(journal=Journal(tmp_path), **options).trajectories
    assert [plain(item) for item in again] == [plain(item) for item in whole], "nor does the file's older line count"


def test_a_shared_prefix_is_trained_and_counted_once():
    episodes = collect(initial=1, repeats=8, tasks=1).trajectories
    batch = make_batch(episodes)
    steps = batch.steps(torch.zeros(len(batch.rollout_logprobs)))
    assert len(steps.step) == sum(len(item.steps) for item in episodes)
    assert len(batch.rollout_logprobs) == sum(item.num_tokens for item in episodes)
    branches = [index for index, item in enumerate(episodes) if item.parent is not None]
    assert branches
    for index in branches:
        (row,) = [row for row in batch.rows if row.trajectory == index]
        path = path_of(episodes[index], episodes)
        expected = np.concatenate([np.concatenate([step.prompt_token_ids, step.response_token_ids]) for step in path])
        assert row.ids.tolist() == expected.tolist(), "the row holds the whole path"
        assert int(row.generated.sum()) == episodes[index].num_tokens, "and trains on its own steps"
        assert int(steps.parent[index]) == episodes[index].parent and int(steps.branch_step[index]) == episodes[index].branch_step
        assert steps.step[steps.trajectory == index].tolist() == list(range(episodes[index].branch_step, len(path)))


def test_points_are_picklable_and_continue_in_another_environment():
    recipe = EnvRecipe("EMPG/ALFWorld-v0", {"size": "small"})
    env, other = recipe.make(), recipe.make()
    env.reset(seed=3)
    env.step(env.dialogue.render("", env.admissible_actions[0]))
    point = pickle.loads(pickle.dumps(env.snapshot()))
    action = env.dialogue.render("", env.admissible_actions[-1])
    expected = env.step(action)
    assert other.restore(point)[0] == point.message
    assert other.step(action)[:4] == expected[:4]
    assert [step.action for step in other.trajectory.steps] == [step.action for step in env.trajectory.steps]
    other.restore(point, branch=True)
    assert (other.trajectory.steps, other.trajectory.branch_step, len(other.path)) == ([], 1, 1)


def test_branching_refuses_invalid_options():
    for options in ({"initial": 0}, {"initial": 7}, {"alpha": 2.0}, {"monitor_tokens": 0}, {"gamma": -1.0}):
        with pytest.raises(ConfigError, match="branching expects"):
            collect(**options)
    silent = Scribe()
    silent.entropies = False
    with pytest.raises(TrainingError, match="needs the entropy of every generated token"):
        collect(agent=silent)


def rule(**changes):
    return _Rule(**{"beta": 0.5, "alpha": 0.5, "gamma": 0.2, "penalty": 0.05, "threshold": 0.5, "monitor_tokens": 20, **changes})


def episode(entropies):
    env = EnvRecipe("EMPG/ALFWorld-v0", {"size": "small"}).make()
    env.reset(seed=0)
    for value in entropies:
        ids = np.arange(25, dtype=np.int32)
        env.step(
            Completion(
                text="x", token_ids=ids, prompt_token_ids=ids, entropies=np.r_[np.full(20, value), np.full(5, 9.0)].astype(np.float32)
            )
        )
    return env.trajectory


def test_pre_monitoring_splits_the_budget_by_the_entropy_gap():
    assert rule().episodes_from_start(episode([1.0, 1.0, 1.0]), 16) == 8
    assert rule(beta=2.0).episodes_from_start(episode([2.0, 0.5, 0.5]), 16) == round(16 / (1 + np.exp(-3.0)))
    assert rule(beta=2.0).episodes_from_start(episode([0.0, 2.0, 2.0]), 16) == max(1, round(16 / (1 + np.exp(4.0))))
    assert rule().episodes_from_start(episode([1.0]), 4) == 2, "without later steps the gap is 0"


def test_only_the_monitored_tokens_count_and_their_entropy_is_a_mean():
    step = episode([1.5]).steps[0]
    assert rule().entropy(step) == pytest.approx(1.5)
    assert rule(monitor_tokens=25).entropy(step) == pytest.approx((20 * 1.5 + 5 * 9.0) / 25)


@settings(max_examples=200)
@given(st.floats(0, 5), st.floats(0, 5), st.integers(0, 30))
def test_branching_needs_rising_entropy_and_tires_of_consecutive_branches(entropy, root, consecutive):
    rng = np.random.default_rng(0)
    decided = rule().branches(entropy, root, consecutive, rng)
    assert decided == ((0.5 + 0.2 * (entropy - root)) * max(0.0, 1 - 0.05 * consecutive) > 0.5)
    if decided and consecutive:
        assert rule().branches(entropy, root, consecutive - 1, rng)
    assert not rule().branches(entropy, root, 20, rng)


def test_the_reference_entropy_is_the_tasks_own_and_of_this_step():
    """Released: the first batch's entropies stay the reference of all later ones."""

    class Certain(Scribe):
        """Sure at the first training step's tasks, unsure later: only the rise within an episode may count."""

        level = 0.0

        def session(self, env, seed):
            session = super().session(env, seed)
            act = session.act

            def level(messages, *, tools=None):
                reply = act(messages, tools=tools)
                return dataclasses.replace(reply, entropies=np.full(len(reply.token_ids), self.level, np.float32))

            session.act = level
            return session

    agent = Certain()
    assert collect(agent=agent, alpha=0.5, initial=2).metrics["collect/branches"] == 0.0, "no rise, no branch"
    agent.level = 3.0
    assert collect(agent=agent, alpha=0.5, initial=2, step=4).metrics["collect/branches"] == 0.0, "a higher level is not a rise"
    assert collect(agent=agent, alpha=0.6, initial=2, step=4).metrics["collect/branches"] > 0.0


def test_consecutive_branches_are_counted_along_a_path_and_reset_by_a_step_without_one():
    """The released code counts per question and round, regardless of which episode branched."""
    found = collect(initial=1, repeats=12, tasks=1, alpha=1.0, penalty=0.0).trajectories
    tree = _Tree.__new__(_Tree)
    tree.episodes = found
    tree._branched = {(item.parent, item.branch_step) for item in found if item.parent is not None}
    first = found[0]
    assert [tree._consecutive(first, step) for step in (1, 2, 3)] == [0, 1, 2]
    tree._branched.discard((0, 2))
    assert tree._consecutive(first, 3) == 0, "a step without a branch resets the count"
    child = next(item for item in found if item.parent == 0 and item.branch_step == 2)
    assert tree._consecutive(child, 2) == 1, "a branch inherits the count of the path that it shares"


def test_a_failed_episode_is_not_branched_from():
    class Failing(Scribe):
        def session(self, env, seed):
            session = super().session(env, seed)
            if env.trajectory.seed is not None and seed % 3 == 0:
                session.act = None
            return session

    episodes = collect(agent=Failing(), repeats=8).trajectories
    failed = {(item.group, item.repeat) for item in episodes if item.stop_reason is StopReason.ERROR}
    assert not any((item.group, item.parent) in failed for item in episodes)


def test_a_missing_ancestor_is_named():
    lost = Trajectory(env_id="", env_version="", data_fingerprint="", split="", task="t", instruction="", repeat=3, parent=1, branch_step=2)
    with pytest.raises(Exception, match="was branched from episode 1, which is missing"):
        path_of(lost, [lost])
    assert asyncio.iscoroutinefunction(PLANS.find("branching"))
