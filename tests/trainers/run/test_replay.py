"""`--replay`: the update of a recorded batch gives the numbers of the run, without an environment and without writing anything."""

import io
import json
import math
import sys
from types import SimpleNamespace

import gymnasium
import pytest
import torch
from rich.console import Console

from empg_gym.cli import main
from empg_gym.errors import ConfigError, DataError, TrainingError
from empg_gym.recipe import EnvRecipe
from empg_gym.trainers.algorithms.grpo import grpo
from empg_gym.trainers.algorithms.ppo_clip import ppo_clip
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.replay import replay
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import StopReason, read_trajectories, write_trajectories
from tests.trainers.corridor import corridor_config

HERE = __name__
KEPT = {"keep_rollouts": True, "checkpoint_every": 1, "keep_checkpoints": 9}
RL = {"steps": 3, "tasks_per_step": 4, "repeats": 4, "minibatches": 2, "reward": "score", "optimizer": {"lr": 1e-3}}
VARIANTS = {
    "default": {},
    "kl, entropy, two epochs": {"rl": {**RL, "kl_coef": 0.1, "entropy_coef": 0.01, "epochs": 2, "old_logprobs": "rollout"}},
    "dynamic": {"algorithm": {"plan": "dynamic", "filters": ["informative"]}},
    "branching": {"algorithm": {"plan": "branching", "advantage": "gigpo"}},
}


def run_config(folder, **sections):
    return corridor_config(str(folder), **{"run": KEPT, "warmstart": {"steps": 16}, "rl": RL, "eval": {"splits": []}, **sections})


def train(config):
    Trainer(config, ProgressView(Console(file=io.StringIO()))).run()


def rl_metrics(folder):
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    left_out = ("speed/", "seconds", "phase", "step", "eval/")
    return {line["step"]: {k: v for k, v in line.items() if not k.startswith(left_out)} for line in lines if line["phase"] == "rl"}


def journal(folder, step):
    return folder / "rollouts" / f"step-{step:06d}.jsonl"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replay") / "run"
    train(run_config(folder))
    return folder


