"""State keys of households: equal exactly when no later command can tell the states apart."""

import random
from importlib.util import find_spec

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from empg_gym.envs.alfworld.engine import FastEngine, Point
from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.envs.alfworld.game import GameState, compile_game
from empg_gym.envs.alfworld.problem import parse_problem
from empg_gym.envs.alfworld.state_key import canonical_state
from empg_gym.envs.alfworld.texts import WORDINGS
from tests.bisimulation import keys_of_process, revisits

TINY = """
(define (problem tiny)
(:domain alfred)
(:objects agent1 - agent)
(:init
    (atLocation agent1 loc_bar_0)
    (receptacleType Shelf_bar_1 ShelfType) (receptacleAtLocation Shelf_bar_1 loc_bar_1)
    (receptacleType CounterTop_bar_1 CounterTopType) (receptacleAtLocation CounterTop_bar_1 loc_bar_1)
    (receptacleType Drawer_bar_1 DrawerType) (receptacleAtLocation Drawer_bar_1 loc_bar_2) (openable Drawer_bar_1)
    (objectType Mug_bar_1 MugType) (pickupable Mug_bar_1) (inReceptacle Mug_bar_1 Shelf_bar_1) MUG
    (objectType Apple_bar_1 AppleType) (pickupable Apple_bar_1) (sliceable Apple_bar_1)
    (inReceptacle Apple_bar_1 Shelf_bar_1) APPLE
    (objectType Knife_bar_1 KnifeType) (pickupable Knife_bar_1)
    (inReceptacle Knife_bar_1 CounterTop_bar_1) (objectAtLocation Knife_bar_1 loc_bar_1)
    (canContain ShelfType MugType) (canContain CounterTopType MugType) (canContain DrawerType MugType)
    (canContain ShelfType AppleType) (canContain CounterTopType KnifeType)
)
(:goal (and (exists (?r - receptacle) (exists (?o - object) (and (inReceptacle ?o ?r) (objectType ?o MugType)
    (receptacleType ?r DrawerType))))))
)
"""
MUG, APPLE = "(objectAtLocation Mug_bar_1 loc_bar_1)", "(objectAtLocation Apple_bar_1 loc_bar_1)"


def indistinguishable(engine: FastEngine) -> dict[GameState, int]:
    """Return the class of every reachable state, in the coarsest partition whose classes no sequence of commands can split."""
    moves: dict[GameState, list[tuple[str, str, GameState]]] = {}
    classes: dict[GameState, object] = {}
    left = [engine.state]
    while left:
        state = left.pop()
        if state in moves:
            continue
        moves[state] = []
        engine.load(Point(state, frozenset()))
        classes[state] = engine.won
        for command in engine.admissible:
            engine.load(Point(state, frozenset()))
            moves[state].append((command, engine.step(command).text, engine.state))
            left.append(engine.state)
    count = 0
    while True:
        numbers: dict[object, int] = {}
        refined = {
            state: numbers.setdefault((classes[state], *((command, text, classes[after]) for command, text, after in found)), len(numbers))
            for state, found in moves.items()
        }
        if len(numbers) == count:
            return refined
        classes, count = dict(refined), len(numbers)


@pytest.mark.parametrize(
    ("mug", "apple"),
    [
        (MUG, APPLE),
        ("(objectAtLocation Mug_bar_1 loc_bar_2)", APPLE),
        ("(inReceptacle Mug_bar_1 CounterTop_bar_1)" + MUG, APPLE),
        ("(inReceptacle Mug_bar_1 Drawer_bar_1)" + MUG, "(objectAtLocation Apple_bar_1 loc_bar_2)"),
    ],
    ids=["consistent", "place elsewhere", "on two receptacles", "in two places"],
)
def test_keys_equal_the_classes_of_indistinguishable_states(mug, apple):
    engine = FastEngine(WORDINGS["new"])
    engine.start(compile_game(parse_problem(TINY.replace(" MUG", f" {mug}").replace(" APPLE", f" {apple}"))))
    classes = indistinguishable(engine)
    keys = {state: canonical_state(engine.game, state) for state in classes}
    assert len(classes) > len(set(classes.values())) > 100
    assert len(set(keys.values())) == len(set(classes.values())) == len(set(zip(keys.values(), classes.values(), strict=True)))


