"""`empg-gym envs` says what the environments say of themselves."""

from __future__ import annotations

import json

import gymnasium as gym
import typer
from typer.testing import CliRunner

from empg_gym.cli.envs import envs
from empg_gym.registration import ENVIRONMENTS

app = typer.Typer()
app.command()(envs)


def test_the_list_has_every_environment_with_splits_sizes_and_step_limit():
    listed = json.loads(CliRunner().invoke(app, ["--json"]).output)
    assert [entry["id"] for entry in listed] == list(ENVIRONMENTS)
    for entry in listed:
        env = gym.make(entry["id"], disable_env_checker=True).unwrapped
        assert entry["max_steps"] == env.max_steps and list(entry["splits"]) == list(env.splits)
        assert entry["splits"][env.split] == env.num_tasks and entry["about"]
    shown = CliRunner().invoke(app).output
    assert all(env_id in shown for env_id in ENVIRONMENTS) and "official data" in shown