@pytest.fixture
def no_environment(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a replay makes no environment")

    monkeypatch.setattr(gymnasium, "make", refuse)
    monkeypatch.setattr(EnvRecipe, "make", refuse)
    monkeypatch.setattr(EnvRecipe, "num_tasks", refuse)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_replay_on_the_checkpoint_before_gives_the_metrics_of_the_run(tmp_path, name, request):
    config = run_config(tmp_path / "run", **VARIANTS[name])
    train(config)
    request.getfixturevalue("no_environment")
    before = contents(tmp_path)
    written = rl_metrics(tmp_path / "run")
    for step in (1, 2, 3):
        result = replay(config, journal(tmp_path / "run", step))
        assert result.metrics == written[step]
        assert (result.step, result.is_before, result.missing) == (step, True, 0)
        assert result.metrics["loss/grad_norm"] > 0.1 and result.metrics["train/mixed_groups"] > 0, "the comparison says something"
        played = list(read_trajectories(journal(tmp_path / "run", step)))
        assert any(item.parent is not None for item in played) == (name == "branching")
        assert [group.group for group in result.groups] == sorted({item.group for item in played})
        assert sum(len(group.rewards) for group in result.groups) == len(played)
        trained = [reward for group in result.groups if group.trained for reward in group.rewards]
        assert sum(trained) / len(trained) == pytest.approx(written[step]["train/reward"])
    assert contents(tmp_path) == before, "nothing is written"


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_order_of_the_file_changes_nothing(run, tmp_path):
    shuffled = tmp_path / "batch.jsonl"
    write_trajectories(shuffled, reversed(list(read_trajectories(journal(run, 2)))))
    assert replay(run_config(run), shuffled).metrics == rl_metrics(run)[2]


def test_a_replay_takes_other_options_than_the_run(run):
    result = replay(run_config(run, algorithm={"advantage": "grpo"}), journal(run, 2))
    assert "empg/scaling_mean" not in result.metrics
    assert result.metrics["train/reward"] == rl_metrics(run)[2]["train/reward"]


def test_without_the_checkpoint_before_the_latest_is_used_and_reported(tmp_path):
    config = run_config(tmp_path / "run", run={**KEPT, "checkpoint_every": 9})
    train(config)
    result = replay(config, journal(tmp_path / "run", 2))
    assert result.model.endswith("rl-000003") and not result.is_before
    assert result.metrics["train/reward"] == rl_metrics(tmp_path / "run")[2]["train/reward"]
    assert result.metrics["loss/policy"] != rl_metrics(tmp_path / "run")[2]["loss/policy"]


def test_a_named_model_needs_no_run(run, tmp_path):
    named = run_config(tmp_path / "absent", model={"from_scratch": None, "name": str(run / "checkpoints" / "rl-000000")})
    result = replay(named, journal(run, 1))
    assert result.model == named.model.name
    assert result.metrics == rl_metrics(run)[1]
    assert not (tmp_path / "absent").exists()


def test_missing_episodes_count_as_failed(run, tmp_path):
    part = tmp_path / "part.jsonl"
    episodes = list(read_trajectories(journal(run, 1)))
    write_trajectories(part, [item for item in episodes if (item.group, item.repeat) != (2, 1)])
    result = replay(run_config(run), part)
    assert (result.missing, result.metrics["train/failed_episodes"]) == (1, 1.0)
    assert [len(group.rewards) for group in result.groups] == [4, 4, 3, 4]


def test_failed_episodes_and_repeated_ones_are_in_the_file(run, tmp_path):
    """A journal holds an episode that failed, then the one that a resumed run played instead."""
    failed, *rest = read_trajectories(journal(run, 1))
    again = tmp_path / "again.jsonl"
    first = next(iter(read_trajectories(journal(run, 1))))
    failed.stop_reason, failed.error = StopReason.ERROR, "gone"
    write_trajectories(again, [failed, *rest])
    assert replay(run_config(run), again).metrics["train/failed_episodes"] == 1.0
    write_trajectories(again, [first])
    assert replay(run_config(run), again).metrics == rl_metrics(run)[1]


def untokenized(item):
    item.steps[0].response_token_ids = None


def of_another_tokenizer(item):
    item.steps[0].response_token_ids = item.steps[0].response_token_ids + 100_000


def negative(item):
    item.steps[0].prompt_token_ids = item.steps[0].prompt_token_ids - 100_000


def of_an_evaluation(item):
    item.info = {}


def sampled_in_an_evaluation(item):
    item.info["kind"] = "evaluation"


def of_another_step(item):
    item.info["step"] = 7


def of_a_large_group(item):
    item.repeat = 9


def cut(item):
    item.steps[0].logprobs = item.steps[0].logprobs[:-1]


WRONG = [
    (untokenized, r"has no token ids"),
    (of_another_tokenizer, r"has the token id 10\d\d\d\d, and the model's vocabulary has \d+ tokens"),
    (negative, r"has the token id -\d+"),
    (of_an_evaluation, r"is not a training batch"),
    (sampled_in_an_evaluation, r"is not a training batch"),
    (of_another_step, r"holds episodes of the steps 1, 7"),
    (of_a_large_group, r"does not play the recorded episode 9 of group"),
    (cut, r"is damaged"),
]


@pytest.mark.parametrize(("change", "sentence"), WRONG, ids=[change.__name__ for change, _ in WRONG])
def test_a_wrong_file_is_one_sentence(run, tmp_path, change, sentence):
    path = tmp_path / "batch.jsonl"
    episodes = list(read_trajectories(journal(run, 1)))
    change(episodes[3])
    write_trajectories(path, episodes)
    with pytest.raises(DataError, match=sentence) as caught:
        replay(run_config(run), path)
    assert str(path) in str(caught.value)


def test_a_missing_empty_or_damaged_file_is_one_sentence(run, tmp_path):
    path = tmp_path / "batch.jsonl"
    with pytest.raises(DataError, match="no trajectories at"):
        replay(run_config(run), path)
    path.write_text("")
    with pytest.raises(DataError, match="holds no trajectory"):
        replay(run_config(run), path)
    lines = journal(run, 1).read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1][:50], lines[2]]) + "\n")
    with pytest.raises(DataError, match=r"batch\.jsonl, line 2: not a trajectory"):
        replay(run_config(run), path)


def test_a_model_from_scratch_needs_a_checkpoint(run, tmp_path):
    with pytest.raises(ConfigError, match=r"from scratch is replayed on a checkpoint, which has the tokenizer, and .*absent has none"):
        replay(run_config(tmp_path / "absent"), journal(run, 1))
    assert not (tmp_path / "absent").exists()


# Batches that are not finite


def inf_loss(tokens, *, limit=0.0):
    """PPO's loss, infinite for a batch whose largest advantage reaches a limit."""
    result = ppo_clip(tokens)
    if len(tokens.row) > 2 and float(tokens.advantages.abs().max()) >= limit:
        object.__setattr__(result, "loss", result.loss * math.inf)
    return result


def inf_advantage(batch):
    result = grpo(batch)
    if len(batch.step) > 3:
        result.values[1] = math.inf
    return result


