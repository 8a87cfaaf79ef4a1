"""`EvalConfig`: one list of parameters for `evaluate`, the short form and the command line."""

from __future__ import annotations

import inspect
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import typer

from empg_gym.agents import AgentInfo
from empg_gym.agents.scripted import ExpertAgent
from empg_gym.cli.options import with_options
from empg_gym.errors import ConfigError
from empg_gym.evaluation import EvalConfig, Prices, evaluate
from empg_gym.rollout import EnvBackend, Limits
from empg_gym.runs.validation import validate
from tests.toy import TOY_ID


def without_times(data):
    if isinstance(data, dict):
        return {name: without_times(value) for name, value in data.items() if "seconds" not in name}
    return data


def test_a_configuration_and_the_short_form_give_the_same_run(tmp_path):
    config = EvalConfig(envs=(TOY_ID,), agent="random", episodes=6, repeats=2, env_kwargs={"doors": 3}, out=tmp_path / "run")
    short = evaluate(TOY_ID, agent="random", episodes=6, repeats=2, env_kwargs={"doors": 3}, out=tmp_path / "short")
    assert without_times(evaluate(config).data) == without_times(short.data)
    saved = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("run", "short")]
    assert saved[0] == saved[1]


def test_keywords_replace_fields_of_a_configuration():
    config = EvalConfig(envs=TOY_ID, agent="random", episodes=6, seed=3)
    assert evaluate(config, ExpertAgent(), episodes=4).results[TOY_ID]["episodes"] == 4
    assert evaluate(config, ExpertAgent()).data["agent"] == "ExpertAgent"
    with pytest.raises(ConfigError, match="did you mean 'episodes'"):
        evaluate(config, episdoes=4)


def test_an_agent_and_environments_are_needed():
    with pytest.raises(ConfigError, match="the evaluation lacks 'agent'"):
        evaluate(TOY_ID)
    with pytest.raises(ConfigError, match="no environment named"):
        evaluate([], "expert")


def test_values_have_one_form():
    config = EvalConfig(
        envs="alfworld",
        agent="expert",
        backend="processes",
        tasks=range(2),
        episodes=np.int64(3),
        prices=(1, 2.5),
        out="runs/a",
        limits=None,
    )
    assert config.envs == ("alfworld",) and config.tasks == (0, 1) and config.out == Path("runs/a")
    assert type(config.episodes) is int and config.prices == Prices(1, 2.5)
    assert config.limits == config.env_kwargs == {} and config.backend == EnvBackend(name="processes")
    assert EvalConfig(envs="a", agent="b", backend={"step_seconds": 3}).backend == EnvBackend(step_seconds=3)
    assert pickle.loads(pickle.dumps(config)) == config
    with pytest.raises(ValueError, match="frozen"):
        config.episodes = 4


def test_limits_leave_the_cut_response_to_the_agent():
    cut = [AgentInfo(end_on_cut_response=value) for value in (True, False)]
    config = EvalConfig(envs=TOY_ID, agent="expert", limits={"max_steps": 2})
    assert [config.episode_limits(info) for info in cut] == [
        Limits(max_steps=2, end_on_cut_response=True),
        Limits(max_steps=2, end_on_cut_response=False),
    ]
    config = EvalConfig(envs=TOY_ID, agent="expert", limits=Limits(max_steps=2))
    assert config.episode_limits(cut[1]) == Limits(max_steps=2)


def command(fields, *, own: int = 3):
    return fields, own


def test_the_command_has_an_option_for_every_field_with_a_flag():
    parameters = inspect.signature(with_options(EvalConfig, command)).parameters
    assert list(parameters)[-1] == "own"
    assert set(EvalConfig.model_fields) - set(parameters) == {"env_kwargs", "agent_options", "agent_name", "limits"}
    for name, parameter in parameters.items():
        if name != "own":
            field = EvalConfig.model_fields[name]
            assert parameter.default == (None if field.is_required() or name == "backend" else field.default)
            assert parameter.annotation.__metadata__[0].help == " ".join(field.description.split())


def test_flags_and_their_short_forms():
    app = typer.Typer()
    app.command()(with_options(EvalConfig, command))
    spelled = {option.name: (*option.opts, *option.secondary_opts) for option in typer.main.get_command(app).params}
    assert spelled["envs"] == ("envs",) and spelled["agent"] == ("--agent", "-a") and spelled["own"] == ("--own",)
    assert [spelled[name][1] for name in ("episodes", "repeats", "concurrency")] == ["-n", "-k", "-c"]
    assert spelled["system_prompt"] == ("--system-prompt",)
    assert spelled["show_admissible"] == ("--show-admissible", "--no-show-admissible")


def test_the_command_receives_what_the_model_accepts():
    given = dict.fromkeys(inspect.signature(with_options(EvalConfig, command)).parameters)
    given |= {"envs": ["alfworld"], "agent": "expert", "tasks": ["0:2", "a"], "prices": "1,2", "repeats": 1, "own": 5, "system_prompt": ""}
    fields, own = with_options(EvalConfig, command)(**given)
    assert own == 5
    config = validate(EvalConfig, fields)
    assert (config.tasks, config.prices, config.system_prompt) == ((0, 1, "a"), Prices(1.0, 2.0), "")
