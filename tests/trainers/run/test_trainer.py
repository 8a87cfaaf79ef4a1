"""Whole runs in a tiny environment: they learn, resume bit for bit, write files atomically and overwrite nothing."""

import io
import json
import math
from collections import Counter

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from empg_gym.errors import ConfigError, OutputExistsError
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import read_trajectories
from tests.trainers.corridor import corridor_config

DAGGER = {"dagger": 0.625}


def train(config, *, resume=False, console=None):
    view = ProgressView(console or Console(file=io.StringIO()))
    return Trainer(config, view, resume=resume).run()


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A complete run: its folder, summary and output. The last five steps of its warm start learn from the policy's episodes."""
    folder = tmp_path_factory.mktemp("run") / "whole"
    shown = io.StringIO()
    summary = train(corridor_config(str(folder), warmstart=DAGGER), console=Console(file=shown, width=120))
    return folder, summary, shown.getvalue()


def test_a_run_writes_its_files(whole):
    folder, summary, _ = whole
    assert json.loads((folder / "config.json").read_text())["rl"]["steps"] == 4
    assert json.loads((folder / "summary.json").read_text()) == json.loads(json.dumps(summary))
    assert [item["split"] for item in summary["before"]] == [item["split"] for item in summary["after"]] == ["test"]
    assert summary["after"][0]["tasks"] == 8
    assert list((folder / "tensorboard").iterdir())
    latest = folder / "checkpoints" / (folder / "checkpoints" / "latest").read_text().strip()
    assert latest.name == "rl-000004"
    assert {"config.json", "model.safetensors", "tokenizer.json", "trainer_state.pt"} <= {path.name for path in latest.iterdir()}
    assert not [path for path in folder.rglob("*") if path.name.startswith(".")]


def test_metrics_contain_every_step_and_number(whole):
    lines = metrics(whole[0])
    assert [(line["phase"], line["step"]) for line in lines] == [("warmstart", n) for n in range(1, 9)] + [("rl", n) for n in range(5)]
    assert [line["seconds"] for line in lines] == sorted(line["seconds"] for line in lines)
    assert all("warmstart/loss" in line for line in lines[:8])
    names = {
        "train/success", "train/score", "train/valid_action",
        "entropy/step_mean", "entropy/step_q10", "entropy/step_q50", "entropy/step_q90",
        "empg/scaling_min", "empg/scaling_mean", "empg/scaling_max", "empg/bonus_mean", "empg/sign_flips", "loss/policy", "loss/clip_share",
        "loss/kl_old", "loss/grad_norm", "speed/tokens_per_s", "speed/rollout_s", "speed/env_s", "speed/update_s",
    }  # fmt: skip
    for line in lines[9:]:
        assert names <= line.keys()
        assert all(math.isfinite(value) for value in line.values() if isinstance(value, float))
        assert line["empg/scaling_mean"] == pytest.approx(1.0)
        assert line["rollout/logprob_gap_max"] < 1e-4
    assert "eval/test/success" in lines[8]
    assert "eval/test/success" in lines[10]
    assert "eval/test/success" not in lines[9]
    assert lines[-1]["eval/test/success"] >= 0


def test_recorded_episodes_carry_entropies_and_advantages(whole):
    episodes = list(read_trajectories(whole[0] / "trajectories.jsonl"))
    assert {item.info["kind"] for item in episodes} == {"training", "evaluation"}
    for item in episodes:
        assert item.info["phase"] in ("warmstart", "rl")
        for step in item.steps:
            assert step.entropy is not None
            assert ("advantage_modulated" in step.diagnostics) == (item.info["kind"] == "training")


def test_training_samples_are_whole_groups_with_their_rewards(whole):
    repeats = json.loads((whole[0] / "config.json").read_text())["rl"]["repeats"]
    sampled = [item for item in read_trajectories(whole[0] / "trajectories.jsonl") if item.info["kind"] == "training"]
    groups = Counter((item.info["step"], item.group, item.task) for item in sampled)
    assert repeats > 1 and groups and set(groups.values()) == {repeats}
    assert all(item.info["training_reward"] == float(item.success) for item in sampled)


