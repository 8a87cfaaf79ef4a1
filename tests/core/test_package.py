"""The package as a whole: light to import, the same in every process."""

from __future__ import annotations

import subprocess
import sys

import gymnasium as gym
import pytest

import empg_gym
from empg_gym.errors import MissingDependencyError, nearest, require
from empg_gym.registration import ENVIRONMENTS


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
