"""Which episodes an evaluation runs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from empg_gym.rollout.plan import choose_tasks, draw_indices, episode_seed, episode_specs
from tests.toy import DoorsEnv

SIZES = st.integers(1, 300)
SEEDS = st.integers(0, 2**63 - 1)


@given(SIZES, SIZES, SIZES, SEEDS)
def test_fewer_tasks_are_a_subset_of_more_in_the_order_of_the_split(num_tasks, one, other, seed):
    few, many = (draw_indices(num_tasks, count, seed) for count in sorted((one, other)))
    assert set(few) <= set(many) <= set(range(num_tasks))
    assert (len(few), len(many)) == (min(num_tasks, one, other), min(num_tasks, max(one, other)))
    assert few == sorted(set(few)) and many == sorted(set(many))


def test_another_seed_draws_other_tasks():
    assert draw_indices(100, 10, 0) == draw_indices(100, 10, 0) != draw_indices(100, 10, 1)


def test_drawn_tasks_are_ids_of_the_split():
    env = DoorsEnv(split="test")
    drawn = choose_tasks(env, tasks=None, episodes=7, seed=3)
    assert drawn == [env.task_id(index) for index in draw_indices(env.num_tasks, 7, 3)]


def test_an_episode_does_not_depend_on_the_other_tasks():
    alone = list(episode_specs(["b"], seed=5))
    among = list(episode_specs(["a", "b"], repeats=2, seed=5))
    assert [(spec.task, spec.repeat) for spec in among] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert (alone[0].seed, alone[0].agent_seed) == (among[1].seed, among[1].agent_seed)
    assert among[3].seed == among[1].seed == episode_seed(5, "b") and among[3].agent_seed != among[1].agent_seed
    assert len({spec.agent_seed for spec in among}) == 4
