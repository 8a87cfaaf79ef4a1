"""Every method and plan, as a configuration names it, in a real run on the corridor."""

import io
import json
import math

import pytest
import torch
from rich.console import Console

from empg_gym.errors import TrainingError
from empg_gym.trainers.algorithms import ADVANTAGES, POLICY_LOSSES, Advantages
from empg_gym.trainers.collect.plans import PLANS
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config

SHORT = {"warmstart": {"steps": 16}, "eval": {"splits": []}}
STAGES = [
    *({"advantage": name} for name in ADVANTAGES if name != "igpo"),
    *({"advantage": "grpo", "policy_loss": name} for name in POLICY_LOSSES),
    *({"advantage": "empg", "advantage_options": {"base": name}} for name in ("dr_grpo", "rloo", "gigpo", "graph_gpo", "g2po", "hgpo")),
    *({"advantage": "grpo", "plan": name} for name in PLANS if name != "branching"),
    {"advantage": "grpo", "plan": "branching", "plan_options": {"alpha": 1.0}},
    {"advantage": "gigpo", "state_key": "observation"},
    {"advantage": "empg", "filters": ["informative"]},
    {"advantage": "grpo", "shapers": [{"name": "overlong", "options": {"max_tokens": 8, "buffer": 4}}]},
    {"advantage": "aepo", "policy_loss": "aepo", "plan": "branching", "plan_options": {"alpha": 1.0, "initial": 1}},
    {"advantage": "gigpo", "policy_loss": "gspo", "policy_loss_options": {"sequence": "step"}, "plan": "dynamic"},
]


def lines_of(folder, **sections):
    config = corridor_config(str(folder), **{**SHORT, **sections})
    Trainer(config, ProgressView(Console(file=io.StringIO()))).run()
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == "rl" and line["step"]]


@pytest.mark.parametrize("algorithm", STAGES, ids=lambda stages: "-".join(str(value) for value in stages.values()))
def test_it_trains(tmp_path, algorithm):
    rl = {"steps": 2, "reward": "score", "invalid_action_penalty": 0.1, "optimizer": {"lr": 1e-3}}
    lines = lines_of(tmp_path / "run", algorithm=algorithm, rl=rl)
    assert len(lines) == 2
    for line in lines:
        if "loss/policy" in line:  # filters and dynamic sampling may leave nothing to learn from
            assert math.isfinite(line["loss/policy"]) and line["loss/grad_norm"] > 0
        assert line["train/success"] >= 0
    if algorithm.get("plan") == "dynamic":
        assert all(line["collect/rounds"] >= 1 for line in lines)
    if algorithm.get("plan") == "branching":
        assert sum(line["collect/branches"] for line in lines) > 0


def test_the_entropy_bonus_keeps_the_policy_uncertain(tmp_path):
    entropies = []
    for weight in (0.0, 1.0):
        rl = {"steps": 6, "entropy_coef": weight, "reward": "score", "optimizer": {"lr": 1e-2}}
        lines = lines_of(tmp_path / f"{weight}", rl=rl, algorithm={"advantage": "grpo"})
        assert all(("loss/entropy" in line) == (weight > 0) for line in lines)
        assert weight == 0 or all(line["loss/entropy"] < 0 for line in lines)
        entropies.append(lines[-1]["entropy/token_mean"])
    assert entropies[1] > entropies[0]


def test_a_step_whose_groups_are_all_filtered_out_learns_nothing(tmp_path):
    rl = {"steps": 1, "reward": "tests.trainers.run.test_methods:always"}
    (line,) = lines_of(tmp_path / "run", rl=rl, algorithm={"filters": ["informative"]})
    assert "loss/policy" not in line and line["train/mixed_groups"] == 0.0


def always(trajectory):
    return 1.0


def test_an_advantage_that_is_not_finite_names_its_step(tmp_path):
    with pytest.raises(TrainingError, match=r"the advantage of step \d+ of task '.*' \(group \d+, repeat \d+\) is inf"):
        lines_of(tmp_path / "run", algorithm={"advantage": "tests.trainers.run.test_methods:explosive"})


def explosive(batch):
    values = torch.where(torch.tensor(len(batch.step) > 10), math.inf, 1.0).expand(len(batch.step)).double()
    return Advantages(values=values, base=values)
