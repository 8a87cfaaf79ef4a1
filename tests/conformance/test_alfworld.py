"""ALFWorld on the reference data: released folders, the expert, the recorded transcripts and a sample of the proof against TextWorld."""

import random
import subprocess
import sys

import pytest

from benchmarks.alfworld_reference import (
    compare,
    generated_case,
    index_intros,
    missing_packages,
    official_case,
    pick_games,
    reference_games,
    replay,
    transcripts,
)
from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.envs.alfworld.goals import SENTENCES
from empg_gym.envs.alfworld.problem import write_problem
from empg_gym.envs.alfworld.world.household import generate
from tests.reference import reference_data


@pytest.fixture(scope="module")
def data():
    return reference_data("alfworld")


@pytest.fixture(scope="module")
def release(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alfworld") / "json_2.1.1"
    subprocess.run([sys.executable, data / "export.py", folder, "--split", "valid_seen"], check=True, capture_output=True)
    subprocess.run([sys.executable, data / "export.py", folder, "--split", "train", "--limit", "60"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def upstream(data):
    missing = missing_packages()
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'textworld[pddl]' and pip install --no-deps alfworld")
    return data


@pytest.mark.parametrize("wording", ["new", "old"])
@pytest.mark.parametrize(("split", "count"), [("valid_seen", 140), ("train", 60)])
def test_the_expert_wins_released_games(release, split, count, wording):
    env = ALFWorldEnv(split, data=release, wording=wording)
    assert env.num_tasks == count
    for index in range(count):
        _, info = env.reset(options={"task": index})
        assert not info["success"]
        while not info["success"]:
            *_, truncated, info = env.step(env.expert())
            assert info["valid_action"] and not truncated, info["task"]


def test_the_games_equal_those_of_the_release(data, release):
    env = ALFWorldEnv("valid_seen", data=release)
    games = {game["id"]: game for game in reference_games(data, "valid_seen")}
    assert set(games) == {env.task_id(i) for i in range(env.num_tasks)}
    human = ALFWorldEnv("valid_seen", data=release, goals="human")
    for index in range(env.num_tasks):
        _, info = env.reset(options={"task": index})
        game = games[info["task"]]
        assert (info["instruction"], info["task_type"]) == (game["task"], game["task_type"])
        assert info["gamefile"] == f"{game['id']}/game.tw-pddl"
        assert human.reset(seed=index, options={"task": index})[1]["instruction"] in [text.strip() for text in game["task_descs"]]


def test_the_split_has_the_official_counts(release):
    counts = [ALFWorldEnv("valid_seen", data=release, task_types=kind).num_tasks for kind in SENTENCES]
    assert counts == [35, 13, 27, 16, 25, 24]


def test_game_folders_as_released(data):
    env = ALFWorldEnv("valid_seen", data=data / "raw_samples", wording="old")
    assert env.num_tasks == 6
    for index in range(6):
        text, info = env.reset(options={"task": index})
        assert f"Your task is to: {info['instruction']}." in text
        while not info["success"]:
            *_, info = env.step(env.expert())


def test_recorded_transcripts_replay(data):
    """Replay in the games identified by intro and goal; the result of the proof names transcripts edited by their authors."""
    index = index_intros(data)
    found = [(t, min((replay(t, game) for game in index[t.intro]), key=len)) for t in transcripts(data) if t.intro in index]
    equal = [transcript for transcript, differing in found if not differing]
    assert (len(found), len(equal), sum(len(t.steps) for t in equal)) == (22, 14, 146)
    # Only a few steps of a transcript differ, never most of them.
    assert all(len(differing) <= 3 for _, differing in found)


@pytest.mark.slow
@pytest.mark.parametrize("wording", ["new", "old"])
def test_released_games_play_as_in_textworld(upstream, wording):
    games = pick_games(upstream, "valid_seen", 3)
    game = random.Random(wording).choice(games)
    walk = compare(official_case(upstream, game, wording), steps=16, seed=1)
    assert walk.differences == ()
    assert walk.steps == 16


@pytest.mark.slow
@pytest.mark.parametrize("wording", ["new", "old"])
def test_generated_games_play_as_in_textworld(upstream, wording):
    for size, index in (("small", 3), ("full", 2)):
        household = generate("valid_unseen", size, index)
        walk = compare(generated_case(household, write_problem(household.problem), wording), steps=10, seed=2)
        assert walk.differences == ()


def test_a_released_game_plays_the_same_on_both_engines(upstream, release, tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path))
    fast, slow = (ALFWorldEnv("valid_seen", data=release, wording="old", engine=engine) for engine in ("fast", "textworld"))
    assert fast.reset(options={"task": 20}) == slow.reset(options={"task": 20})
    rng = random.Random(0)
    for _ in range(30):
        commands = fast.step("look")[-1]["admissible_actions"]
        assert slow.step("look")[-1]["admissible_actions"] == commands
        action = fast.expert() if rng.random() < 0.3 else rng.choice(commands)
        assert fast.step(action or "look") == slow.step(action or "look")
    slow.close()
