"""`EnvRecipe`: the one description of an environment with its chat."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from empg_gym.chat_settings import ChatSettings
from empg_gym.dialogue import get_dialogue
from empg_gym.errors import ConfigError
from empg_gym.recipe import EnvRecipe
from empg_gym.registration import find_id
from empg_gym.trainers.config.sections import EnvConfig
from tests.toy import TOY_ID

REACT = ChatSettings(dialogue="react", history=2, system_prompt="Play.", show_admissible=True)


def test_makes_the_environment_with_its_chat():
    env = EnvRecipe(TOY_ID, {"split": "test", "length": 5}, chat=REACT).make()
    assert (env.text_env.split, env.text_env.length) == ("test", 5)
    assert (env.dialogue.name, env.history, env.system_prompt, env.show_admissible) == ("react", 2, "Play.", True)


def test_lists_the_tasks_of_its_split():
    recipe = EnvRecipe(TOY_ID, {"split": "train"})
    assert recipe.num_tasks() == len(recipe.tasks()) == 50
    assert recipe.tasks()[:2] == ("train-0", "train-1") and recipe.with_split("test").tasks()[3] == "test-3"
    assert recipe.kwargs == {"split": "train"}, "a recipe never changes"


def test_another_process_makes_the_same_environment():
    """A recipe with its module is all that a process needs."""
    recipe = EnvRecipe(f"tests.toy:{TOY_ID}", {"length": 4}, chat=REACT)
    script = (
        "import pickle, sys\n"
        "recipe = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
        "print(recipe.make().reset(seed=3)[0], recipe.describe()['prompt_hash'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, pickle.dumps(recipe).hex()],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stdout.strip() == f"{recipe.make().reset(seed=3)[0]} {recipe.describe()['prompt_hash']}", done.stderr


@pytest.mark.parametrize(
    "native, dialogue, preferred, expected",
    [
        (False, None, None, "think-action"),
        (False, None, "plain", "plain"),
        (False, "react", "plain", "react"),
        (True, None, "plain", "native"),
    ],
)
def test_the_agents_own_dialogue_is_used_only_where_nothing_else_decides(native, dialogue, preferred, expected):
    chat = ChatSettings(dialogue=dialogue, preferred_dialogue=None if preferred is None else get_dialogue(preferred))
    env_id, kwargs = ("EMPG/DeepSearch-v0", {"world_size": 200}) if native else (TOY_ID, {})
    assert EnvRecipe(env_id, kwargs, chat=chat).make().dialogue.name == expected


@pytest.mark.parametrize(
    "config, expected",
    [
        ({}, {"split": "train", "size": "small", "seen": 1}),
        ({"data": "games"}, {"split": "train", "size": "big", "data": "games"}),
        ({"split": "valid", "max_steps": 4}, {"split": "valid", "size": "small", "seen": 1, "max_steps": 4}),
    ],
)
def test_options_of_the_embedded_world_have_no_effect_on_data(config, expected):
    given = EnvConfig(options={"size": "big"}, embedded_options={"size": "small", "seen": 1, "split": "other"}, **config)
    assert given.recipe().arguments == expected
    assert given.recipe("test").arguments == {**expected, "split": "test"}


def test_training_decides_only_what_is_left_open():
    trained = EnvConfig(id=TOY_ID, options={"length": 5, "doors": 6}, max_steps=7, history=3, dialogue="react").recipe()
    merged = EnvRecipe(TOY_ID, {"split": "test", "doors": 2}, chat=ChatSettings(history=1)).with_training_defaults(trained)
    assert merged.arguments == {"split": "test", "doors": 2, "length": 5, "max_steps": 7}
    assert (merged.chat.dialogue, merged.chat.history) == ("react", 1)
    assert merged.as_trained == {"dialogue": "react", "env.length": 5, "env.max_steps": 7}
    elsewhere = EnvRecipe("EMPG/ALFWorld-v0")
    assert elsewhere.with_training_defaults(trained) is elsewhere


@pytest.mark.parametrize(
    "recipe, error, sign",
    [
        (EnvRecipe("Test/Dors-v0"), ConfigError, "unknown environment 'Test/Dors-v0'; did you mean 'Test/Doors-v0'"),
        (EnvRecipe("no_such_module:Test/Doors-v0"), ConfigError, "no module 'no_such_module'"),
        (EnvRecipe("CartPole-v1"), ConfigError, "expected texts"),
        (EnvRecipe(TOY_ID, {"lenght": 3}), ConfigError, "did you mean 'length'"),
        (EnvRecipe(TOY_ID, chat=ChatSettings(dialogue="raect")), ConfigError, "did you mean 'react'"),
        (EnvRecipe("EMPG/DeepSearch-v0", {"world_size": 200}, chat=REACT), ConfigError, "contradicts"),
    ],
)
def test_what_cannot_be_made_is_one_sentence(recipe, error, sign):
    with pytest.raises(error, match=sign):
        recipe.make()


@pytest.mark.parametrize(
    "content, sign",
    [
        ("import gymnasium, tests.toy\ngymnasium.register('Test/Mine-v0', tests.toy.DoorsEnv)", None),
        ("def broken(:", "the module envs_of_mine can't be imported: SyntaxError"),
        ("1 / 0", r"the module envs_of_mine can't be imported: ZeroDivisionError: .*envs_of_mine\.py, line 1"),
    ],
)
def test_a_module_in_the_current_folder_registers_environments(tmp_path, monkeypatch, content, sign):
    (tmp_path / "envs_of_mine.py").write_text(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "envs_of_mine", raising=False)
    if sign:
        with pytest.raises(ConfigError, match=sign):
            find_id("envs_of_mine:Test/Mine-v0")
    else:
        assert find_id("envs_of_mine:Test/Mine-v0") == "Test/Mine-v0"
        gym.registry.pop("Test/Mine-v0")
