"""Training runs with adapters: KL, checkpoints, resume, evaluation and other backends."""

import io
import json
import shutil

import pytest
import torch
from peft import PeftModel
from rich.console import Console
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from empg_gym.errors import ConfigError, OutputExistsError
from empg_gym.evaluation import evaluate
from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.generate.backends import hf
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.run.bundle import ModelBundle
from empg_gym.trainers.run.progress import ProgressView
from empg_gym.trainers.run.trainer import Trainer
from tests.trainers.corridor import corridor_config


def train(config, *, resume=False):
    trainer = Trainer(config, ProgressView(Console(file=io.StringIO())), resume=resume)
    return trainer, trainer.run()


def rl_metrics(folder):
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["phase"] == "rl" and line["step"]]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """A checkpoint of full training."""
    folder = tmp_path_factory.mktemp("base")
    train(corridor_config(str(folder / "run"), warmstart={"steps": 16}, rl={"steps": 0}))
    return folder / "run" / "checkpoints" / "rl-000000"


def config_on(base, out, *, lora=None, **sections):
    """Return the corridor's configuration with an adapter on `base`."""
    given = {
        "run": {"checkpoint_every": 2},
        "warmstart": {"steps": 0},
        "rl": {"kl_coef": 0.05, "optimizer": {"lr": 1e-2}},
        **sections,
    }
    tree = corridor_config(str(out), **given).model_dump(mode="json")
    tree["model"] = {"name": str(base), "lora": {"rank": 4, "alpha": 8, **(lora or {})}}
    return parse_config(tree)


@pytest.fixture(scope="module")
def whole(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("lora") / "whole"
    trainer, summary = train(config_on(base, out))
    return out, trainer, summary


def test_the_divergence_is_exactly_zero_before_the_first_update(base, tmp_path):
    train(config_on(base, tmp_path / "one", rl={"steps": 2, "minibatches": 1, "kl_coef": 0.05, "optimizer": {"lr": 1e-2}}))
    first, second = (step["loss/kl_reference"] for step in rl_metrics(tmp_path / "one"))
    assert first == 0 < second


def test_after_a_warm_start_the_reference_is_the_warm_adapter(base, tmp_path):
    warm = {"steps": 2, "episodes": 16, "episodes_per_step": 8, "optimizer": {"lr": 1e-2}}
    train(config_on(base, tmp_path / "warm", warmstart=warm, rl={"steps": 1, "minibatches": 1, "kl_coef": 0.05}))
    assert rl_metrics(tmp_path / "warm")[0]["loss/kl_reference"] == 0
    begin = load_file(tmp_path / "warm" / "checkpoints" / "rl-000000" / "adapter" / "adapter_model.safetensors")
    assert any(item.any() for name, item in begin.items() if "lora_B" in name)


def test_a_checkpoint_holds_adapter_and_merged_model(whole, base):
    checkpoint = whole[0] / "checkpoints" / "rl-000004"
    ids = torch.arange(10)[None]
    with torch.no_grad():
        wanted = whole[1].models.model(input_ids=ids).logits
        start = AutoModelForCausalLM.from_pretrained(base)
        before = start(input_ids=ids).logits
        adapted = PeftModel.from_pretrained(start, str(checkpoint / "adapter"))
        assert torch.equal(adapted(input_ids=ids).logits, wanted)
        merged = AutoModelForCausalLM.from_pretrained(checkpoint)
        torch.testing.assert_close(merged(input_ids=ids).logits, wanted, atol=1e-4, rtol=1e-4)
    assert (before - wanted).abs().max() > 1e-3
    assert (checkpoint / "tokenizer.json").is_file()


@pytest.mark.parametrize("save_merged", [True, False])
def test_a_resumed_run_is_bit_equal(whole, base, tmp_path, save_merged):
    out = tmp_path / "resumed"
    shutil.copytree(whole[0], out)
    for name in ("rl-000004", "summary.json"):
        path = out / "checkpoints" / name if name.startswith("rl") else out / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (out / "checkpoints" / "latest").write_text("rl-000002\n")
    shutil.rmtree(out / "rollouts", ignore_errors=True)
    train(config_on(base, out, lora={"save_merged": save_merged}), resume=True)
    one, other = (load_file(path / "checkpoints" / "rl-000004" / "adapter" / "adapter_model.safetensors") for path in (whole[0], out))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert (out / "checkpoints" / "rl-000004" / "config.json").is_file() == save_merged


@pytest.mark.parametrize("save_merged", [True, False])
def test_a_checkpoint_plays_as_an_agent(base, tmp_path, save_merged):
    out = tmp_path / "run"
    trainer, summary = train(config_on(base, out, lora={"save_merged": save_merged}))
    checkpoint = out / "checkpoints" / "rl-000004"
    assert (checkpoint / "model.safetensors").is_file() == save_merged
    played, _ = load_model(str(checkpoint))
    ids = torch.arange(10)[None]
    with torch.no_grad():
        torch.testing.assert_close(played(input_ids=ids).logits, trainer.models.model(input_ids=ids).logits, atol=1e-4, rtol=1e-4)
    checked = evaluate("EMPGTest/Corridor-v0@test", f"checkpoint:{out}", episodes=8).results["EMPGTest/Corridor-v0"]
    assert (checked["success_rate"], checked["errors"]) == (summary["after"][0]["success"], 0)


def copying(model, tokenizer, settings):
    """A backend with weights of its own, which receives them by name."""
    from empg_gym.trainers.policy.lora import is_adapted

    own, _ = load_model(copying.base)
    assert is_adapted(model) and not is_adapted(own)
    generator = hf(own, tokenizer, settings)
    generator.shares_weights = False
    return generator


def test_a_backend_with_its_own_weights_receives_merged_ones(base, tmp_path, monkeypatch):
    monkeypatch.setattr(copying, "base", str(base), raising=False)
    backend = {"backend": f"{__name__}:copying", "max_response_tokens": 6, "max_row_tokens": 128}
    train(config_on(base, tmp_path / "own", rollout=backend))
    train(config_on(base, tmp_path / "shared"))
    one, other = rl_metrics(tmp_path / "own"), rl_metrics(tmp_path / "shared")
    assert [step["train/success"] for step in one] == [step["train/success"] for step in other]
    assert all(step["rollout/logprob_gap_max"] < 1e-4 for step in one)


def test_hf_runs_the_trained_model_itself(whole, base, tmp_path):
    assert all(step["rollout/logprob_gap_max"] < 1e-4 for step in rl_metrics(whole[0]))
    bundle = ModelBundle(config_on(base, tmp_path / "x"))
    assert bundle.train_generator.model is bundle.model


def test_adapters_on_random_weights_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"give model.name instead of model.from_scratch"):
        corridor_config(str(tmp_path), model={"lora": {"rank": 4}})


def test_a_run_resumes_with_the_same_adapter_only(whole, base):
    with pytest.raises(OutputExistsError, match=r"model.lora.rank was 4, is now 8"):
        Trainer(config_on(base, whole[0], lora={"rank": 8}), ProgressView(Console(file=io.StringIO())), resume=True)
