"""The package as a whole: light to import, the same in every process."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import pytest

import empg_gym
from empg_gym.errors import ConfigError, MissingDependencyError, nearest, require
from empg_gym.registration import ENVIRONMENTS, make
from tests.toy import TOY_ID


def test_importing_loads_no_torch():
    heavy = {"torch", "transformers", "textworld", "selenium"}
    code = f"import sys, empg_gym, empg_gym.cli; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_ids_are_registered_and_work_without_the_import():
    assert set(ENVIRONMENTS) <= set(gym.registry)
    code = "import gymnasium as gym; env = gym.make('empg_gym:EMPG/ALFWorld-v0'); env.reset(seed=0)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names():
    for name in ("LLMAgentEnv", "Trajectory", "Step", "StopReason", "Completion", "evaluate"):
        assert hasattr(empg_gym, name)


def test_a_missing_package_names_the_extra():
    with pytest.raises(MissingDependencyError, match=r"pip install 'empg-gym\[browser\]'"):
        require("no_such_package_here", "browser", "the shop")


def test_nearest():
    assert nearest("tain", ["train", "test"]) == "did you mean 'train'?"
    assert nearest("zzz", ["b", "a"]) == "known: a, b"


@pytest.mark.parametrize(
    ("env_id", "arguments", "says"),
    [
        ("CartPole-v1", {"split": "train"}, "CartPole-v1 is a CartPoleEnv, but only EMPG text environments can be used"),
        (TOY_ID, {"splitt": "train"}, f"{TOY_ID} takes no argument 'splitt'; did you mean 'split'?"),
        ("Test/Picky-v0", {"split": 3}, "Test/Picky-v0 can't be made with these arguments: object of type 'int' has no len()"),
    ],
)
def test_a_refused_argument_is_one_sentence(env_id, arguments, says, monkeypatch):
    monkeypatch.setitem(gym.registry, "Test/Picky-v0", gym.envs.registration.EnvSpec("Test/Picky-v0", lambda split: len(split)))
    with pytest.raises(ConfigError) as error:
        make(env_id, **arguments)
    assert str(error.value) == says