def test_outcomes_name_the_type_of_every_task(whole):
    for line in map(json.loads, (whole[0] / "outcomes.jsonl").read_text().splitlines()):
        assert len(line["types"]) == len(line["tasks"]) > 0


def test_output_without_a_terminal_is_plain_lines(whole):
    shown = whole[2]
    assert "\x1b" not in shown
    assert "Warm start 8/8 · loss" in shown
    assert "Before reinforcement: success test" in shown
    assert "after reinforcement" in shown


def test_a_terminal_gets_a_live_view(tmp_path):
    shown = io.StringIO()
    train(corridor_config(str(tmp_path / "run"), rl={"steps": 1}), console=Console(file=shown, force_terminal=True, width=120))
    assert "\x1b[" in shown.getvalue()
    assert "Reinforcement" in shown.getvalue()


@pytest.mark.parametrize("stop", [("warmstart", 3), ("warmstart", 5), ("rl", 0), ("rl", 3)])
def test_a_resumed_run_equals_an_uninterrupted_one(whole, tmp_path, stop, monkeypatch):
    """A run that is killed right after a checkpoint and resumed ends with the same bits as one that was never stopped.

    Of the warm start's steps, 3 to 4 and 5 to 7 play their episodes together, so that the checkpoint of step 4 is written after step 5.
    """
    folder = tmp_path / "run"
    every = {("rl", 3): 1, ("warmstart", 3): 3}.get(stop, 4)
    config = corridor_config(str(folder), run={"checkpoint_every": every}, warmstart=DAGGER)
    save = Trainer._save

    class Killed(BaseException):
        pass

    def save_then_die(self):
        save(self)
        if (self.state.phase, self.state.step) == stop:
            raise Killed

    monkeypatch.setattr(Trainer, "_save", save_then_die)
    with pytest.raises(Killed):
        train(config)
    monkeypatch.undo()
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"phase": "rl", "step": 99, "sec')
    train(config, resume=True)

    for name in ("rl-000000", "rl-000004"):
        expected = load_file(whole[0] / "checkpoints" / name / "model.safetensors")
        actual = load_file(folder / "checkpoints" / name / "model.safetensors")
        assert expected.keys() == actual.keys()
        assert all(torch.equal(expected[key], actual[key]) for key in expected)
    changing = ("speed/", "seconds")
    for first, second in zip(metrics(whole[0]), metrics(folder), strict=True):
        assert {k: v for k, v in first.items() if not k.startswith(changing)} == {
            k: v for k, v in second.items() if not k.startswith(changing)
        }
    recorded = [[item.to_json() for item in read_without_time(path / "trajectories.jsonl")] for path in (whole[0], folder)]
    assert recorded[0] == recorded[1]


def test_environments_in_processes_give_the_same_run(tmp_path):
    """The episodes of a step are equal; a later step may differ, as the order of rows in a forward pass changes rounding."""
    episodes, errors = [], []
    for backend in ("inline", "processes"):
        rollout = {"max_response_tokens": 6, "max_row_tokens": 128, "concurrency": 4, "env_backend": backend}
        config = corridor_config(str(tmp_path / backend), rollout=rollout, rl={"steps": 1}, eval={"tasks": 4})
        errors += [item["errors"] for item in train(config)["after"]]
        played = read_without_time(tmp_path / backend / "trajectories.jsonl")
        episodes.append({(one.task, one.repeat): [(step.observation, step.response) for step in one.steps] for one in played})
    assert episodes[0] == episodes[1] and episodes[0] and errors == [0, 0]


def read_without_time(path):
    for item in read_trajectories(path):
        for step in item.steps:
            step.model_seconds = step.env_seconds = 0.0
        yield item


