"""Model folders of others: no code, no pickles, no question on the terminal, no traceback, no minute of waiting."""

from __future__ import annotations

import builtins
import json
import shutil
import time

import pytest
import torch

from empg_gym.agents import make_agent
from empg_gym.errors import ConfigError
from empg_gym.trainers.config.sections import FromScratch, TrainConfig
from empg_gym.trainers.policy.models import load_model
from tests.trainers.generate.worlds import texts

CODE = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import PretrainedConfig, Qwen2Config, Qwen2ForCausalLM
class OwnConfig(Qwen2Config):
    model_type = "own"
class OwnModel(Qwen2ForCausalLM):
    config_class = OwnConfig
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, tokenizer = load_model(from_scratch=FromScratch(width=32), tokenizer_texts=texts())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def foreign(saved, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(builtins, "input", lambda *_: pytest.fail("asked on the terminal"))
    return shutil.copytree(saved, tmp_path / "foreign")


def edit(folder, name, **changes):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def with_code(folder):
    """Return the file that code in the folder writes if it runs."""
    marker = folder.parent / "ran"
    (folder / "own.py").write_text(CODE.format(marker=str(marker)))
    edit(
        folder,
        "config.json",
        model_type="own",
        architectures=["OwnModel"],
        auto_map={"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    )
    return marker


def test_code_in_the_folder_does_not_run_and_nobody_is_asked(foreign):
    marker = with_code(foreign)
    with pytest.raises(ConfigError, match="trust_remote_code = true"):
        load_model(str(foreign))
    with pytest.raises(ConfigError, match=r"--set agent\.trust_remote_code=true"):
        make_agent(f"checkpoint:{foreign}", device="cpu")
    assert not marker.exists()


def test_code_of_the_tokenizer_does_not_run(foreign):
    marker = foreign.parent / "ran"
    (foreign / "own.py").write_text(CODE.format(marker=str(marker)))
    edit(
        foreign,
        "tokenizer_config.json",
        tokenizer_class="OwnTokenizer",
        auto_map={"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizer"]},
    )
    load_model(str(foreign))  # by the class that transformers has for the model
    assert not marker.exists()


def test_an_explicit_flag_runs_it(foreign):
    marker = with_code(foreign)
    model, _ = load_model(str(foreign), trust_remote_code=True)
    assert marker.exists() and type(model).__name__ == "OwnModel"
    assert not TrainConfig.model_validate({"model": {"name": "x"}}).model.trust_remote_code


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').write('ran')",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "adapter_model.bin"])
def test_pickled_weights_are_refused(foreign, name):
    marker = foreign.parent / "ran"
    if name.startswith("adapter"):
        (foreign / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "base_model_name_or_path": str(foreign)}))
    else:
        (foreign / "model.safetensors").unlink()
    torch.save({"x": Payload(marker)}, foreign / name)
    with pytest.raises(ConfigError, match=f"{name} holds pickled weights"):
        load_model(str(foreign))
    assert not marker.exists()


def test_an_adapter_that_names_itself_as_its_base_ends(foreign):
    (foreign / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "base_model_name_or_path": str(foreign)}))
    with pytest.raises(ConfigError, match="another adapter names it as its base model"):
        load_model(str(foreign))


def test_a_checkpoint_with_its_trainer_state_loads(foreign):
    torch.save({"phase": "rl"}, foreign / "trainer_state.pt")
    torch.save({"phase": "rl"}, foreign / "training_args.bin")
    load_model(str(foreign))


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"quantization_config": {"quant_method": "nothing"}}),
        ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": "many"}}),
        ("config.json", {"quantization_config": 7}),
        (
            "config.json",
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_compute_dtype": "nothing"}},
        ),
        ("config.json", {"hidden_size": "wide"}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"model_type": ["qwen2"]}),
        ("config.json", {"dtype": "float7"}),
        ("tokenizer_config.json", {"tokenizer_class": 7}),
        ("tokenizer_config.json", {"extra_special_tokens": 7}),
        ("tokenizer_config.json", {"chat_template": 7}),
    ],
)
def test_bad_settings_are_one_sentence(foreign, name, changes):
    edit(foreign, name, **changes)
    try:
        load_model(str(foreign))
    except ConfigError as error:
        assert str(error).startswith(f"can't load the model {str(foreign)!r}") and "\n" not in str(error)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "generation_config.json"])
@pytest.mark.parametrize("content", [b"", b"[]", b"7", b"[" * 100_000, b"\xff\xfe\x00", b'{"a": 1e999}'])
def test_damaged_files_are_one_sentence(foreign, name, content):
    (foreign / name).write_bytes(content)
    try:
        load_model(str(foreign))
    except ConfigError as error:
        assert "\n" not in str(error)


def test_a_name_that_is_neither_here_nor_on_the_hub_is_reported_soon(monkeypatch, tmp_path):
    from huggingface_hub import HfApi

    def unreachable(self, name, *, timeout):
        assert timeout <= 10
        raise ConnectionError("no network")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(HfApi, "model_info", unreachable)
    monkeypatch.setattr(time, "sleep", lambda seconds: pytest.fail("waits for a retry"))
    with pytest.raises(ConfigError, match="can't load the model 'runs/nosuch': check the name and the network"):
        make_agent("checkpoint:runs/nosuch", device="cpu")


def test_a_name_that_the_hub_does_not_know(monkeypatch):
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    def missing(self, name, *, timeout):
        raise RepositoryNotFoundError("404", response=httpx.Response(404, request=httpx.Request("GET", "https://hub.example")))

    monkeypatch.setattr(HfApi, "model_info", missing)
    with pytest.raises(ConfigError, match="no model folder at 'runs/nosuch', and the hub has no model of this name"):
        load_model("runs/nosuch")
