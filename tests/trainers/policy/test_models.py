"""Models from scratch and from folders, and the device."""

from __future__ import annotations

import copy

import pytest
import torch

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.policy.models import cast_weights, load_model, resolve_device
from tests.trainers.generate.worlds import texts

SMALL = FromScratch(width=32, heads=4, kv_heads=2)


def test_from_scratch_is_a_function_of_the_seed():
    state = torch.random.get_rng_state()
    (one, tokenizer), (two, _), (other, _) = (load_model(from_scratch=SMALL, tokenizer_texts=texts(), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.lm_head.weight, other.lm_head.weight)
    assert one.config.vocab_size == len(tokenizer)
    assert one.config.model_type == "qwen2" and one.config.num_key_value_heads == 2
    assert not one.training


def test_default_size():
    model, tokenizer = load_model(from_scratch=FromScratch(), tokenizer_texts=texts())
    assert sum(p.numel() for p in model.parameters()) - len(tokenizer) * 128 < 400_000


def test_saved_and_loaded(tmp_path):
    model, tokenizer = load_model(from_scratch=SMALL, tokenizer_texts=texts(), whole_tokens=("<think>",))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, same = load_model(str(tmp_path))
    ids = torch.tensor([tokenizer.encode("Find the apple <think>")])
    assert same.encode("Find the apple <think>") == ids[0].tolist()
    with torch.no_grad():
        torch.testing.assert_close(loaded(ids).logits, model(ids).logits)
    assert loaded.dtype == torch.float32
    half, _ = load_model(str(tmp_path), dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16


def test_weights_in_bfloat16_keep_positions_exact(tmp_path):
    model, tokenizer = load_model(from_scratch=SMALL, tokenizer_texts=texts())
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded, _ = load_model(str(tmp_path), dtype=torch.bfloat16)
    made, _ = load_model(from_scratch=SMALL, tokenizer_texts=texts(), dtype=torch.bfloat16)
    for half in (loaded, made, cast_weights(copy.deepcopy(model), torch.bfloat16)):
        assert {weight.dtype for weight in half.parameters()} == {torch.bfloat16}
        assert half.lm_head.weight is half.get_input_embeddings().weight
        assert all(torch.equal(one, other) for one, other in zip(half.buffers(), model.buffers(), strict=True))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "exactly one"),
        ({"name_or_path": "x", "from_scratch": SMALL}, "exactly one"),
        ({"from_scratch": SMALL}, "tokenizer_texts"),
        ({"from_scratch": FromScratch(width=30, heads=4), "tokenizer_texts": ["a"]}, "multiple"),
        ({"from_scratch": FromScratch(width=12, heads=4), "tokenizer_texts": ["a"]}, "even"),
        ({"from_scratch": FromScratch(heads=4, kv_heads=3), "tokenizer_texts": ["a"]}, "kv_heads"),
        ({"name_or_path": "./no/such/folder"}, "no model folder"),
        ({"name_or_path": "no/such/folder"}, "no model folder"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        load_model(**arguments)


def test_folders_without_a_model(tmp_path):
    with pytest.raises(ConfigError, match=r"config\.json"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{broken")
    with pytest.raises(ConfigError, match="can't load"):
        load_model(str(tmp_path))


def test_a_folder_without_chat_template(tmp_path):
    model, tokenizer = load_model(from_scratch=SMALL, tokenizer_texts=texts())
    tokenizer.chat_template = None
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="chat template"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("name", ["nobody/no-such-model", "no-such-model"])
def test_a_hub_name_that_cannot_be_downloaded(monkeypatch, name):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=f"can't load the model '{name}': check the name and the network"):
        load_model(name)


def test_device(monkeypatch):
    assert resolve_device("cpu") == (torch.device("cpu"), torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == (torch.device("cpu"), torch.float32)
    with pytest.raises(ConfigError, match=r"'cuda' was requested, but no CUDA device.*\"cpu\""):
        resolve_device("cuda")
    with pytest.raises(ConfigError, match="unknown device"):
        resolve_device("graphics")


def test_device_with_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for capability, dtype in (((9, 0), torch.bfloat16), ((8, 0), torch.bfloat16), ((7, 5), torch.float32)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device, found=capability: found)
        assert resolve_device("auto") == (torch.device("cuda"), dtype)
    with pytest.raises(ConfigError, match="only 1"):
        resolve_device("cuda:1")
