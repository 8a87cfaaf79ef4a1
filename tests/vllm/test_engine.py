"""The backend `vllm` against the training model, alone and in training runs. Runs in `.venv-vllm` (`make test-vllm`)."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from rich.console import Console

from empg_gym.errors import ConfigError, TrainingError
from empg_gym.rollout import Limits
from empg_gym.runs.folder import SUMMARY
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.generate.backends import build_generator
from empg_gym.trainers.generate.base import GenerationSettings, Generator
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.generate.parity import TOKENS, check_parity
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from empg_gym.trajectory import StopReason, read_trajectories
from tests.trainers.corridor import corridor_config
from tests.trainers.generate.worlds import forward_row, play, rows_of, texts, tokens_of

pytest.importorskip("vllm", reason="vLLM is not in this environment: run `make test-vllm`")
pytestmark = pytest.mark.slow

CONTINUE = Limits(end_on_cut_response=False)
OPTIONS = {"kv_cache_gib": 0.1}


@pytest.fixture(scope="module", params=["tied", "untied"])
def parts(request):
    """A model and a generator that has its weights as version 0."""
    shape = FromScratch(width=64, heads=2, init_std=0.3, tie_embeddings=request.param == "tied")
    model, tokenizer = load_model(from_scratch=shape, tokenizer_texts=texts())
    settings = GenerationSettings(sampling=Sampling(), max_response_tokens=10, max_row_tokens=256, max_batch=16)
    generator = build_generator("vllm", OPTIONS, model, tokenizer, settings)
    generator.update_weights(model.named_parameters(), 0)
    yield model, tokenizer, generator
    generator.close()


def change(model, seed):
    """Change every weight, among them a token's that ends responses: then rows of all lengths occur."""
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=noise)


def assert_equals_forward(model, trajectories, sampling=None, tolerance=1e-4):
    """Compare the log-probability of every token with a plain forward pass over its row, and return their number."""
    checked = 0
    for trajectory in trajectories:
        assert trajectory.stop_reason is not StopReason.ERROR, trajectory.error
        for ids, spans in rows_of(trajectory):
            logp, _ = forward_row(model, ids, sampling)
            for index, begin, end in spans:
                expected = logp[torch.arange(begin - 1, end - 1), torch.tensor(ids[begin:end])].numpy()
                np.testing.assert_allclose(trajectory.steps[index].logprobs, expected, atol=tolerance, rtol=0)
                checked += end - begin
    return checked


def test_every_token_has_the_training_models_logprob_after_each_sync(parts):
    model, _, generator = parts
    assert isinstance(generator, Generator) and not generator.shares_weights
    before = None
    for version in (1, 2):
        change(model, version)
        generator.update_weights(model.named_parameters(), version)
        trajectories = play(generator, 12, limits=CONTINUE)
        assert assert_equals_forward(model, trajectories) > 300
        steps = [step for item in trajectories for step in item.steps]
        assert {step.policy_version for step in steps} == {version}
        assert all(step.row == 0 and step.entropies is None and step.entropy is None for step in steps)
        assert tokens_of(trajectories) != before, "new weights, other tokens"
        before = tokens_of(trajectories)


def test_stale_weights_are_found_by_the_parity_check(parts):
    model, _, generator = parts
    policy = Policy(model)
    probe = generator.with_sampling(Sampling(), TOKENS)

    def score(rows):
        return policy.score_rows(rows).logprobs

    generator.update_weights(model.named_parameters(), 3)
    assert check_parity(probe, score, 3) < 1e-4
    change(model, 3)
    with pytest.raises(TrainingError, match="does not have the training model's weights"):
        check_parity(probe, score, 4)
    named = dict(model.named_parameters())
    generator.update_weights(((name, tensor) for name, tensor in named.items() if "embed_tokens" not in name), 4)
    with pytest.raises(TrainingError, match="does not have the training model's weights"):
        check_parity(probe, score, 4)
    generator.update_weights(named.items(), 4)
    assert check_parity(probe, score, 4) < 1e-4
    with pytest.raises(ConfigError, match="can't load these weights"):
        generator.update_weights([("model.layers.9.mlp.up_proj.weight", torch.zeros(2, 2))], 5)


