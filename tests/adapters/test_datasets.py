"""Exported episodes with the real `datasets` package: types, values, the way back, and TRL's supervised trainer."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("datasets")

from datasets import load_dataset

from empg_gym.adapters.episode_task import episode_tasks
from empg_gym.export import export, read_parquet
from empg_gym.trajectory import Trajectory, write_trajectories
from tests.adapters.expert_server import expert_episodes

SMALL = {"size": "small"}


@pytest.fixture(scope="module")
def episodes():
    played = expert_episodes(episode_tasks("alfworld", limit=4, **SMALL), **SMALL)
    for item in played:
        for index, step in enumerate(item.steps):
            step.response_token_ids, step.entropies = np.arange(3, dtype=np.int32), np.array([0.1, 1e-7, 2.5], dtype=np.float32)
            step.entropy = 0.5 * index
    played[3].success, played[3].score = False, 0.0
    return played


@pytest.fixture(scope="module")
def folder(episodes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    write_trajectories(folder / "trajectories.jsonl", episodes)
    assert export([folder], folder / "data", format="parquet") == len(episodes)
    return folder / "data"


def test_the_card_describes_the_files(folder, tmp_path):
    """`load_dataset` of the folder reads the card's configuration."""
    loaded = load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    assert len(loaded) == 4 and {"messages", "success", "score", "step_entropies", "trajectory"} <= set(loaded.column_names)


def test_values_are_those_of_the_episodes(folder, episodes, tmp_path):
    loaded = load_dataset("parquet", data_files=str(folder / "*.parquet"), split="train", cache_dir=str(tmp_path))
    for row, item in zip(loaded, episodes, strict=True):
        assert row["messages"] == item.to_messages() and row["messages"][-1]["role"] == "assistant"
        assert (row["task"], row["success"], row["score"]) == (item.task, item.success, item.score)
        assert row["step_entropies"] == [step.entropy for step in item.steps]


def test_the_way_back_is_exact(folder, episodes, tmp_path):
    loaded = load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    wanted = [item.to_json() for item in episodes]
    assert [Trajectory.from_json(line).to_json() for line in loaded["trajectory"]] == wanted
    loaded.to_parquet(str(tmp_path / "again.parquet"))
    assert [item.to_json() for item in read_parquet(tmp_path / "again.parquet")] == wanted, "also after datasets has written it"


def test_trl_trains_on_the_responses_of_solved_episodes(folder, episodes, tmp_path):
    pytest.importorskip("trl")
    import torch
    from trl import SFTConfig, SFTTrainer

    from tests.adapters.tiny_model import tiny_model, tiny_tokenizer

    solved = load_dataset(str(folder), split="train", cache_dir=str(tmp_path)).filter(lambda row: row["success"])
    assert len(solved) == 3
    tokenizer = tiny_tokenizer("qwen3_training.jinja")
    model = tiny_model(tokenizer)
    before = model.model.embed_tokens.weight.detach().clone()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(tmp_path / "sft"), max_steps=1, per_device_train_batch_size=1, assistant_only_loss=True, max_length=16_000,
            use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
            gradient_checkpointing=False,
        ),
        train_dataset=solved,
        processing_class=tokenizer,
    )  # fmt: skip
    for row, item in zip(trainer.train_dataset, episodes, strict=False):
        trained = tokenizer.decode([label for label in row["labels"] if label != -100])
        assert all(step.action in trained for step in item.steps), "every response is trained on"
        assert not any(step.observation[:40] in trained for step in item.steps), "no observation is"
    trainer.train()
    assert torch.isfinite(model.model.embed_tokens.weight).all() and not torch.equal(before, model.model.embed_tokens.weight)
