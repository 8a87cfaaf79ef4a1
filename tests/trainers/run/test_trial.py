"""The trial of a dry run finds what would fail in the run, and says what it did not check."""

import pytest
import torch

from empg_gym.errors import ConfigError, DataError, TrainingError
from empg_gym.trainers.algorithms import Advantages, PolicyLoss
from empg_gym.trainers.run.stages import build_stages
from empg_gym.trainers.run.trial import try_step
from tests.trainers.corridor import Corridor, corridor_config

HERE = __name__


def trial(**sections):
    config = corridor_config("unused", **sections)
    return try_step(config, build_stages(config))


def advantages(values):
    return Advantages(values=values, base=values)


def of_the_probe(steps):
    """As many values as the small test batch has steps, and no other."""
    return advantages(torch.zeros(3))


def undefined_for_invalid_steps(steps):
    return advantages(torch.where(steps.step > 0, torch.nan, 0.0) if len(steps.step) > 3 else torch.zeros(len(steps.step)))


def infinite(trajectory):
    return float("inf") if trajectory.steps else 0.0


def broken(trajectory):
    return trajectory.steps[0].info["speed"] if trajectory.steps else 0.0


def nan_weights(trajectories, budget):
    return torch.full((len(trajectories),), torch.nan if len(trajectories) > 2 else 1.0)


def constant_loss(tokens):
    return PolicyLoss(loss=torch.tensor(1.0), clipped=torch.zeros_like(tokens.logprobs, dtype=torch.bool))


def infinite_gradient(tokens):
    loss = (tokens.logprobs - tokens.logprobs.detach()).sqrt().sum() if len(tokens.logprobs) > 2 else tokens.logprobs.sum()
    return PolicyLoss(loss=loss, clipped=torch.zeros_like(tokens.logprobs, dtype=torch.bool))


@pytest.mark.parametrize(
    ("section", "key", "function", "error", "sentence"),
    [
        ("rl", "reward", "infinite", TrainingError, "is inf; expected a finite number: check rl.reward"),
        ("rl", "reward", "broken", ConfigError, r"the reward '.*:broken' failed: AttributeError: .* \(test_trial.py, line"),
        ("rl", "aggregation", "nan_weights", ConfigError, "rl.aggregation: '.*:nan_weights' gives weights that are not finite"),
        ("algorithm", "advantage", "of_the_probe", ConfigError, r"values have one value per step, .* not .* \(3,\)"),
        ("algorithm", "advantage", "undefined_for_invalid_steps", TrainingError, "the advantage of step 1 of task .* is nan"),
        ("algorithm", "policy_loss", "constant_loss", ConfigError, "does not depend on PolicyTokens.logprobs"),
        ("algorithm", "policy_loss", "infinite_gradient", ConfigError, "or its gradient, is not finite"),
    ],
)
def test_what_the_run_would_find_late(section, key, function, error, sentence):
    with pytest.raises(error, match=sentence):
        trial(**{section: {key: f"{HERE}:{function}"}})


@pytest.mark.parametrize(
    "algorithm",
    [
        {},
        {"advantage": "gigpo", "filters": ["informative"]},
        {"plan": "dynamic", "policy_loss": "gspo"},
        {"plan": "branching", "advantage": "aepo", "policy_loss": "aepo"},
    ],
    ids=["empg", "gigpo", "dynamic", "aepo"],
)
def test_sound_configurations_pass_and_say_what_was_tried(algorithm):
    found = trial(algorithm=algorithm, rl={"repeats": 4, "reward": "score"})
    (line,) = found.findings
    assert "episodes of the expert and a random agent, rewards 0" in line
    assert found.unchecked == ["whether the policy learns", "the time and the disk space of the run"]
    assert trial(algorithm=algorithm, rl={"repeats": 4, "reward": "score"}) == found, "a trial repeats"


def test_an_environment_without_an_expert_is_found(monkeypatch):
    monkeypatch.setattr(Corridor, "expert", lambda self: None)
    with pytest.raises(DataError, match="Corridor has no expert to learn from"):
        trial()
    assert "rewards all 0" in trial(warmstart={"steps": 0}).findings[0], "a random agent acts alone"


def test_what_was_not_checked_is_listed(monkeypatch):
    model = {"name": "nobody/no-such-model", "from_scratch": None}
    config = corridor_config("unused", model=model, rollout={"backend": "vllm"}, rl={"steps": 1})
    monkeypatch.setattr(Corridor, "does_io", True)
    found = try_step(config, build_stages(config))
    assert found.findings == [] and found.unchecked[:4] == [
        "episodes, rewards and advantages (the environment calls a network or a browser)",
        "whether nobody/no-such-model loads",
        "its tokenizer and chat template (not on this machine)",
        "whether the generator backend vllm starts",
    ]
