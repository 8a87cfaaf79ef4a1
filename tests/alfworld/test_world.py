"""The embedded world and the guarantees of its splits."""

import subprocess
import sys
from collections import Counter
from hashlib import sha256

import pytest

from empg_gym.envs.alfworld.engine import FastEngine
from empg_gym.envs.alfworld.expert import Expert
from empg_gym.envs.alfworld.game import compile_game
from empg_gym.envs.alfworld.goals import LOOK, PROCESS, TASK_TYPES, TWO
from empg_gym.envs.alfworld.texts import WORDINGS
from empg_gym.envs.alfworld.world.household import SIZES, SPLIT_SIZES, generate
from empg_gym.envs.alfworld.world.kinds import FOUND, HOLDS, LAMP_STANDS, TRAITS
from empg_gym.envs.alfworld.world.rooms import ROOMS, ROOMS_FOR
from empg_gym.envs.alfworld.world.source import EmbeddedWorld

TYPES = tuple(TASK_TYPES.values())
DIGEST = """
from hashlib import sha256
from empg_gym.envs.alfworld.world.household import SIZES, SPLIT_SIZES, generate
from empg_gym.envs.alfworld.problem import write_problem
digest = sha256()
for split in SPLIT_SIZES:
    for size in SIZES:
        for index in (0, 1, 2, 3, 4, 5, 999, 5999):
            household = generate(split, size, index)
            digest.update((write_problem(household.problem) + household.goal + household.folder).encode())
"""


def test_a_household_depends_only_on_its_index_in_every_process():
    scope = {}
    exec(DIGEST, scope)
    here = scope["digest"].hexdigest()
    for seed in ("0", "1"):
        code = f"{DIGEST}\nprint(digest.hexdigest())"
        there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed})
        assert there.stdout.strip() == here


def test_seen_and_unseen_splits_share_no_room_template():
    for size in SIZES:
        seen = [room.receptacles for room in ROOMS[size, False]]
        unseen = [room.receptacles for room in ROOMS[size, True]]
        assert not set(seen) & set(unseen)
        assert len(set(seen)) == len(seen) and len(set(unseen)) == len(unseen)
        numbers = [room.number for room in (*ROOMS[size, False], *ROOMS[size, True])]
        assert len(set(numbers)) == len(numbers)


def test_each_split_uses_its_own_templates():
    for size in SIZES:
        for split in SPLIT_SIZES:
            rooms = {room.receptacles for room in ROOMS[size, split == "valid_unseen"]}
            used = {generate(split, size, index).room.receptacles for index in range(240)}
            assert used <= rooms
            assert len(used) > 0.8 * len(rooms)


@pytest.mark.parametrize("size", SIZES)
def test_train_and_valid_seen_share_no_household(size):
    def digests(split, count):
        problems = (generate(split, size, index).problem for index in range(count))
        return [sha256(repr((sorted(p.inside), sorted(p.at), p.goal)).encode()).digest() for p in problems]

    train, valid = digests("train", 1200), digests("valid_seen", 250)
    assert not set(train) & set(valid)
    assert len(set(valid)) > 245  # and a split rarely repeats a household


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("split", SPLIT_SIZES)
def test_games_start_unsolved_and_can_be_solved(split, size):
    engine = FastEngine(WORDINGS["new"])
    for index in range(120):
        household = generate(split, size, index)
        problem, goal = household.problem, household.problem.goal
        assert goal.task_type == TASK_TYPES[1 + index % 6]
        assert household.room.kind in ROOMS_FOR[goal.task_type]
        engine.start(compile_game(problem))
        assert not engine.won
        types = {thing.id: thing.type for thing in problem.things}
        places = {r.id: r.type for r in problem.receptacles}
        targets = [o for o, kind in types.items() if kind == goal.target]
        assert len(targets) >= (2 if goal.task_type == TWO else 1)
        if goal.task_type == LOOK:
            assert goal.lamp in types.values()
        else:
            assert goal.target in HOLDS[goal.receptacle]
            assert all(places[r] != goal.receptacle for o, r in problem.inside if o in targets)  # not even half solved
        if goal.task_type in PROCESS:
            process = PROCESS[goal.task_type]
            assert process.able in TRAITS[goal.target] and process.station in places.values()
        for thing, place in problem.inside:
            assert types[thing] in HOLDS[places[place]] or ("lamp" in types[thing] and places[place] in LAMP_STANDS)


@pytest.mark.parametrize("size", SIZES)
def test_varied_rooms_are_new_and_allow_every_task(size):
    engine = FastEngine(WORDINGS["new"])
    templates = {room.receptacles for room in ROOMS[size, False]}
    unseen = {room.receptacles for room in ROOMS[size, True]}
    rooms = set()
    for index in range(300):
        household = generate("train", size, index, "varied")
        rooms.add(household.room.receptacles)
        engine.start(compile_game(household.problem))
        assert not engine.won and Expert(engine).act() is not None
    assert len(rooms - templates) > 100 and not rooms & unseen


def test_varied_rooms_share_no_household_with_validation_and_leave_it_as_it_is():
    def facts(split, count, rooms):
        problems = (generate(split, "small", index, rooms).problem for index in range(count))
        return [repr((sorted(p.inside), sorted(p.at), p.goal)) for p in problems]

    valid = facts("valid_seen", 250, "varied")
    assert valid == facts("valid_seen", 250, "templates") and not set(facts("train", 1200, "varied")) & set(valid)
    assert facts("valid_unseen", 20, "varied") == facts("valid_unseen", 20, "templates")
    world = EmbeddedWorld("train", "small", TYPES, "varied")
    assert world.task_id(3) == "train/small-varied/3" and world.has("train/small-varied/3") and not world.has("train/small/3")
    assert EmbeddedWorld("valid_seen", "small", TYPES, "varied").task_id(3) == "valid_seen/small/3"


def test_sizes():
    full = [generate("train", "full", index).problem for index in range(200)]
    small = [generate("train", "small", index).problem for index in range(200)]
    assert {len(p.receptacles) for p in small} <= {5, 6, 7}
    assert max(len(p.things) for p in small) <= 8
    # As in the released rooms: 6-54 receptacles, mean 23.5; 9-64 objects, mean 31.8.
    assert 15 < sum(len(p.receptacles) for p in full) / 200 < 30
    assert 25 < sum(len(p.things) for p in full) / 200 < 38


def test_every_object_is_the_target_of_some_goal():
    goals = Counter(generate("train", "small", index).problem.goal.target for index in range(2400))
    # Small rooms have at most one kind of receptacle for towels and plungers, so these can't be put elsewhere.
    assert set(goals) >= {thing for things in FOUND.values() for thing in things} - {"towel", "plunger"}


def test_ids_and_filters():
    world = EmbeddedWorld("train", "small", ("look_at_obj_in_light", "pick_two_obj_and_place"))
    assert len(world) == 40_000
    assert [world.task_id(i) for i in range(4)] == ["train/small/1", "train/small/5", "train/small/7", "train/small/11"]
    assert all(world.has(world.task_id(i)) for i in (0, 1, 39_999))
    of_others = ("train/small/0", "train/full/1", "valid_seen/small/1", "train/small/120001")
    for bad in (*of_others, "train/small/01", "train/small/-1", "", "x" * 99):
        assert not world.has(bad)
