"""verl's agent loop and trainer on the benchmarks. The model is scripted and the queue is a dictionary: neither runs without a GPU."""

from __future__ import annotations

import pytest

pytest.importorskip("verl")

import torch
from omegaconf import OmegaConf
from tensordict import TensorDict

from empg_gym.adapters.credit import EMPGOptions, modulate_rows
from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.verl import EMPGTrainer, verl_rows
from empg_gym.adapters.verl.credit import modulate_nested
from empg_gym.errors import ConfigError, TaskError
from tests.adapters.expert_server import expert_episodes
from tests.adapters.verl_loop import byte_tokenizer, play

BENCHMARKS = {"alfworld": {"size": "small"}, "webshop": {}, "deepsearch": {}}


@pytest.fixture(scope="module")
def tokenizer():
    return byte_tokenizer()


def runs(mask):
    return sum(one and not previous for previous, one in zip([0, *mask], mask, strict=False))


@pytest.mark.parametrize("env_id", BENCHMARKS)
def test_the_expert_plays_the_local_episode(env_id, tokenizer):
    kwargs = BENCHMARKS[env_id]
    rows = verl_rows(env_id, limit=2, seed=5, **kwargs)
    for row, local in zip(rows, expert_episodes([EpisodeTask.from_columns(row) for row in rows], **kwargs), strict=True):
        output, server, _ = play(row, [step.response for step in local.steps], tokenizer, env_kwargs=kwargs)
        whole = tokenizer.apply_chat_template(local.to_messages(), tokenize=False)
        assert tokenizer.decode(output.prompt_ids + output.response_ids) == whole.removesuffix("\n")
        assert (output.reward_score, output.extra_fields["turn_scores"]) == (local.total_reward, [step.reward for step in local.steps])
        assert runs(output.response_mask) == len(local.steps) and len(server.requests) == 1
        assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs)
        generated = [number for number, one in zip(output.response_ids, output.response_mask, strict=True) if one]
        assert tokenizer.decode(generated) == "".join(f"{step.response}<|im_end|>" for step in local.steps)
        assert all(value == -0.5 for value, one in zip(output.response_logprobs, output.response_mask, strict=True) if one)


def test_an_episode_ends_at_the_response_length(tokenizer):
    row = verl_rows("alfworld", limit=1, size="small")[0]
    output, _, _ = play(row, ["<think>x</think><action>look</action>"] * 50, tokenizer, limit=300, env_kwargs={"size": "small"})
    assert len(output.response_ids) == len(output.response_mask) == len(output.response_logprobs) == 300 and output.reward_score == 0.0


def test_bad_input_is_one_sentence(tokenizer):
    row = verl_rows("alfworld", limit=1, size="small")[0]
    with pytest.raises(TaskError, match="has no task 'nowhere'"):
        play({**row, "task": "nowhere"}, [], tokenizer)
    with pytest.raises(ConfigError, match="no environment 'alfwordl'; did you mean"):
        play({**row, "env_id": "alfwordl"}, [], tokenizer)
    with pytest.raises(ConfigError, match="expected keys of the form uid_session_index"):
        modulate_nested(nested([[1.0]]), nested([[1.0]]), nested([[1.0]]), ["a"], EMPGOptions())


def nested(rows):
    return torch.nested.as_nested_tensor([torch.tensor(row) for row in rows], layout=torch.jagged)


ADVANTAGES, MASK = nested([[1.0] * 5, [1.0] * 3, [-1.0] * 4]), nested([[1, 1, 0, 0, 1], [1, 0, 1], [1, 0, 0, 1]])
ENTROPIES = nested([[0.1, 0.2, 9.0, 9.0, 0.7], [0.5, 9.0, 0.1], [0.9, 9.0, 9.0, 0.3]])
KEYS = ["a_0_1", "a_0_0", "b_0_0"]


def expected(options):
    """Return the advantages of one long row per session: the second row of session a comes first in the batch."""
    first = torch.tensor([[0.5, 9, 0.1, 0, 0.1, 0.2, 9, 9, 0.7], [0.9, 9, 9, 0.3, 0, 0, 0, 0, 0]])
    mask = torch.tensor([[1, 0, 1, 0, 1, 1, 0, 0, 1], [1, 0, 0, 1, 0, 0, 0, 0, 0]])
    values, _ = modulate_rows(torch.tensor([1.0, -1.0]), first, mask, options)
    return [values[0, 4:], values[0, :3], values[1, :4]]


def test_nested_advantages_are_modulated_across_the_rows_of_a_session():
    values, stats = modulate_nested(ADVANTAGES, ENTROPIES, MASK, KEYS, EMPGOptions(zeta=0.2))
    for got, wanted in zip(values.unbind(), expected(EMPGOptions(zeta=0.2)), strict=True):
        torch.testing.assert_close(got, wanted)
    assert stats["empg/entropy_max"] == pytest.approx(0.9)


class Meta:
    """What the queue's functions need of a batch."""

    keys, partition_id = KEYS, "train"

    def __len__(self):
        return len(self.keys)


def test_the_trainer_replaces_the_advantages_in_the_queue(monkeypatch):
    from verl.trainer.ppo.v1 import trainer_sync
    from verl.trainer.ppo.v1.trainer_base import get_trainer_cls

    from empg_gym.adapters.verl import trainer as module

    assert get_trainer_cls("empg_sync") is EMPGTrainer
    queue = {"entropy": ENTROPIES, "response_mask": MASK}

    def base(self, batch, metrics):
        queue["advantages"] = ADVANTAGES
        return batch

    def get(keys, partition_id, select_fields):
        return TensorDict({name: queue[name] for name in select_fields}, batch_size=len(keys))

    def put(keys, partition_id, fields):
        queue.update({name: fields[name] for name in fields.keys()})  # noqa: SIM118 (a TensorDict iterates over rows)
        return Meta()

    monkeypatch.setattr(trainer_sync.PPOTrainerSync, "_compute_advantage", base)
    monkeypatch.setattr(module.transfer_queue, "kv_batch_get", get)
    monkeypatch.setattr(module.transfer_queue, "kv_batch_put", put)
    trainer, metrics = EMPGTrainer.__new__(EMPGTrainer), {}
    trainer.config = OmegaConf.create({"algorithm": {"empg": {"zeta": 0.2}}})
    assert isinstance(trainer._compute_advantage(Meta(), metrics), Meta) and metrics["empg/scaling_mean"] == pytest.approx(1.0)
    for got, wanted in zip(queue["advantages"].unbind(), expected(EMPGOptions(zeta=0.2)), strict=True):
        torch.testing.assert_close(got, wanted)
    trainer.config = OmegaConf.create({"algorithm": {"empg": {"zetta": 0.2}}})
    with pytest.raises(ConfigError, match="the options of EMPG are k, k_future, zeta, center; got zetta"):
        trainer._compute_advantage(Meta(), {})
    trainer.config = OmegaConf.create({"algorithm": {"rollout_correction": {"bypass_mode": True}}})
    with pytest.raises(ConfigError, match="bypass_mode skips; set it to False"):
        trainer._compute_advantage(Meta(), {})
