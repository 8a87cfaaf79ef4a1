"""Checkpoints: written atomically, and they restore the same model and tokenizer."""

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from empg_gym.errors import DataError
from empg_gym.trainers.collect.demonstrations import demonstrations, tokenizer_texts
from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.run.checkpoint import TrainerState, latest_checkpoint, load_state, prune, save_checkpoint


@pytest.fixture(scope="module")
def config():
    env = {"dialogue": "plain", "options": {"strip_intro": True}, "embedded_options": {"size": "small"}, "max_steps": 20}
    return parse_config({"model": {"from_scratch": {}}, "env": env, "warmstart": {"episodes": 8}})


@pytest.fixture(scope="module")
def made(config):
    texts = tokenizer_texts(config.env.recipe().make(), 30, seed=0, detours=0.0)
    return load_model(from_scratch=FromScratch(layers=1, width=32, heads=2), tokenizer_texts=texts)


def test_a_checkpoint_restores_weights_state_and_every_token(config, made, tmp_path):
    model, tokenizer = made
    state = TrainerState(phase="rl", step=7, seconds=1.5, optimizer={"updates": 3}, evaluations={"before": [{"success": 0.5}]})
    folder = save_checkpoint(tmp_path, state, model, tokenizer)
    assert latest_checkpoint(tmp_path) == folder == tmp_path / "rl-000007"
    read = load_state(folder)
    assert (read.phase, read.step, read.optimizer, read.evaluations) == ("rl", 7, {"updates": 3}, {"before": [{"success": 0.5}]})
    again, reread = load_model(str(folder))
    assert all(torch.equal(one, other) for one, other in zip(model.parameters(), again.parameters(), strict=True))
    env = config.env.recipe().make()
    for first, second in zip(
        demonstrations(env, tokenizer, config.warmstart, 0), demonstrations(env, reread, config.warmstart, 0), strict=True
    ):
        for one, other in zip(first.steps, second.steps, strict=True):
            assert one.prompt_token_ids.tolist() == other.prompt_token_ids.tolist()
            assert one.response_token_ids.tolist() == other.response_token_ids.tolist()


def test_a_tokenizer_that_writes_a_folder(made, tmp_path):
    model, tokenizer = made
    several = copy.deepcopy(tokenizer)
    several.chat_template = {"default": tokenizer.chat_template, "tool_use": tokenizer.chat_template}
    folder = save_checkpoint(tmp_path, TrainerState(phase="rl", step=1, seconds=0.0), model, several)
    assert any(path.is_dir() for path in folder.iterdir())
    assert latest_checkpoint(tmp_path) == folder


PLAIN = """
import json, sys
from transformers import AutoModelForCausalLM, AutoTokenizer
folder, given = json.load(sys.stdin)
for trust in (None, True):
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust)
    rows = [tokenizer.encode(text) for text in given["texts"]]
    chat = tokenizer.apply_chat_template(given["messages"], add_generation_prompt=True)["input_ids"]
    ends = [tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.model_max_length]
    print(json.dumps({"rows": rows, "texts": [tokenizer.decode(row) for row in rows], "chat": chat, "ends": ends}))
print(AutoModelForCausalLM.from_pretrained(folder).num_parameters())
"""