def actions(info):
    return [*info["admissible_actions"], "nonsense"]


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(["new", "old"]))
def test_equal_keys_mean_equal_futures(seed, wording):
    env = ALFWorldEnv(size="small", wording=wording, max_steps=10**6)
    env.reset(seed=seed)
    assert revisits(env, actions, random.Random(seed), walks=8, steps=8, depth=1) > 10


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.integers(0, 20))
def test_undoing_an_action_restores_the_key(seed, before):
    env, rng = ALFWorldEnv("valid_unseen", max_steps=5), random.Random(seed)
    _, info = env.reset(seed=seed)
    for _ in range(before):
        info = env.step(rng.choice(info["admissible_actions"]))[4]
    key = env.state_key()
    state = env.snapshot()
    for pause in ("look", "inventory", "help", "nonsense", ""):
        env.step(pause)
        assert env.state_key() == key
    there = {"open": "close {}", "close": "open {}"}
    for action in info["admissible_actions"]:
        verb, _, rest = action.partition(" ")
        env.restore(state)
        env.step(action)
        if verb in there:
            assert env.state_key() != key
            env.step(there[verb].format(rest))
        elif verb == "take":
            assert env.state_key() != key
            thing, _, place = rest.partition(" from ")
            env.step(f"move {thing} to {place}")
        elif verb == "go":
            assert env.state_key() != key
            continue
        elif verb in ("move", "clean", "heat", "cool", "use", "slice"):
            continue
        assert env.state_key() == key
    env.restore(state)
    assert env.state_key() == key


def test_different_states_have_different_keys():
    env = ALFWorldEnv(size="small")
    keys = []
    for task in range(12):
        env.reset(options={"task": task})
        keys.append(env.state_key())
        while (action := env.expert()) is not None:
            env.step(action)
            keys.append(env.state_key())
    assert len(set(keys)) == len(keys) > 60


def test_the_memory_of_the_searching_expert_is_not_part_of_the_key():
    env = ALFWorldEnv(size="small", expert="search")
    _, info = env.reset(seed=0)
    places = [action for action in info["admissible_actions"] if action.startswith("go to ")]
    keys = []
    for way in (places[:1], places[::-1]):
        env.reset(seed=0)
        for action in way:
            env.step(action)
        keys.append((env.state_key(), env._engine.save().seen))
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] != keys[1][1]


def test_keys_depend_on_data_and_wording_but_not_on_seed_limit_or_expert():
    def key(**kwargs):
        env = ALFWorldEnv(**{"size": "small", **kwargs})
        env.reset(seed=kwargs.get("max_steps", 1), options={"task": 0})
        return env.state_key()

    assert key() == key(max_steps=7) == key(expert="search")
    assert len({key(), key(wording="old"), key(size="full"), key(split="valid_seen")}) == 4


SCRIPT = """
from empg_gym.envs.alfworld.env import ALFWorldEnv
env = ALFWorldEnv("valid_unseen")
env.reset(seed=5)
while (action := env.expert()) is not None:
    env.step(action)
    print(env.state_key())
"""


def test_keys_are_equal_in_every_process():
    runs = [keys_of_process(SCRIPT, hash_seed) for hash_seed in (1, 2)]
    assert runs[0] == runs[1]
    assert len(set(runs[0])) > 3


@pytest.mark.skipif(find_spec("textworld") is None or find_spec("fast_downward") is None, reason="needs the package textworld[pddl]")
def test_both_engines_give_the_same_states(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path))
    fast, slow = (ALFWorldEnv("valid_unseen", size="small", engine=engine) for engine in ("fast", "textworld"))
    for env in (fast, slow):
        env.reset(seed=1, options={"task": 3})
    rng = random.Random(0)
    visited = []
    for _ in range(15):
        action = fast.expert() if rng.random() < 0.4 else rng.choice([*fast._admissible(), "nonsense"])
        assert fast.step(action or "look") == slow.step(action or "look")
        assert fast._state_key() == slow._state_key()
        assert fast.state_key() != slow.state_key()
        visited.append((fast._state_key(), slow.state_key(), slow.snapshot()))
    for state, key, snapshot in rng.sample(visited, 5):
        slow.restore(snapshot)
        assert (slow._state_key(), slow.state_key()) == (state, key)
    slow.close()
