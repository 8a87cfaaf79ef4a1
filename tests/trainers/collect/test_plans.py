"""Task sources and rollout plans: which episodes run, in which order, and at what cost."""

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from empg_gym.envs.alfworld.goals import TASK_TYPES
from empg_gym.errors import ConfigError
from empg_gym.recipe import EnvRecipe
from empg_gym.trainers.collect.plans import PLANS, PlanRequest
from empg_gym.trainers.collect.tasks import TASK_SOURCES, GroupSpec, TaskRequest, TaskTypes, uniform
from empg_gym.trajectory import Step, StopReason, Trajectory


def request(step=7, round=0, tasks=4, num_tasks=100, seed=3):
    kind = ("easy", "hard").__getitem__
    return TaskRequest(seed=seed, step=step, round=round, tasks=tasks, num_tasks=num_tasks, task_type=lambda task: kind(task % 2))


def test_tasks_of_a_step_are_a_function_of_seed_step_and_round():
    assert uniform(request()) == TASK_SOURCES.bind("uniform", {})(request())
    drawn = [uniform(request(**change)) for change in ({}, {"step": 8}, {"round": 1}, {"seed": 4})]
    assert len({tuple((group.task, group.seed) for group in groups) for groups in drawn}) == 4
    first, second = drawn[0][0].episode(0), drawn[0][0].episode(1)
    assert (first.task, first.seed, first.group) == (second.task, second.seed, second.group)
    assert first.agent_seed != second.agent_seed
    assert [group.group for group in drawn[2]] == [4, 5, 6, 7], "another round has its own groups"


@given(st.integers(1, 20), st.integers(1, 20))
def test_tasks_repeat_only_where_the_split_is_too_small(tasks, num_tasks):
    drawn = [group.task for group in uniform(request(tasks=tasks, num_tasks=num_tasks))]
    assert len(drawn) == tasks and set(drawn) <= set(range(num_tasks))
    assert num_tasks < tasks or len(set(drawn)) == tasks


def test_weights_say_how_often_a_type_is_drawn():
    drawn = TASK_SOURCES.bind("weighted", {"weights": {"hard": 9}})
    groups = drawn(request(tasks=4000, num_tasks=1000))
    assert groups == drawn(request(tasks=4000, num_tasks=1000))
    assert sum(group.task % 2 for group in groups) == pytest.approx(3600, abs=80)  # 4 standard deviations
    assert [group.group for group in drawn(request(round=2))] == [8, 9, 10, 11]
    with pytest.raises(ConfigError, match="above 0"):
        TASK_SOURCES.bind("weighted", {"weights": {"hard": 0}})(request())


def test_the_types_of_tasks_are_those_of_the_environment():
    types = TaskTypes(EnvRecipe("EMPG/ALFWorld-v0", kwargs={"size": "small"}))
    assert [types(task) for task in range(6)] == [TASK_TYPES[1 + task] for task in range(6)]
    types.close()


class World:
    """Runs episodes without an environment: the outcome is a function of (task, repeat)."""

    def __init__(self, rule, tasks=3, repeats=4):
        self.rule, self.tasks, self.repeats = rule, tasks, repeats
        self.played = []

    def draw(self, round):
        return [GroupSpec(group=round * self.tasks + index, task=round * self.tasks + index, seed=0) for index in range(self.tasks)]

    async def play(self, specs):
        self.played += specs
        return [self.episode(spec) for spec in specs]

    def episode(self, spec):
        outcome = self.rule(spec.task, spec.repeat)
        step = Step(observation="", response="", thought="", action="", valid_action=True, reward=0.0)
        return Trajectory(
            env_id="", env_version="", data_fingerprint="", split="", task=str(spec.task), instruction="", group=spec.group,
            repeat=spec.repeat, success=outcome is True, steps=[] if outcome == "no step" else [step],
            stop_reason=StopReason.ERROR if outcome is None else StopReason.TERMINATED,
        )  # fmt: skip

    def collect(self, plan, **options):
        given = PlanRequest(
            repeats=self.repeats,
            draw=self.draw,
            play=self.play,
            outcome=lambda item: float(item.success),
            point=self.point,
            rng=np.random.default_rng,
        )
        return asyncio.run(PLANS.bind(plan, options)(given))

    async def point(self, trajectory, step):
        raise AssertionError("only a branching plan asks for points")


def test_groups_plays_every_group_once():
    world = World(lambda task, repeat: True)
    found = world.collect("groups")
    assert [(item.group, item.repeat) for item in found.trajectories] == [(group, repeat) for group in range(3) for repeat in range(4)]
    assert not found.discarded and len(world.played) == 12


def mixed_every_third(task, repeat):
    return repeat == 0 if task % 3 == 0 else task % 3 == 1


def test_dynamic_samples_until_enough_groups_are_informative():
    world = World(mixed_every_third)
    found = world.collect("dynamic")
    assert sorted({item.group for item in found.trajectories}) == [0, 3, 6]
    assert found.metrics == {
        "collect/rounds": 3.0, "collect/informative_groups": 3.0, "collect/discarded_groups": 6.0, "collect/discarded_tokens": 0.0,
    }  # fmt: skip
    assert len(found.trajectories) + len(found.discarded) == len(world.played) == 36


def test_dynamic_stops_at_its_bound_and_keeps_or_fills():
    kept = World(mixed_every_third).collect("dynamic", max_rounds=2)
    assert sorted({item.group for item in kept.trajectories}) == [0, 3]
    filled = World(mixed_every_third).collect("dynamic", max_rounds=2, on_shortfall="fill")
    assert sorted({item.group for item in filled.trajectories}) == [0, 1, 3]
    assert len(filled.discarded) == 12
    nothing = World(lambda task, repeat: False).collect("dynamic", max_rounds=2)
    assert nothing.trajectories == [] and len(nothing.discarded) == 24


def test_dynamic_discards_a_surplus_and_ignores_failed_episodes():
    found = World(lambda task, repeat: repeat % 2 == 0, tasks=2).collect("dynamic", max_rounds=3)
    assert len(found.trajectories) == 8 and found.metrics["collect/rounds"] == 1.0
    errors = World(lambda task, repeat: None if repeat == 0 else True).collect("dynamic", max_rounds=1)
    assert errors.metrics["collect/informative_groups"] == 0.0
    mute = World(lambda task, repeat: False if repeat else "no step").collect("dynamic", max_rounds=1)
    assert mute.metrics["collect/informative_groups"] == 0.0, "an episode without a step says nothing"


def test_dynamic_fills_with_failed_groups_last():
    found = World(lambda task, repeat: None if task == 0 else True, tasks=2).collect("dynamic", max_rounds=2, on_shortfall="fill")
    assert sorted({item.group for item in found.trajectories}) == [1, 2]


@pytest.mark.parametrize("options", [{"max_rounds": 0}, {"on_shortfall": "drop"}])
def test_dynamic_refuses_invalid_options(options):
    with pytest.raises(ConfigError, match="dynamic expects"):
        World(mixed_every_third).collect("dynamic", **options)


def test_unknown_plans_and_options_name_the_nearest():
    with pytest.raises(ConfigError, match="unknown rollout plan 'group'; did you mean 'groups'"):
        PLANS.find("group")
    with pytest.raises(ConfigError, match="has no option 'max_round'; did you mean 'max_rounds'"):
        PLANS.bind("dynamic", {"max_round": 3})
