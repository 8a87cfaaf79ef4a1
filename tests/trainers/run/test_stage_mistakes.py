"""Functions of a user's own that fail or return something else: the run ends with one sentence that names them."""

import io

import numpy as np
import pytest
import torch
from rich.console import Console

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.trainers.algorithms import Advantages
from empg_gym.trainers.data.rewards import OUTCOMES
from empg_gym.trainers.registry import Registry
from empg_gym.trainers.run.memory import memory_errors
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config

HERE = __name__


def run(folder, *, rl=None, resume=False, **sections):
    rl = {"steps": 1, "tasks_per_step": 2, "repeats": 2, "reward": "score"} | (rl or {})
    config = corridor_config(str(folder), rl=rl, eval={"splits": []}, **sections)
    Trainer(config, ProgressView(Console(file=io.StringIO())), resume=resume).run()


def nothing(*given):
    return None


def failing(*given):
    raise KeyError("gold")


def wordy(trajectory):
    return "high"


def advantages(values, base=None, **metrics):
    return Advantages(values=values, base=values if base is None else base, metrics=metrics)


def short(steps):
    return advantages(torch.zeros(1))


def whole(steps):
    return advantages(torch.zeros_like(steps.step))


def listed(steps):
    return advantages(torch.zeros(len(steps.step)), base=[0.0])


def labelled(steps):
    return advantages(torch.zeros(len(steps.step)), kind="flat")


def flat(tokens):
    from empg_gym.trainers.algorithms import PolicyLoss

    return PolicyLoss(loss=tokens.logprobs, clipped=torch.zeros_like(tokens.logprobs, dtype=torch.bool))


def none_drawn(request):
    return []


def numbers_drawn(request):
    return [1, 2]


def one_only(trajectories, outcomes):
    return [True]


async def plan_of_nothing(request):
    return None


async def plan_that_fails(request):
    raise KeyError("gold")


@pytest.mark.parametrize(
    ("section", "key", "function", "sentence"),
    [
        ("rl", "reward", "nothing", "the reward '.*:nothing' must return a number, not NoneType"),
        ("rl", "reward", "wordy", "must return a number, not str"),
        ("rl", "reward", "failing", r"the reward '.*:failing' failed: KeyError: 'gold' \(test_stage_mistakes.py, line \d+\)"),
        ("algorithm", "shapers", "nothing", "the reward shaper '.*' must return a number, not NoneType"),
        ("algorithm", "filters", "nothing", r"the filter '.*' must return one truth value per trajectory \(4\), not NoneType"),
        ("algorithm", "filters", "one_only", r"one truth value per trajectory \(4\), not 1 values"),
        ("algorithm", "advantage", "nothing", "the advantage '.*' must return Advantages, not NoneType"),
        ("algorithm", "advantage", "short", r"values have one value per step, a floating-point tensor of shape \(3,\), not .* \(1,\)"),
        ("algorithm", "advantage", "whole", "floating-point tensor of shape .*, not one of torch.int64"),
        ("algorithm", "advantage", "listed", "whose base have one value per step, .* not list"),
        ("algorithm", "advantage", "labelled", "whose metrics are numbers, not str .'kind'"),
        ("algorithm", "advantage", "failing", "the advantage '.*' failed: KeyError: 'gold' .*line"),
        ("algorithm", "policy_loss", "nothing", "the policy loss '.*' must return a PolicyLoss, not NoneType"),
        ("algorithm", "policy_loss", "flat", r"a PolicyLoss whose loss is a scalar tensor, not a tensor of shape \(2,\)"),
        ("algorithm", "task_source", "nothing", "the task source '.*' must return a list of GroupSpec, not NoneType"),
        ("algorithm", "task_source", "numbers_drawn", "must return a list of GroupSpec, not list of int"),
        ("algorithm", "task_source", "none_drawn", "must return at least one GroupSpec, not an empty list"),
        ("algorithm", "plan", "plan_of_nothing", "the rollout plan '.*' must return a Collection, not NoneType"),
        ("algorithm", "plan", "plan_that_fails", "the rollout plan '.*' failed: KeyError: 'gold' .*line"),
        ("algorithm", "plan", "nothing", "the rollout plan '.*' must be an async function"),
        ("rollout", "backend", "nothing", "the generator backend '.*' must return a Generator, not NoneType"),
        ("rollout", "env_backend", "nothing", "the backend of environments '.*' must return an LLMAgentEnv, not NoneType"),
    ],
)
def test_a_mistake_of_a_user_is_one_sentence(tmp_path, section, key, function, sentence):
    name = f"{HERE}:{function}"
    value = [name] if key in {"shapers", "filters"} else name
    with pytest.raises(ConfigError, match=sentence):
        run(tmp_path / "run", **{section: {key: value}})


broken = True


def repaired(trajectory):
    if broken:
        raise ValueError("not yet")
    return trajectory.score


def test_the_episodes_are_kept_until_the_function_is_fixed(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match="failed: ValueError: not yet"):
        run(tmp_path / "run", rl={"reward": f"{HERE}:repaired"})
    journal = (tmp_path / "run" / "rollouts" / "step-000001.jsonl").read_text()
    assert len(journal.splitlines()) == 4
    monkeypatch.setattr(f"{HERE}.broken", False)
    run(tmp_path / "run", rl={"reward": f"{HERE}:repaired"}, run={"keep_rollouts": True}, resume=True)
    assert (tmp_path / "run" / "rollouts" / "step-000001.jsonl").read_text() == journal


@pytest.mark.parametrize("function", ["tensor_reward", "numpy_reward"])
def test_numbers_of_numpy_and_torch_are_rewards(function):
    assert OUTCOMES.bind(f"{HERE}:{function}", {})(None) == 1


def tensor_reward(trajectory):
    return torch.tensor(1.0)


def numpy_reward(trajectory):
    return np.float32(1.0)


def out_of_memory(tokens):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")


def test_a_full_device_is_still_named_as_such():
    loss = Registry("policy loss").bind(f"{HERE}:out_of_memory", {})
    with pytest.raises(TrainingError, match=r"memory is full .* set rl\.token_budget"), memory_errors():
        loss(None)


def test_an_error_of_a_registered_function_keeps_its_traceback():
    registry = Registry("reward")
    registry.register("mine")(failing)
    with pytest.raises(KeyError):
        registry.bind("mine", {})(None)
