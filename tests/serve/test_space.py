"""The folder of a container and Space, as far as it can be judged without OpenEnv; `tests/openenv` validates and runs it."""

from __future__ import annotations

import json
import sys

import gymnasium as gym
import pytest

from empg_gym.errors import ConfigError, OutputExistsError
from empg_gym.recipe import EnvRecipe
from empg_gym.serve.space_files import write_space
from tests.serve.serving import BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
def test_the_probe_is_an_expert_episode(name, tmp_path):
    write_space(EnvRecipe(BENCHMARKS[name]), tmp_path / name)
    probe = json.loads((tmp_path / name / "validation" / "runtime.json").read_text())
    options = dict(probe["reset"]["options"])
    env = gym.make(BENCHMARKS[name], split=options.pop("split"))
    env.reset(seed=probe["reset"]["seed"], options=options)
    outcomes = [env.step(action["action"]) for action in probe["actions"]]
    assert outcomes[-1][2] and outcomes[-1][4]["success"] and 1 <= len(outcomes) <= 100
    assert all(0 <= outcome[1] <= 1 for outcome in outcomes)
    assert (tmp_path / name / "validation" / "runtime.json").stat().st_size < 64 << 10


def test_the_command_and_its_errors(tmp_path, monkeypatch, capsys):
    from empg_gym.cli import main

    monkeypatch.setattr(sys, "argv", ["empg-gym", "serve", "space", "alfworld", "--out", str(tmp_path / "a")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0 and "files to" in capsys.readouterr().err and (tmp_path / "a" / "Dockerfile").is_file()
    with pytest.raises(OutputExistsError, match="isn't empty"):
        write_space(EnvRecipe(BENCHMARKS["alfworld"]), tmp_path / "a")
    with pytest.raises(ConfigError, match="without a split or arguments"):
        write_space(EnvRecipe(BENCHMARKS["alfworld"], {"split": "valid_seen"}), tmp_path / "b")
    with pytest.raises(ConfigError, match="alfworld, webshop or deepsearch"):
        write_space(EnvRecipe("tests.toy:Test/Doors-v0"), tmp_path / "b")
