"""Every sentence and rule of the engine, in a household written by hand."""

import pickle

import pytest

from empg_gym.envs.alfworld.engine import FastEngine
from empg_gym.envs.alfworld.game import compile_game
from empg_gym.envs.alfworld.problem import parse_problem
from empg_gym.envs.alfworld.texts import HELP, WORDINGS, enumerate_names, strip_intro
from tests.alfworld.kitchen import LOOK_AT_APPLE, PUT_MUG, kitchen


def start(goal=PUT_MUG, wording="new"):
    engine = FastEngine(WORDINGS[wording])
    engine.intro = engine.start(compile_game(parse_problem(kitchen(goal))), goal="GOAL")
    return engine


def play(engine, *commands):
    return [engine.step(command).text for command in commands]


def test_intro_lists_receptacles_in_id_order():
    text = start().intro
    assert text == (
        "-= Welcome to TextWorld, ALFRED! =-\n\nYou are in the middle of a room. Looking quickly around you, you see a cabinet 2, "
        "a cabinet 1, a countertop 1, a fridge 1, a microwave 1, a shelf 1, and a sinkbasin 1.\n\nYour task is to: GOAL."
    )
    assert strip_intro(text).startswith("You are in")


def test_lists():
    assert enumerate_names([]) == "nothing"
    assert enumerate_names(["x 1"]) == "a x 1"
    assert enumerate_names(["x 2", "x 1"]) == "a x 2, and a x 1"
    assert enumerate_names(["x 2", "x 1", "y 1"]) == "a x 2, a x 1, and a y 1"


def test_nothing_is_at_hand_at_the_start():
    engine = start()
    assert play(engine, "look", "inventory") == [
        "You are in the middle of a room. Looking quickly around you, you see nothing.",
        "You are not carrying anything.",
    ]
    moves = [f"go to {name}" for name in sorted(engine.game.receptacles)]
    assert engine.admissible == sorted([*moves, "help", "inventory", "look"])


def test_going_looking_opening_closing():
    engine = start()
    # Both cabinets are at one location; the first id has the higher number.
    assert play(engine, "go to cabinet 2", "look", "examine cabinet 1", "go to cabinet 1") == [
        "You arrive at cabinet 2. The cabinet 2 is closed.",
        "You are facing the cabinet 2, and cabinet 1. Next to it, you see nothing.",
        "The cabinet 1 is open. In it, you see nothing.",
        "Nothing happens.",
    ]
    assert play(engine, "take mug 1 from cabinet 2", "open cabinet 2", "open cabinet 2", "close cabinet 2", "examine cabinet 2") == [
        "Nothing happens.",
        "You open the cabinet 2. The cabinet 2 is open. In it, you see a mug 1, and a pencil 1.",
        "Nothing happens.",
        "You close the cabinet 2.",
        "The cabinet 2 is closed.",
    ]


def test_taking_and_putting():
    engine = start()
    play(engine, "go to cabinet 2", "open cabinet 2")
    assert play(engine, "take mug 1 from cabinet 2", "take pencil 1 from cabinet 2", "inventory", "examine mug 1", "look") == [
        "You pick up the mug 1 from the cabinet 2.",
        "Nothing happens.",
        "You are carrying: a mug 1.",
        "This is a normal mug 1. In it, you see a pencil 1.",
        "You are facing the cabinet 2, and cabinet 1. Next to it, you see nothing.",
    ]
    # Put down next to the receptacle that it was taken from, it is listed there.
    assert play(engine, "move mug 1 to cabinet 1", "look") == [
        "You move the mug 1 to the cabinet 1.",
        "You are facing the cabinet 2, and cabinet 1. Next to it, you see a mug 1.",
    ]
    play(engine, "take mug 1 from cabinet 1", "move mug 1 to cabinet 2")
    assert play(engine, "look") == ["You are facing the cabinet 2, and cabinet 1. Next to it, you see a mug 1."]
    assert not engine.won
    play(engine, "take mug 1 from cabinet 2", "go to shelf 1")
    assert not engine.step("move mug 1 to countertop 1").valid  # can't contain it
    assert engine.step("move mug 1 to shelf 1").valid
    assert engine.won