@pytest.mark.parametrize("sampling", [Sampling(temperature=0.6), Sampling(temperature=1.3, top_k=5), Sampling(top_p=0.7)], ids=str)
def test_logprobs_are_those_of_the_sampling_distribution(parts, sampling):
    model, _, generator = parts
    generator.update_weights(model.named_parameters(), 0)
    assert assert_equals_forward(model, play(generator.with_sampling(sampling), 4, limits=CONTINUE), sampling) > 100


def test_greedy_episodes_equal_those_of_hf(parts):
    model, tokenizer, generator = parts
    generator.update_weights(model.named_parameters(), 0)
    ours = play(generator.with_sampling(Sampling(temperature=0)), 6, limits=CONTINUE)
    theirs = play(HFGenerator(model, tokenizer, temperature=0, max_response_tokens=10, max_row_tokens=256), 6, limits=CONTINUE)
    assert tokens_of(ours) == tokens_of(theirs)
    for mine, reference in zip(ours, theirs, strict=True):
        for one, other in zip(mine.steps, reference.steps, strict=True):
            np.testing.assert_allclose(one.logprobs, other.logprobs, atol=1e-4)
            assert (one.response, one.finish_reason, one.prompt_tokens) == (other.response, other.finish_reason, other.prompt_tokens)


def test_an_episode_depends_on_its_seed_and_not_on_the_others(parts):
    generator = parts[2]
    together = tokens_of(play(generator, 12, limits=CONTINUE))
    assert tokens_of(play(generator, 3, concurrency=1, limits=CONTINUE)) == together[:3]
    assert len({str(episode) for episode in together}) == 12


def test_limits_and_stop_ids(parts):
    _, tokenizer, generator = parts
    long = play(generator, 3, limits=CONTINUE, max_steps=40)
    assert {item.stop_reason for item in long} == {StopReason.ROW_TOKENS}
    assert all(sum(len(s.prompt_token_ids) + len(s.response_token_ids) for s in item.steps) <= 256 for item in long)
    ends = tokenizer.eos_token_id
    for step in (step for item in long for step in item.steps):
        ids = step.response_token_ids.tolist()
        assert ends not in ids[:-1] and (step.finish_reason == "stop") == (ids[-1] == ends)
        assert len(ids) <= 10
    short = generator.with_sampling(Sampling(), 2)
    assert max(len(step.response_token_ids) for item in play(short, 3, limits=CONTINUE) for step in item.steps) == 2


# In a training run


def config(folder, backend, **rl):
    tree = {
        "model": {"from_scratch": {"layers": 1, "width": 64, "heads": 2, "init_std": 0.2}},
        "rollout": {"max_response_tokens": 6, "max_row_tokens": 128, "backend": backend, "concurrency": 16},
        "warmstart": {"steps": 30, "episodes": 64, "episodes_per_step": 16, "optimizer": {"lr": 1e-2}},
        "rl": {"steps": 3, "tasks_per_step": 8, "repeats": 8, "minibatches": 1, "reward": "score", "optimizer": {"lr": 1e-3}, **rl},
        "run": {"out": str(folder), "threads": 1, "device": "cpu", "checkpoint_every": 1, "keep_rollouts": True, "sample_every": 1},
        "eval": {"splits": ["test"], "tasks": 16, "temperature": 1.0},
    }
    if backend == "vllm":
        tree["rollout"]["backend_options"] = OPTIONS
    return corridor_config(str(folder), **tree)


def train(run, *, resume=False):
    Trainer(run, ProgressView(Console(file=io.StringIO())), resume=resume).run()


