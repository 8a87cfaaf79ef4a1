"""A collapsed training run ends with a one-sentence error; evaluations skip a split that the data lacks."""

import io

import gymnasium as gym
import pytest
import torch
from rich.console import Console

from empg_gym.envs.alfworld.index import split_folder
from empg_gym.errors import ConfigError, DataError, MissingSplitError, TrainingError
from empg_gym.trainers.generate.lean import LeanDecoder
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.policy.scores import TokenScores
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import Corridor, corridor_config

SHORT = {"warmstart": {"steps": 2}, "rl": {"steps": 2}}


class Failing(Corridor):
    """Fails once `broken` is set, after the expert episodes of the warm start."""

    broken = False

    def _apply(self, action):
        if Failing.broken:
            raise OSError("the game is gone")
        return super()._apply(action)


class Partial(Corridor):
    """Its data has no split "test"."""

    splits = ("train", "dev", "test")

    def __init__(self, split="train", max_steps=4, data=None):
        if split == "test":
            raise MissingSplitError("the data has no split 'test'")
        super().__init__(split=split, max_steps=max_steps)


for kind in (Failing, Partial):
    if f"EMPGTest/{kind.__name__}-v0" not in gym.registry:
        gym.register(f"EMPGTest/{kind.__name__}-v0", entry_point=kind)


def trainer(config, shown=None):
    return Trainer(config, ProgressView(Console(file=shown or io.StringIO(), width=120)))


@pytest.mark.parametrize(("splits", "place"), [([], "reinforcement step 1"), (["test"], "the evaluation on test")])
def test_a_batch_of_failed_episodes_ends_the_run(tmp_path, monkeypatch, splits, place):
    run = trainer(corridor_config(str(tmp_path / "run"), env={"id": "EMPGTest/Failing-v0"}, eval={"splits": splits}, **SHORT))
    sync = run.models.publish

    def sync_then_break(version):
        sync(version)
        monkeypatch.setattr(Failing, "broken", True)

    monkeypatch.setattr(run.models, "publish", sync_then_break)
    closed = []
    for part in (run.models, run.evaluator, run.collector):
        monkeypatch.setattr(part, "close", lambda part=part, close=part.close: closed.append(part) or close())
    with pytest.raises(TrainingError, match=rf"all \d+ episodes of {place} failed.*OSError: the game is gone"):
        run.run()
    assert closed == [run.collector, run.evaluator, run.models]
    assert not (tmp_path / "run" / "summary.json").exists()


def test_rows_too_short_for_a_response_end_the_run(tmp_path):
    config = corridor_config(str(tmp_path / "run"), rollout={"max_row_tokens": 8}, warmstart={"steps": 0}, eval={"splits": []})
    with pytest.raises(TrainingError, match=r"all \d+ episodes of reinforcement step 1 failed.*the prompt makes the row 9 tokens long"):
        trainer(config).run()


def test_gradients_that_stay_not_finite_end_the_run(tmp_path):
    run = trainer(corridor_config(str(tmp_path / "run"), **SHORT))
    optimizer = Optimizer(run.models.policy, run.config.rl.optimizer, 100)
    parameter = next(run.models.model.parameters())
    weights = parameter.detach().clone()

    def update(factor):
        Policy.score = lambda *_, **__: TokenScores((parameter * factor).sum()[None], torch.zeros(1))
        return optimizer.update([None], lambda _, scores: scores.logprobs.sum())

    score = Policy.score
    try:
        for _ in range(Optimizer.MAX_SKIPPED - 1):
            update(float("nan"))
        assert torch.equal(parameter, weights)
        update(1.0)
        for _ in range(Optimizer.MAX_SKIPPED - 1):
            update(float("inf"))
        resumed = Optimizer(run.models.policy, run.config.rl.optimizer, 100)
        resumed.load_state_dict(optimizer.state_dict())
        optimizer = resumed
        with pytest.raises(TrainingError, match="gradients of 5 consecutive updates were not finite"):
            update(float("nan"))
    finally:
        Policy.score = score


def test_a_split_that_the_data_lacks_is_skipped(tmp_path):
    shown = io.StringIO()
    config = corridor_config(
        str(tmp_path / "run"), env={"id": "EMPGTest/Partial-v0"}, eval={"splits": ["test", "dev"], "tasks": 2}, **SHORT
    )
    summary = trainer(config, shown).run()
    assert shown.getvalue().count("Evaluations leave out the split test: the data has no split 'test'") == 1
    assert summary["splits_left_out"] == ["test"]
    assert [item["split"] for item in summary["after"]] == ["dev"]


def test_no_split_at_all_is_an_error(tmp_path):
    config = corridor_config(str(tmp_path / "run"), env={"id": "EMPGTest/Partial-v0"}, eval={"splits": ["test"]}, **SHORT)
    with pytest.raises(MissingSplitError):
        trainer(config)
    assert not (tmp_path / "run").exists()


def test_official_games_name_the_split_that_they_lack(tmp_path):
    (tmp_path / "json_2.1.1" / "train").mkdir(parents=True)
    with pytest.raises(MissingSplitError, match="no ALFWorld split 'valid_unseen'"):
        split_folder(tmp_path, "valid_unseen")
    with pytest.raises(DataError, match="does not exist") as caught:
        split_folder(tmp_path / "missing", "valid_unseen")
    assert not isinstance(caught.value, MissingSplitError)


def test_an_update_out_of_memory_names_the_settings_to_lower(tmp_path, monkeypatch):
    run = trainer(corridor_config(str(tmp_path / "run"), eval={"splits": []}, **SHORT))

    def full(self, batch, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. More")

    monkeypatch.setattr(Policy, "score", full)
    with pytest.raises(TrainingError, match=r"memory is full \(CUDA out of memory\): set rl.token_budget"):
        run.run()


def test_a_rollout_without_memory_for_a_single_row_ends_the_run(tmp_path, monkeypatch):
    run = trainer(corridor_config(str(tmp_path / "run"), eval={"splits": []}, **SHORT))

    def full(self, batch, cache, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. More")

    monkeypatch.setattr(LeanDecoder, "__call__", full)
    with pytest.raises(ConfigError, match=r"no memory for a single row .* lower rollout\.max_row_tokens"):
        run.run()
