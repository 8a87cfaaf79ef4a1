import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.envs.alfworld.engine import FastEngine
from empg_gym.envs.alfworld.game import compile_game
from empg_gym.envs.alfworld.goals import COOL, HEAT, LOOK, PICK, SENTENCES, TASK_TYPES, TWO, Goal, parse_goal, resolve_task_types
from empg_gym.envs.alfworld.problem import parse_problem, write_problem
from empg_gym.envs.alfworld.texts import WORDINGS
from empg_gym.envs.alfworld.world.household import SIZES, SPLIT_SIZES, generate
from empg_gym.errors import ConfigError, DataError
from tests.alfworld.kitchen import LOOK_AT_APPLE, kitchen


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(list(SPLIT_SIZES)), st.sampled_from(SIZES), st.integers(0, 5_999))
def test_parsing_inverts_writing(split, size, index):
    problem = generate(split, size, index).problem
    assert parse_problem(write_problem(problem)) == problem


def test_parsing_ignores_comments_and_case():
    problem = parse_problem(kitchen())
    assert problem == parse_problem(kitchen().upper())
    assert problem.start == "loc_bar_0"
    assert ("apple_bar_1", "shelf_bar_1") in problem.inside
    assert parse_problem(write_problem(problem)) == problem


def test_goals():
    assert parse_problem(kitchen()).goal == Goal(PICK, "mug", "shelf")
    assert parse_problem(kitchen(LOOK_AT_APPLE)).goal == Goal(LOOK, "apple", lamp="desklamp")
    for kind in SENTENCES:
        goal = Goal(kind, "mug", lamp="desklamp") if kind == LOOK else Goal(kind, "mug", "desk")
        assert parse_goal(goal.pddl().lower()) == goal
        assert all("mug" in goal.sentence(i) and "{" not in goal.sentence(i) for i in range(2))


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("(:init", "(:begin", ":init"),
        ("(atLocation agent1 loc_bar_0)", "", "one location"),
        ("(receptacleType Shelf_bar_1 ShelfType)", "", "shelf_bar_1"),
        ("(objectType Egg_bar_1 EggType)", "", "egg_bar_1"),
        ("(atLocation agent1 loc_bar_0)", "(atLocation agent1 loc_bar_0) (holds agent1 zz)", "'zz'"),
        ("(atLocation agent1 loc_bar_0)", "(atLocation agent1 loc_bar_0) (holds agent1)", "''"),
        ("(inReceptacleObject Pencil_bar_1 Mug_bar_1)", "(inReceptacleObject Pencil_bar_1 zz)", "'zz'"),
        ("(inReceptacleObject Pencil_bar_1 Mug_bar_1)", "(inReceptacleObject zz Mug_bar_1)", "'zz'"),
        ("(receptacleType ?r ShelfType)", "(isSliced ?o) (objectType ?p EggType)", "six task types"),
        (
            "(receptacleAtLocation Shelf_bar_1 loc_bar_2)",
            "(receptacleAtLocation Shelf_bar_1 loc_bar_2) (receptacleAtLocation Shelf_bar_1 loc_bar_3)",
            "two locations",
        ),
    ],
)
def test_a_damaged_problem_is_named(before, after, says):
    text = kitchen()
    assert before in text
    with pytest.raises(DataError, match=says):
        parse_problem(text.replace(before, after))


WORDS = re.findall(r"[\w?-]+|[()]", kitchen())


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WORDS) - 1), st.sampled_from(["", "zz", "(", ")", *sorted(set(WORDS))]))
def test_any_single_change_gives_a_household_or_a_named_error(index, word):
    try:
        problem = parse_problem(" ".join([*WORDS[:index], word, *WORDS[index + 1 :]]).replace("( :", "(:").replace("( ", "("))
    except DataError:
        return
    FastEngine(WORDINGS["new"]).start(compile_game(problem))


def test_task_type_filters():
    assert resolve_task_types(None) == tuple(TASK_TYPES.values())
    assert resolve_task_types([5, HEAT]) == (HEAT, COOL)
    assert resolve_task_types(6) == resolve_task_types(TWO) == (TWO,)
    for bad in ([], [7], ["pick"], [0], [1.5], "", 3.5, object(), [[1]]):
        with pytest.raises(ConfigError):
            resolve_task_types(bad)