@pytest.mark.slow
@pytest.mark.parametrize("again", [False, True], ids=["saved", "saved again from an older folder"])
def test_plain_transformers_read_a_checkpoint_as_we_do(config, made, tmp_path, again):
    """In a process that does not know this package; with the folder's own code allowed, and without."""
    model, tokenizer = made
    folder = save_checkpoint(tmp_path / "new", TrainerState(phase="rl", step=0, seconds=0.0), model, tokenizer)
    if again:
        (folder / "file_tokenizer.py").unlink()
        saved = json.loads((folder / "tokenizer_config.json").read_text())
        del saved["auto_map"]
        (folder / "tokenizer_config.json").write_text(json.dumps({**saved, "tokenizer_class": "TokenizersBackend"}))
        folder = save_checkpoint(tmp_path / "again", TrainerState(phase="rl", step=0, seconds=0.0), *load_model(str(folder)))
    texts = [*tokenizer_texts(config.env.recipe().make(), 10, seed=1, detours=0.0), "cafe\u0301 1234  it's\n\n\t日本 🎈<|end|>"]
    messages = [{"role": role, "content": text} for role, text in zip(("system", "user", "assistant", "user"), texts[-4:], strict=True)]
    result = subprocess.run(
        [sys.executable, "-c", PLAIN],
        input=json.dumps([str(folder), {"texts": texts, "messages": messages}]),
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HUB_OFFLINE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    *read, parameters = map(json.loads, result.stdout.splitlines())
    expected = {
        "rows": [tokenizer.encode(text) for text in texts],
        "texts": texts,
        "chat": tokenizer.apply_chat_template(messages, add_generation_prompt=True)["input_ids"],
        "ends": [tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.model_max_length],
    }
    assert read == [expected, expected]
    assert parameters == model.num_parameters()


def test_a_failed_save_leaves_the_latest_unchanged(made, tmp_path, monkeypatch):
    model, tokenizer = made
    save_checkpoint(tmp_path, TrainerState(phase="rl", step=1, seconds=0.0), model, tokenizer)

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_checkpoint(tmp_path, TrainerState(phase="rl", step=2, seconds=0.0), model, tokenizer)
    assert latest_checkpoint(tmp_path).name == "rl-000001"
    assert not (tmp_path / "rl-000002").exists()


def test_old_checkpoints_are_deleted_and_pinned_ones_kept(made, tmp_path):
    model, tokenizer = made
    for step in range(4):
        save_checkpoint(tmp_path, TrainerState(phase="rl", step=step, seconds=0.0), model, tokenizer)
        prune(tmp_path, 2, {"rl-000000"})
    assert sorted(path.name for path in tmp_path.glob("rl-*")) == ["rl-000000", "rl-000002", "rl-000003"]


def test_latest_names_a_complete_checkpoint_while_one_is_replaced(made, tmp_path, monkeypatch):
    """Read before and after everything that changes a folder's name or removes it."""
    model, tokenizer = made
    save_checkpoint(tmp_path, TrainerState(phase="rl", step=1, seconds=1.0), model, tokenizer)
    seen = []

    def watched(function):
        def call(*arguments, **options):
            seen.append(load_state(latest_checkpoint(tmp_path)).seconds)
            result = function(*arguments, **options)
            seen.append(load_state(latest_checkpoint(tmp_path)).seconds)
            return result

        return call

    for name in ("rename", "replace"):
        monkeypatch.setattr(Path, name, watched(getattr(Path, name)))
    monkeypatch.setattr(shutil, "rmtree", watched(shutil.rmtree))
    save_checkpoint(tmp_path, TrainerState(phase="rl", step=1, seconds=2.0), model, tokenizer)
    assert seen == sorted(seen)
    assert set(seen) == {1.0, 2.0}
    assert {path.name for path in tmp_path.iterdir()} == {"latest", "rl-000001"}


def test_missing_and_damaged_checkpoints_are_named(tmp_path):
    assert latest_checkpoint(tmp_path) is None
    (tmp_path / "latest").write_text("rl-000009\n")
    with pytest.raises(DataError, match="missing or damaged"):
        latest_checkpoint(tmp_path)


def test_a_kill_while_pruning_leaves_no_half_checkpoint(made, tmp_path, monkeypatch):
    model, tokenizer = made
    for step in (1, 2):
        save_checkpoint(tmp_path, TrainerState(phase="rl", step=step, seconds=0.0), model, tokenizer)

    def killed(path, **_):
        (path / "config.json").unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(shutil, "rmtree", killed)
        prune(tmp_path, 1, set())
    assert not (tmp_path / "rl-000001").exists(), "half a checkpoint keeps no name that is read"
    save_checkpoint(tmp_path, TrainerState(phase="rl", step=3, seconds=0.0), model, tokenizer)
    assert {path.name for path in tmp_path.iterdir()} == {"latest", "rl-000002", "rl-000003"}