def test_a_folder_in_use_is_left_alone(tmp_path):
    for name, text in (("notes.txt", "mine"), ("config.json", '{"agent": {"name": "expert"}}')):
        folder = tmp_path / name
        folder.mkdir()
        (folder / name).write_text(text)
        for resume in (False, True):
            with pytest.raises(OutputExistsError, match="is not empty and holds no training run; choose another folder with --out"):
                train(corridor_config(str(folder)), resume=resume)
        assert [path.read_text() for path in folder.iterdir()] == [text]


def test_an_unusable_configuration_writes_nothing(tmp_path):
    folder = tmp_path / "run"
    mistakes = [
        {"algorithm": {"advantage": "empgg"}},
        {"algorithm": {"advantage_options": {"zet": 1}}},
        {"algorithm": {"advantage_options": {"k": "oops"}}},
        {"algorithm": {"advantage_options": {"k": -1}}},
        {"algorithm": {"advantage_options": {"base_options": 3}}},
        {"algorithm": {"policy_loss_options": {"clip_low": 2}}},
        {"algorithm": {"policy_loss_options": {"clip_high": "wide"}}},
        {"env": {"id": "EMPG/ALFWorl-v0"}},
        {"env": {"options": {"sizes": 3}}},
        {"eval": {"splits": ["tset"]}},
        {"rl": {"aggregation": "mean"}},
        {"rl": {"reward": "sucess"}},
        {"rl": {"old_logprobs": "recomputed"}},
        {"rl": {"updater": "minibatch"}},
        {"rl": {"updater": "builtins:repr"}},
        {"algorithm": {"plan": "group"}},
        {"algorithm": {"plan": "dynamic", "plan_options": {"rounds": 3}}},
        {"algorithm": {"task_source": "uniformly"}},
        {"algorithm": {"filters": ["informativ"]}},
        {"algorithm": {"shapers": [{"name": "overlong", "options": {"max_tokens": 3, "buffer": 4}}]}},
        {"rollout": {"backend": "vlm"}},
        {"rollout": {"backend_options": {"max_reads": 3}}},
    ]
    for mistake in mistakes:
        with pytest.raises(ConfigError):
            train(corridor_config(str(folder), **mistake))
        assert not folder.exists(), mistake


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_missing_device_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="'cuda' was requested, but no CUDA device is available"):
        train(corridor_config(str(tmp_path / "run"), run={"device": "cuda"}))
    assert not (tmp_path / "run").exists()


def test_resume_requires_the_same_configuration(whole, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="holds no training run"):
        train(corridor_config(str(tmp_path)), resume=True)
    with pytest.raises(OutputExistsError, match=r"rl\.repeats was 4, is now 2"):
        train(corridor_config(str(whole[0]), rl={"repeats": 2}), resume=True)
    with pytest.raises(OutputExistsError, match=r"run\.seed was 0, is now 1"):
        train(corridor_config(str(whole[0]), run={"seed": 1}), resume=True)


@pytest.mark.slow
@pytest.mark.parametrize("advantage", ["grpo", "empg"])
def test_reinforcement_learns(tmp_path, advantage):
    """Rewards alone teach what a short warm start did not."""
    config = corridor_config(
        str(tmp_path / "run"),
        run={"checkpoint_every": 100},
        warmstart={"steps": 16},
        rl={"steps": 30, "reward": "score", "tasks_per_step": 8, "repeats": 8, "optimizer": {"lr": 2e-3}},
        algorithm={"advantage": advantage},
        eval={"tasks": 16, "every": None},
    )
    summary = train(config)
    before, after = summary["before"][0]["score"], summary["after"][0]["score"]
    assert before < 0.85
    assert after >= 0.9


def test_the_kl_term_keeps_the_policy_close_to_the_reference(tmp_path):
    """A large weight keeps the policy close to its initial weights."""
    distances = []
    for weight in (0.001, 5.0):
        folder = tmp_path / f"{weight}"
        rl = {"steps": 6, "kl_coef": weight, "optimizer": {"lr": 1e-2}}
        train(corridor_config(str(folder), rl=rl, eval={"splits": []}))
        distances.append(metrics(folder)[-1]["loss/kl_reference"])
    assert 0 <= distances[1] < distances[0] / 2
