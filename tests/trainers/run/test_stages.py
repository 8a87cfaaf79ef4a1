"""Stages of a user's own: scorer, updater and aggregation, by `module:object`; mistakes in them are one sentence."""

import io
import json

import pytest
import torch
from rich.console import Console

from empg_gym.errors import ConfigError
from empg_gym.trainers.policy.scorers import recompute
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trainers.policy.update import MinibatchUpdater
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.stages import build_stages
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config

HERE = __name__


def config(folder, **rl):
    rl = {"steps": 2, "tasks_per_step": 4, "repeats": 4, "reward": "score", "optimizer": {"lr": 1e-2}, **rl}
    return corridor_config(str(folder), rl=rl, eval={"splits": []})


def train(folder, **rl):
    Trainer(config(folder, **rl), ProgressView(Console(file=io.StringIO()))).run()
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: line[name] for name in line if not name.startswith(("speed/", "seconds"))} for line in lines if line["phase"] == "rl"]


def doubled_entropy(policy, batch, *, factor=2.0):
    scores = recompute(policy, batch)
    return TokenScores(scores.logprobs, scores.entropies * factor, {"mine/factor": factor})


def one_score(policy, batch):
    return TokenScores(torch.zeros(1), torch.zeros(1))


class Patient:
    """Updates on every `every`-th step only."""

    def __init__(self, parts, *, every=2):
        self.inner, self.every = MinibatchUpdater(parts), every

    def update(self, step, batch, old, advantages):
        return self.inner.update(step, batch, old, advantages) if step % self.every == 0 else {"mine/skipped": 1.0}


def by_hand(rows, budget):
    return torch.full((len(rows),), 1 / max(len(rows), 1))


def scalar(rows, budget):
    return torch.tensor(0.5)


def no_updater(parts):
    return None


@pytest.fixture(scope="module")
def default(tmp_path_factory):
    return train(tmp_path_factory.mktemp("run") / "default")


def test_own_scorer(tmp_path, default):
    own = train(tmp_path / "run", old_logprobs=f"{HERE}:doubled_entropy", old_logprobs_options={"factor": 3.0})
    assert own[1]["mine/factor"] == 3.0
    assert own[1]["entropy/token_mean"] == pytest.approx(3 * default[1]["entropy/token_mean"])
    assert own[1]["rollout/logprob_gap_max"] == default[1]["rollout/logprob_gap_max"]


def test_own_updater(tmp_path, default):
    own = train(tmp_path / "run", updater=f"{HERE}:Patient", updater_options={"every": 2})
    assert own[1] == default[1]
    assert own[2]["mine/skipped"] == 1.0 and "loss/policy" not in own[2]


def test_own_aggregation_equal_to_a_registered_one_gives_equal_numbers(tmp_path, default):
    assert train(tmp_path / "run", aggregation=f"{HERE}:by_hand") == default


@pytest.mark.parametrize(
    ("rl", "sentence"),
    [
        ({"old_logprobs": "recomputed"}, "unknown scorer 'recomputed'; did you mean 'recompute'"),
        ({"old_logprobs_options": {"factor": 2}}, "the scorer 'recompute' has no option 'factor'; it takes none"),
        ({"updater": "minibatch"}, "unknown updater 'minibatch'; did you mean 'minibatches'"),
        ({"updater": f"{HERE}:Patient", "updater_options": {"evry": 2}}, "did you mean 'every'"),
        ({"aggregation": f"{HERE}:scalar"}, "must return one weight per token"),
        ({"aggregation": "row-men"}, "did you mean 'row-mean'"),
    ],
)
def test_mistakes_are_found_before_a_model_is_made(tmp_path, rl, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_stages(config(tmp_path / "run", **rl))


@pytest.mark.parametrize(
    ("rl", "sentence"),
    [
        ({"updater": f"{HERE}:no_updater"}, "must return an object with a method update, not NoneType"),
        ({"old_logprobs": f"{HERE}:one_score"}, "must return TokenScores of shape"),
    ],
)
def test_what_does_not_keep_the_contract_ends_the_run(tmp_path, rl, sentence):
    with pytest.raises(ConfigError, match=sentence):
        train(tmp_path / "run", **rl)


def test_stages_come_in_the_order_of_a_step(tmp_path):
    kinds = [stage.kind for stage in build_stages(config(tmp_path / "run"))]
    assert kinds == [
        "task source", "rollout plan", "generator backend", "reward", "scorer", "advantage", "policy loss", "aggregation", "updater",
        "optimizer",
    ]  # fmt: skip
