"""`engine="textworld"`, and the games that we write for TextWorld."""

import json
import sys
from importlib.util import find_spec

import pytest

from empg_gym.envs.alfworld.engine import FastEngine
from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.envs.alfworld.game import compile_game
from empg_gym.envs.alfworld.logic import game_file, write_game
from empg_gym.envs.alfworld.problem import parse_problem, write_problem
from empg_gym.envs.alfworld.texts import WORDINGS
from empg_gym.envs.alfworld.world.household import generate
from empg_gym.errors import MissingDependencyError, OutputExistsError
from tests.alfworld.kitchen import LOOK_AT_APPLE, kitchen
from tests.alfworld.release import make_release

textworld = pytest.mark.skipif(
    find_spec("textworld") is None or find_spec("fast_downward") is None, reason="needs the package textworld[pddl]"
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@textworld
@pytest.mark.parametrize("wording", ["new", "old"])
def test_both_engines_give_the_same_episodes(wording):
    fast, slow = (ALFWorldEnv("valid_unseen", size="small", wording=wording, engine=engine) for engine in ("fast", "textworld"))
    argv = list(sys.argv)
    for task in (1, 3):
        assert fast.reset(seed=1, options={"task": task}) == slow.reset(seed=1, options={"task": task})
        for text in ("look", "help", "inventory", "nonsense", " look ", "", "去"):
            assert fast.step(text) == slow.step(text)
        states = None
        while (action := fast.expert()) is not None:
            assert slow.expert() == action
            assert fast.step(action) == slow.step(action)
            states = states or (fast.snapshot(), slow.snapshot())
        assert fast.restore(states[0]) == slow.restore(states[1])
        assert fast.step("look") == slow.step("look")
    assert sys.argv == argv
    slow.close()


@textworld
def test_every_kind_of_command_in_the_handmade_household():
    commands = """go to cabinet 2|open cabinet 2|take mug 1 from cabinet 2|examine mug 1|move mug 1 to cabinet 1|look|close cabinet 2
    go to countertop 1|take apple 1 from shelf 1|look|examine apple 1|use desklamp 1|use desklamp 1|go to microwave 1
    heat apple 1 with microwave 1|examine apple 1|go to sinkbasin 1|clean apple 1 with sinkbasin 1|examine apple 1|go to fridge 1
    cool apple 1 with fridge 1|examine apple 1|open fridge 1|move apple 1 to fridge 1|take egg 1 from fridge 1|examine egg 1
    go to countertop 1|move egg 1 to countertop 1|take knife 1 from countertop 1|slice apple 1 with knife 1|move knife 1 to countertop 1
    take apple 1 from countertop 1|examine apple 1|look|inventory|go to fridge 1|cool apple 1 with fridge 1|examine apple 1"""
    from empg_gym.envs.alfworld.textworld_engine import TextWorldEngine

    for wording in WORDINGS.values():
        text = kitchen(LOOK_AT_APPLE)
        game = compile_game(parse_problem(text))
        fast, slow = FastEngine(wording), TextWorldEngine(wording)
        problem = write_problem(parse_problem(text))
        assert fast.start(game, goal="x") == slow.start(game, lambda problem=problem: problem, "x")
        for command in (part.strip() for part in commands.replace("\n", "|").split("|")):
            if wording.name == "old" and command.startswith("move "):
                command = "put " + command.removeprefix("move ").replace(" to ", " in/on ")
            answer = fast.step(command)
            assert (answer, fast.admissible, fast.won) == (slow.step(command), slow.admissible, slow.won), command
        slow.close()


@textworld
def test_human_goals_with_special_characters_of_the_grammar(tmp_path):
    release = make_release(tmp_path / "data", count=1)
    [path] = release.rglob("traj_data.json")
    goal = 'say "hi" to #x# {r.name} [a|b] \\n $'
    path.write_text(json.dumps({"turk_annotations": {"anns": [{"task_desc": goal}]}}))
    fast, slow = (ALFWorldEnv("valid_seen", release, goals="human", engine=engine) for engine in ("fast", "textworld"))
    assert fast.reset(seed=0) == slow.reset(seed=0)
    assert goal in fast.reset(seed=0)[0]
    slow.close()


@textworld
def test_translations_are_cached(cache, monkeypatch):
    from empg_gym.envs.alfworld import textworld_engine

    env = ALFWorldEnv(size="small", engine="textworld")
    first = env.reset(options={"task": 7})
    assert len(list(cache.rglob("*.pickle"))) == 1
    textworld_engine._translated.cache_clear()
    import fast_downward.interface

    monkeypatch.setattr(fast_downward.interface, "pddl2sas", None)  # the cache must suffice
    assert env.reset(options={"task": 7}) == first
    monkeypatch.undo()
    monkeypatch.setenv("EMPG_GYM_CACHE", str(cache))
    for kept in cache.rglob("*.pickle"):
        kept.write_bytes(kept.read_bytes()[:100])
    textworld_engine._translated.cache_clear()
    assert env.reset(options={"task": 7}) == first
    env.close()


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "textworld", None)
    with pytest.raises(MissingDependencyError, match=r"empg-gym\[textworld\]"):
        ALFWorldEnv(engine="textworld")


def test_a_game_file_is_not_overwritten(tmp_path):
    household = generate("train", "full", 0)
    text = game_file(write_problem(household.problem), household.goal, WORDINGS["new"], ["look"])
    path = tmp_path / household.folder / "trial" / "game.tw-pddl"
    write_game(path, text)
    game = json.loads(path.read_text())
    assert game["walkthrough"] == ["look"] and f"Your task is to: {household.goal}." in game["grammar"]
    with pytest.raises(OutputExistsError):
        write_game(path, text)