def lines_of(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == "rl" and line["step"]]


def assert_same_mean(ours, theirs, name):
    """Two samples whose means differ by at most four standard errors."""
    ours, theirs = np.asarray(ours, float), np.asarray(theirs, float)
    error = np.sqrt(ours.var(ddof=1) / len(ours) + theirs.var(ddof=1) / len(theirs))
    assert abs(ours.mean() - theirs.mean()) <= 4 * error + 1e-9, (name, ours.mean(), theirs.mean(), error)


def test_training_equals_that_with_hf_within_sampling_noise(tmp_path):
    runs = {}
    for backend in ("hf", "vllm"):
        folder = tmp_path / backend
        train(config(folder, backend, rollout_correction="tis", entropy_coef=0.01))
        lines = lines_of(folder)
        assert len(lines) == 3
        for line in lines:
            assert line["rollout/logprob_gap_max"] < 1e-3 and line["rollout/logprob_gap_mean"] < 1e-4, "the weights of this step"
            assert line["rollout/tis_weight_mean"] == pytest.approx(1, abs=1e-3)
            assert line["entropy/step_mean"] > 0 and line["train/failed_episodes"] == 0
        runs[backend] = folder, list(read_trajectories(folder / "rollouts" / "step-000001.jsonl")), lines
    for name, of in {
        "score": lambda item: item.score,
        "steps": lambda item: len(item.steps),
        "log-probability": lambda item: float(np.mean([step.logprobs.mean() for step in item.steps])),
        "response length": lambda item: item.num_tokens / len(item.steps),
    }.items():
        assert_same_mean([of(item) for item in runs["vllm"][1]], [of(item) for item in runs["hf"][1]], name)
    ours, theirs = (json.loads((runs[name][0] / SUMMARY).read_text())["after"][0] for name in ("vllm", "hf"))
    assert ours["score_low"] <= theirs["score_high"] and theirs["score_low"] <= ours["score_high"]
    assert all(item.steps[0].entropies is None for item in runs["vllm"][1]), "the journal has what the generator returned"
    sample = [item for item in read_trajectories(runs["vllm"][0] / "trajectories.jsonl") if item.info["kind"] == "training"]
    steps = [step for item in sample for step in item.steps]
    assert steps and all(len(step.entropies) == len(step.response_token_ids) for step in steps), "the scorer's entropies"
    assert all(step.entropy == pytest.approx(float(step.entropies.mean()), abs=1e-5) for step in steps)


def test_an_engine_that_fails_mid_step_ends_the_run_which_can_be_resumed(tmp_path, monkeypatch):
    from empg_gym.trainers.generate.vllm_engine import _Driver

    run, passes, step = config(tmp_path / "run", "vllm"), [], _Driver._step

    def failing(self):
        rollouts = tmp_path / "run" / "rollouts" / "step-000002.jsonl"
        if rollouts.exists() and rollouts.read_text().count("\n") >= 3:
            raise RuntimeError("the device is lost")
        passes.append(1)
        return step(self)

    monkeypatch.setattr(_Driver, "_step", failing)
    with pytest.raises(TrainingError, match=r"vLLM's engine has failed \(RuntimeError: the device is lost\); .*--resume"):
        train(run)
    monkeypatch.undo()
    journal = tmp_path / "run" / "rollouts" / "step-000002.jsonl"
    finished = list(read_trajectories(journal))
    assert passes and 3 <= len(finished) < 64
    train(run, resume=True)
    lines = lines_of(tmp_path / "run")
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert all(line["train/failed_episodes"] == 0 for line in lines)
    again = {
        (item.group, item.repeat): tokens_of([item]) for item in read_trajectories(tmp_path / "run" / "rollouts" / "step-000002.jsonl")
    }
    assert len(again) == 64
    assert all(again[item.group, item.repeat] == tokens_of([item]) for item in finished), "finished episodes are kept"