def test_the_batch_of_a_nonfinite_loss_is_written_and_replayed(tmp_path):
    config = run_config(
        tmp_path / "run",
        run={"checkpoint_every": 1, "keep_checkpoints": 9},
        rl={**RL, "steps": 2, "minibatches": 1},
        algorithm={"plan": "dynamic", "policy_loss": f"{HERE}:inf_loss"},
    )
    train(config)
    written = rl_metrics(tmp_path / "run")
    assert sorted(path.name for path in (tmp_path / "run" / "nonfinite").iterdir()) == ["step-000001.jsonl", "step-000002.jsonl"]
    for step in (1, 2):
        result = replay(config, tmp_path / "run" / "nonfinite" / f"step-{step:06d}.jsonl")
        assert result.metrics["loss/nonfinite_updates"] == 1.0
        assert not math.isfinite(result.metrics["loss/grad_norm"])
        assert {name: value for name, value in result.metrics.items() if math.isfinite(value)} == written[step]
        assert json.loads(json.dumps(result.to_json(), allow_nan=False))["metrics"]["loss/grad_norm"] is None


def test_only_the_batch_that_is_not_finite_is_written(tmp_path):
    config = run_config(tmp_path / "run", rl={**RL, "steps": 2})
    train(config)
    assert not (tmp_path / "run" / "nonfinite").exists()


def test_the_batch_of_a_nonfinite_advantage_is_written_and_replayed(tmp_path):
    config = run_config(tmp_path / "run", algorithm={"advantage": f"{HERE}:inf_advantage"})
    with pytest.raises(TrainingError, match=r"the advantage of step \d .* is inf; .*the batch is in .*step-000001\.jsonl"):
        train(config)
    file = tmp_path / "run" / "nonfinite" / "step-000001.jsonl"
    with pytest.raises(TrainingError, match=r"the advantage of step \d .* is inf") as caught:
        replay(config, file)
    assert "the batch is in" not in str(caught.value)
    finite = run_config(tmp_path / "run", algorithm={"advantage": "grpo"})
    assert math.isfinite(replay(finite, file).metrics["loss/policy"])


# Command line


@pytest.fixture
def empg_gym(monkeypatch, capfd):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["empg-gym", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capfd.readouterr()
        return SimpleNamespace(code=ended.value.code, out=shown.out, err=" ".join(shown.err.split()))

    return call


def write_config(folder, config):
    from empg_gym.trainers.config.file import to_toml

    path = folder / "run.toml"
    path.write_text(to_toml(config))
    return path


def test_the_command_prints_tables_or_json(run, tmp_path, empg_gym):
    toml = write_config(tmp_path, run_config(run))
    shown = empg_gym("train", toml, "--replay", journal(run, 2))
    assert shown.code == 0, shown.err
    metrics = rl_metrics(run)[2]
    assert all(name in shown.out for name in metrics)
    assert "rl-000001" in shown.out
    result = empg_gym("train", toml, "--replay", journal(run, 2), "--json")
    record = json.loads(result.out)
    assert (record["step"], record["metrics"]) == (2, metrics)
    assert [len(group["rewards"]) for group in record["groups"]] == [4] * 4
    later = empg_gym("train", toml, "--replay", journal(run, 2), "--out", tmp_path / "absent")
    assert later.code == 2 and "from scratch" in later.err


def test_wrong_files_end_the_command_with_one_sentence(run, tmp_path, empg_gym):
    toml = write_config(tmp_path, run_config(run))
    (tmp_path / "empty.jsonl").touch()
    for file, sentence in (
        (tmp_path / "none.jsonl", "no trajectories at"),
        (tmp_path / "empty.jsonl", "holds no trajectory"),
        (run / "metrics.jsonl", "not a trajectory"),
        (run, "no trajectories at"),
    ):
        shown = empg_gym("train", toml, "--replay", file)
        assert shown.code == 2
        assert sentence in shown.err and "Traceback" not in shown.err
    alone = empg_gym("train", toml, "--json")
    assert alone.code == 2 and "--json prints the result of --replay" in alone.err


def test_a_batch_survives_pickling(run):
    import pickle

    from empg_gym.trainers.data.batch import make_batch

    batch = make_batch(list(read_trajectories(journal(run, 1))))
    again = pickle.loads(pickle.dumps(batch))
    assert [item.to_json() for item in again.trajectories] == [item.to_json() for item in batch.trajectories]
    assert torch.equal(again.step_of_token, batch.step_of_token) and torch.equal(again.rewards, batch.rewards)
    assert torch.equal(again.steps(again.rollout_entropies).entropies, batch.steps(batch.rollout_entropies).entropies)
