"""SkyRL-gym's registry and contract on the benchmarks, and EMPG on SkyRL's training batch."""

from __future__ import annotations

import pytest

pytest.importorskip("skyrl_gym")

import skyrl_gym

from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.skyrl import register, skyrl_rows
from empg_gym.errors import ConfigError, TaskError
from tests.adapters.expert_server import expert_episodes

BENCHMARKS = {"alfworld": {"size": "small"}, "webshop": {}, "deepsearch": {}}


@pytest.fixture(scope="module", autouse=True)
def registered():
    register()
    register()


def make(row, **config):
    extras = {name: value for name, value in row.items() if name not in ("prompt", "env_class")} | {"max_turns": 30}
    return skyrl_gym.make(row["env_class"], env_config=config, extras=extras)


@pytest.mark.parametrize("env_id", BENCHMARKS)
def test_the_expert_plays_the_local_episode(env_id):
    kwargs = BENCHMARKS[env_id]
    rows = skyrl_rows(env_id, limit=2, seed=5, **kwargs)
    for row, local in zip(rows, expert_episodes([EpisodeTask.from_columns(row) for row in rows], **kwargs), strict=True):
        env = make(row, kwargs=kwargs)
        messages, _ = env.init(row["prompt"])
        assert messages == [{"role": "system", "content": local.system_prompt}, {"role": "user", "content": local.steps[0].observation}]
        for number, step in enumerate(local.steps, 1):
            output = env.step(step.response)
            last = number == len(local.steps)
            expected = [] if last else [{"role": "user", "content": local.steps[number].observation}]
            assert (output["observations"], output["reward"], output["done"]) == (expected, step.reward, last)
            assert "postprocessed_action" not in output or output["postprocessed_action"] is None
        metrics = env.get_metrics()
        assert metrics["success"] == 1.0 and type(env.unwrapped if hasattr(env, "unwrapped") else env).aggregate_metrics([metrics])["steps"]
        env.close()


def test_the_generators_limit_ends_an_episode():
    row = skyrl_rows("alfworld", limit=1, size="small")[0]
    env = skyrl_gym.make("empg-alfworld", env_config={"kwargs": {"size": "small"}}, extras={"task": row["task"], "max_turns": 1})
    env.init([])
    output = env.step("<think>x</think><action>look</action>")
    assert output["done"] and output["metadata"]["truncated"] and not output["observations"]


def test_bad_input_is_one_sentence():
    with pytest.raises(ConfigError, match='names its environment in the column "env_id"'):
        skyrl_gym.make("empg", env_config={}, extras={})
    with pytest.raises(ConfigError, match="has no split 'tset'"):
        skyrl_gym.make("empg-webshop", env_config={}, extras={"split": "tset"}).init([])
    with pytest.raises(TaskError, match="has no task 'nowhere'"):
        skyrl_gym.make("empg-alfworld", env_config={}, extras={"task": "nowhere"}).init([])


def test_advantages_of_a_batch_are_modulated():
    torch = pytest.importorskip("torch")
    from empg_gym.adapters.credit import EMPGOptions, modulate_rows
    from empg_gym.adapters.skyrl.credit import EMPGAdvantages

    class Batch(dict):
        metadata: dict = {}  # noqa: RUF012

    mask = torch.tensor([[1, 1, 0, 1], [1, 0, 1, 0], [0, 0, 0, 0]])  # the last row is padding, as SkyRL adds it
    logprobs = -torch.rand(3, 4)

    class Trainer:
        def __init__(self):
            self.all_metrics = {}

        def compute_advantages_and_returns(self, data):
            data["advantages"] = torch.tensor([[1.0], [-1.0], [1.0]]).expand(3, 4) * mask
            return data

    class EMPGTrainer(EMPGAdvantages, Trainer):
        empg = EMPGOptions(zeta=0.3)

    trainer, batch = EMPGTrainer(), Batch(loss_mask=mask, rollout_logprobs=logprobs)
    values = trainer.compute_advantages_and_returns(batch)["advantages"]
    expected, _ = modulate_rows(torch.tensor([1.0, -1.0, 1.0]), -logprobs, mask, EMPGOptions(zeta=0.3))
    assert torch.equal(values, expected) and trainer.all_metrics["empg/entropy_max"] > 0
    stepwise = Batch(loss_mask=mask[:2], rollout_logprobs=logprobs[:2])
    stepwise.metadata = {"is_last_step": [False, True]}
    Trainer.compute_advantages_and_returns = lambda self, data: data.__setitem__("advantages", mask[:2].float()) or data
    joined = trainer.compute_advantages_and_returns(stepwise)["advantages"]
    gap = torch.zeros(1, 1)
    one_row = [torch.cat([part[:1], gap, part[1:2]], dim=1) for part in (-logprobs, mask.float())]
    whole, _ = modulate_rows(torch.ones(1), *one_row, EMPGOptions(zeta=0.3))
    torch.testing.assert_close(torch.cat([joined[:1], gap, joined[1:]], dim=1), whole)
    with pytest.raises(ConfigError, match="needs rollout_logprobs, which this batch lacks"):
        trainer.compute_advantages_and_returns(Batch(loss_mask=mask[:2], rollout_logprobs=None))


@pytest.mark.parametrize("step_wise", [False, True])
def test_the_advantages_of_skyrls_own_trainer_are_modulated(step_wise):
    trainer = pytest.importorskip("skyrl.train.trainer", reason="SkyRL's trainer is not installed here; it needs Python 3.12")
    import torch
    from omegaconf import OmegaConf
    from skyrl.backends.skyrl_train.training_batch import TrainingInputBatch

    from empg_gym.adapters.credit import EMPGOptions, modulate_rows
    from empg_gym.adapters.skyrl.credit import EMPGAdvantages

    class EMPGTrainer(EMPGAdvantages, trainer.RayPPOTrainer):
        empg = EMPGOptions(zeta=0.1)

    def played(cls):
        made = object.__new__(cls)  # without Ray
        algorithm = {"advantage_estimator": "grpo", "gamma": 1.0, "lambd": 1.0, "grpo_norm_by_std": True}
        made.cfg = OmegaConf.create({"generator": {"step_wise_trajectories": step_wise}, "trainer": {"algorithm": algorithm}})
        made.all_metrics = {}
        tensors = {"response_mask": torch.ones_like(mask), "loss_mask": mask, "rewards": rewards, "rollout_logprobs": logprobs}
        batch = TrainingInputBatch({"sequences": torch.ones_like(mask), "values": None, **tensors})
        batch.metadata = {"uids": ["a"] * 4, "avg_response_length": 4.0} | ({"is_last_step": last} if step_wise else {})
        return made.compute_advantages_and_returns(batch)["advantages"]

    mask = torch.tensor([[1, 1, 0, 1, 1], [1, 0, 0, 1, 0], [1, 1, 1, 0, 1], [1, 0, 1, 0, 1]])
    logprobs, rewards, last = -torch.rand(4, 5), torch.zeros(4, 5), [False, True, False, True]
    rewards[3, 4] = 1.0
    base = played(trainer.RayPPOTrainer)
    ended = torch.tensor([False, *last[:-1]]).int().cumsum(0) if step_wise else None
    expected, stats = modulate_rows(base, -logprobs, mask, EMPGOptions(zeta=0.1), trajectory=ended)
    assert stats["empg/entropy_max"] > 0 and not torch.equal(expected, base)
    torch.testing.assert_close(played(EMPGTrainer), expected)
