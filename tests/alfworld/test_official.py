"""Released data: layout, filters, the cached index and damaged folders, tested with generated games."""

import json
import os

import pytest

from empg_gym.envs.alfworld import index as index_module
from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.envs.alfworld.goals import SENTENCES
from empg_gym.errors import ConfigError, DataError, TaskError
from tests.alfworld.release import make_release


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def release(tmp_path):
    return make_release(tmp_path / "data")


def game_files(release):
    return sorted(release.rglob("game.tw-pddl"))


def change(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_the_games_equal_the_written_ones(release):
    env = ALFWorldEnv("valid_seen", data=release)
    assert env.num_tasks == 6
    embedded = ALFWorldEnv("train", size="small")
    for index in range(6):
        _, info = env.reset(options={"task": index})
        assert info["gamefile"] == f"{info['task']}/game.tw-pddl"
        assert info["task_type"] == info["task"].split("/")[1].split("-")[0]
        number = int(info["task"].rsplit("_", 1)[1])
        text, same = embedded.reset(options={"task": number})
        assert env.reset(options={"task": info["task"]})[0] == text
        assert same["admissible_actions"] == info["admissible_actions"]
        while (action := env.expert()) is not None:
            assert env.step(action)[0] == embedded.step(action)[0]
        assert env.success


def test_the_parent_folder_the_variable_and_the_newest_release(release, monkeypatch):
    direct = ALFWorldEnv("valid_seen", data=release)
    assert ALFWorldEnv("valid_seen", data=str(release.parent)).fingerprint == direct.fingerprint
    monkeypatch.setenv("ALFWORLD_DATA", str(release.parent))
    assert ALFWorldEnv("valid_seen", data="official").fingerprint == direct.fingerprint
    # Without data= the embedded world is used, even if the variable is set: results don't change silently.
    assert ALFWorldEnv("valid_seen").fingerprint.startswith("embedded-")
    newer = make_release(release.parent / "newer", count=3)
    newer.rename(release.parent / "json_2.1.13")
    assert ALFWorldEnv("valid_seen", data="official").num_tasks == 3


def test_without_the_variable_official_is_the_downloaded_release(release, cache, monkeypatch):
    monkeypatch.delenv("ALFWORLD_DATA", raising=False)
    for name, count in (("2.1.1", 3), ("2.1.3", 4)):
        (cache / "data" / f"alfworld-{name}").mkdir(parents=True)
        make_release(cache / "data" / "made", count=count).rename(cache / "data" / f"alfworld-{name}" / f"json_{name}")
    lock = cache / "data" / "lock.json"
    lock.write_text(json.dumps({"alfworld-2.1.1": {}}))
    assert ALFWorldEnv("valid_seen", data="official").num_tasks == 3
    lock.write_text(json.dumps({"alfworld-2.1.1": {}, "alfworld-2.1.3": {}}))
    assert ALFWorldEnv("valid_seen", data="official").num_tasks == 4
    monkeypatch.setenv("ALFWORLD_DATA", str(release))
    assert ALFWorldEnv("valid_seen", data="official").num_tasks == 6


def test_task_type_filter(release):
    env = ALFWorldEnv("valid_seen", data=release, task_types=[4, 5])
    assert env.num_tasks == 2
    assert [env.reset(options={"task": i})[1]["task_type"] for i in range(2)] == [list(SENTENCES)[4], list(SENTENCES)[3]]
    for path in release.glob("valid_seen/pick_heat*/*/game.tw-pddl"):
        path.unlink()
    with pytest.raises(ConfigError, match="no games of the task types"):
        ALFWorldEnv("valid_seen", data=release, task_types=4)


def test_the_goal_gives_the_type_of_a_folder_with_another_name(release):
    [folder] = release.glob("valid_seen/look_at*")
    folder.rename(folder.with_name("household"))
    assert ALFWorldEnv("valid_seen", data=release, task_types=2).num_tasks == 1


def test_games_that_upstream_skips_are_skipped(release):
    files = game_files(release)
    change(files[0], solvable=False)
    change(files[1], solvable=None)
    files[2].parent.parent.rename(files[2].parent.parent.with_name("pick_and_place_with_movable_recep-x"))
    files[3].parent.parent.rename(files[3].parent.parent.with_name("pick_and_place_simple-AppleSliced"))
    assert ALFWorldEnv("valid_seen", data=release).num_tasks == 2


def test_human_goals(release):
    env = ALFWorldEnv("valid_seen", data=release, goals="human")
    seen = set()
    for seed in range(12):
        text, info = env.reset(seed=seed, options={"task": 0})
        assert text.endswith(f"Your task is to: {info['instruction']}.")
        assert env.reset(seed=seed, options={"task": 0})[1] == info
        seen.add(info["instruction"])
    assert len(seen) == 2 and any('"' in goal for goal in seen)
    assert env.fingerprint != ALFWorldEnv("valid_seen", data=release).fingerprint
    state = env.snapshot()
    env.reset(options={"task": 3})
    assert env.restore(state)[1]["instruction"] == info["instruction"]


def test_a_release_without_human_goals(tmp_path):
    release = make_release(tmp_path / "bare", notes=False)
    assert ALFWorldEnv("valid_seen", data=release).num_tasks == 6
    with pytest.raises(DataError, match=r"no human goals .* use goals='template'"):
        ALFWorldEnv("valid_seen", data=release, goals="human")


def test_the_index_is_kept_until_a_file_changes(release, cache, monkeypatch):
    first = ALFWorldEnv("valid_seen", data=release)
    read = []
    original = index_module.read_game_file
    monkeypatch.setattr(index_module, "read_game_file", lambda path: read.append(path) or original(path))
    again = ALFWorldEnv("valid_seen", data=release)
    assert again.fingerprint == first.fingerprint and not read
    path = game_files(release)[0]
    change(path, walkthrough=["look"])
    os.utime(path, ns=(1, 1))
    assert ALFWorldEnv("valid_seen", data=release).fingerprint != first.fingerprint
    assert len(read) == 6
    for kept in cache.rglob("index-*.json"):
        kept.write_text("[{")
    assert ALFWorldEnv("valid_seen", data=release).num_tasks == 6  # a damaged index is rebuilt


def test_a_read_only_cache_folder_is_tolerated(release, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EMPG_GYM_CACHE", str(tmp_path / "file" / "below"))
    assert ALFWorldEnv("valid_seen", data=release).num_tasks == 6


def test_wrong_folders_are_explained(release, tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        ALFWorldEnv("valid_seen", data=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no ALFWorld split 'train' .* it holds json_2.1.1, valid_seen"):
        ALFWorldEnv("train", data=release.parent)
    with pytest.raises(DataError, match=r"no ALFWorld split 'valid_seen'"):
        ALFWorldEnv("valid_seen", data=release / "valid_seen")
    empty = tmp_path / "empty" / "train"
    empty.mkdir(parents=True)
    with pytest.raises(DataError, match=r"no playable ALFWorld games"):
        ALFWorldEnv("train", data=empty.parent)


def test_a_folder_that_cannot_be_read_is_explained(release, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(index_module.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"can't be read: .*Permission denied"):
        ALFWorldEnv("valid_seen", data=release)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"pddl_problem": 3, "grammar": ""}', "\x00\xff"])
def test_a_damaged_game_file_is_named(release, text):
    path = game_files(release)[2]
    path.write_text(text)
    with pytest.raises(DataError) as error:
        ALFWorldEnv("valid_seen", data=release)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_damage_inside_a_game_file_is_named(release):
    path = game_files(release)[0]
    change(path, grammar="no goal here")
    with pytest.raises(DataError, match=r"damaged: .*Your task is to") as error:
        ALFWorldEnv("valid_seen", data=release)
    assert str(path) in str(error.value)
    change(path, grammar='"rhs": "Your task is to: win."', pddl_problem="(define)")
    env = ALFWorldEnv("valid_seen", data=release)
    with pytest.raises(DataError, match=r"damaged: .*:init") as error:
        env.reset(options={"task": 0})
    assert str(path) in str(error.value)
    (path.parent / "traj_data.json").write_text("{}")
    with pytest.raises(DataError, match=r"traj_data.json is damaged"):
        ALFWorldEnv("valid_seen", data=release)


@pytest.mark.parametrize("fact", ["(holds agent1 zz)", "(inReceptacleObject zz yy)"])
def test_an_unknown_object_in_a_game_file_is_named(release, fact):
    path = game_files(release)[0]
    change(path, pddl_problem=json.loads(path.read_text())["pddl_problem"].replace("(:init", f"(:init {fact}"))
    with pytest.raises(DataError, match=r"damaged: the object '(zz|yy)'") as error:
        ALFWorldEnv("valid_seen", data=release).reset(options={"task": 0})
    assert str(path) in str(error.value)


def test_a_file_instead_of_a_folder_is_named(tmp_path):
    (tmp_path / "README.md").touch()
    with pytest.raises(DataError, match=r"README.md is a file, not a folder"):
        ALFWorldEnv("valid_seen", data=tmp_path / "README.md")


def test_a_deleted_game_file_is_named(release):
    env = ALFWorldEnv("valid_seen", data=release)
    path = release / env.task_id(1) / "game.tw-pddl"
    path.unlink()
    with pytest.raises(DataError, match="is missing") as error:
        env.reset(options={"task": 1})
    assert str(path) in str(error.value)


def test_unknown_tasks_are_explained(release):
    env = ALFWorldEnv("valid_seen", data=release)
    for task in (6, "valid_seen/nothing", "train/full/0"):
        with pytest.raises(TaskError):
            env.reset(options={"task": task})