def test_an_object_in_two_receptacles_is_taken_from_one_of_them():
    engine = start()
    assert play(engine, "go to countertop 1", "take apple 1 from shelf 1", "examine countertop 1", "examine shelf 1")[1:] == [
        "You pick up the apple 1 from the shelf 1.",
        "On the countertop 1, you see a apple 1, and a knife 1.",
        "On the shelf 1, you see a desklamp 1.",
    ]


def test_hot_cool_clean_without_opening():
    engine = start()
    play(engine, "go to countertop 1", "take apple 1 from countertop 1")
    assert play(engine, "examine apple 1") == ["There's nothing special about apple 1."]
    assert play(engine, "go to microwave 1", "heat apple 1 with microwave 1", "examine apple 1") == [
        "You arrive at microwave 1. The microwave 1 is closed.",
        "You heat the apple 1 using the microwave 1.",
        "This is a hot apple 1.",
    ]
    play(engine, "go to sinkbasin 1")
    assert play(engine, "clean apple 1 with sinkbasin 1", "examine apple 1") == [
        "You clean the apple 1 using the sinkbasin 1.",
        "This is a hot and clean apple 1.",
    ]
    play(engine, "go to fridge 1")
    assert play(engine, "cool apple 1 with fridge 1", "examine apple 1") == [
        "You cool the apple 1 using the fridge 1.",
        "This is a cool and clean apple 1.",
    ]
    play(engine, "open fridge 1", "move apple 1 to fridge 1", "take egg 1 from fridge 1")
    assert play(engine, "examine egg 1") == ["This is a cold egg 1."]
    assert not engine.step("clean egg 1 with sinkbasin 1").valid


def test_slicing_needs_a_knife_and_the_object_at_hand():
    engine = start()
    play(engine, "go to countertop 1")
    assert not engine.step("slice apple 1 with knife 1").valid
    play(engine, "take knife 1 from countertop 1")
    assert play(engine, "slice apple 1 with knife 1") == ["You sliced the apple 1 with the knife 1."]
    play(engine, "move knife 1 to countertop 1", "take apple 1 from countertop 1")
    assert play(engine, "examine apple 1") == ["This is a sliced apple 1."]
    play(engine, "go to fridge 1", "cool apple 1 with fridge 1")
    assert play(engine, "examine apple 1") == ["This is a cool sliced apple 1."]


@pytest.mark.parametrize("first", ["take apple 1 from countertop 1", "use desklamp 1"])
def test_looking_under_the_lamp_is_won_in_either_order(first):
    engine = start(LOOK_AT_APPLE)
    play(engine, "go to shelf 1", first)
    assert not engine.won
    assert play(engine, "use desklamp 1" if first.startswith("take") else "take apple 1 from countertop 1")[0].startswith("You ")
    assert engine.won
    assert play(engine, "use desklamp 1") == ["You turn on the desklamp 1."]
    assert engine.won  # toggling again changes nothing
    play(engine, "go to fridge 1")
    assert not engine.won
    play(engine, "go to shelf 1")
    assert engine.won


def test_help_and_the_old_wording():
    assert play(start(), "help") == [HELP]
    engine = start(wording="old")
    assert "help" not in engine.admissible
    assert play(engine, "help", "go to cabinet 2") == ["Nothing happens.", "You arrive at loc 6. The cabinet 2 is closed."]
    play(engine, "open cabinet 2", "take mug 1 from cabinet 2", "go to shelf 1")
    assert play(engine, "move mug 1 to shelf 1", "put mug 1 in/on shelf 1") == ["Nothing happens.", "You put the mug 1 in/on the shelf 1."]
    assert engine.won


def test_only_exact_commands_are_valid():
    engine = start()
    before = engine.save()
    for text in ("Go to cabinet 1", "go to  cabinet 1", "go to cabinet 9", "", "\x00", "look around"):
        assert engine.step(text) == ("Nothing happens.", False)
    assert engine.save() == before
    assert engine.step("  go to cabinet 1\n").valid


def test_points_and_games_survive_pickling():
    engine = start()
    play(engine, "go to countertop 1", "take apple 1 from countertop 1")
    other = FastEngine(WORDINGS["new"])
    other.start(pickle.loads(pickle.dumps(engine.game)))
    other.load(pickle.loads(pickle.dumps(engine.save())))
    assert other.admissible == engine.admissible
    assert other.state == engine.state
