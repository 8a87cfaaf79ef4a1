"""TRL's own trainer on the benchmarks, with EMPG's advantages."""

from __future__ import annotations

import inspect
import json

import pytest

pytest.importorskip("trl")

import torch
from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from empg_gym.adapters.episode_task import EpisodeTask
from empg_gym.adapters.session import OVER
from empg_gym.adapters.trl import ALFWorldTools, DeepSearchTools, EMPGTrainer, WebShopTools, tool_rows
from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.errors import ConfigError, TaskError
from empg_gym.trainers.algorithms.empg import modulate
from tests.adapters.tiny_model import tiny_model, tiny_tokenizer

SMALL = {"size": "small", "max_steps": 8, "strip_intro": True}
GROUP = 4


class SmallHouse(ALFWorldTools):
    def __init__(self):
        super().__init__(**SMALL)


class Scripted(GRPOTrainer):
    """Writes tool calls, which random weights never do: every second episode is the expert's, the others look around twice and stop."""

    def _generate_single_turn(self, prompt_ids, *arguments, **named):
        if len(prompt_ids) == len(self.environments):
            self.playing = list(range(len(prompt_ids)))
            self.outputs = [*getattr(self, "outputs", [])]
        texts = [self._text(self.environments[row], row) for row in self.playing]
        self.playing = [row for row, text in zip(self.playing, texts, strict=True) if text.startswith("<tool_call>")]
        return [self.processing_class(f"{text}<|im_end|>")["input_ids"] for text in texts], None

    def _text(self, environment, row):
        session = environment.session
        if session.last.done or (row % 2 and session.metrics["steps"] == 2):
            return "Done."
        action = "look" if row % 2 else session.env.text_env.expert()
        return f"<tool_call>\n{json.dumps({'name': 'act', 'arguments': {'action': action}})}\n</tool_call>"

    def _generate_and_score_completions(self, inputs):
        output = super()._generate_and_score_completions(inputs)
        self.outputs.append(({name: value.clone() for name, value in output.items()}, list(self._logs["advantages"])))
        return output


class ScriptedEMPG(Scripted, EMPGTrainer):
    pass


def trained(kind, folder, steps=1, **options):
    tokenizer = tiny_tokenizer()
    model = tiny_model(tokenizer)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    args = GRPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True, max_steps=steps,
        per_device_train_batch_size=GROUP, gradient_accumulation_steps=2, num_generations=GROUP, max_completion_length=4000,
        max_tool_calling_iterations=10, learning_rate=1e-3, gradient_checkpointing=False, dataloader_pin_memory=False,
        shuffle_dataset=False,
    )  # fmt: skip
    short = [{"role": "system", "content": "Act."}, {"role": "user", "content": ""}]
    rows = [{**row, "prompt": short} for row in tool_rows(ALFWorldTools, limit=4, **SMALL)]
    trainer = kind(
        model=model, args=args, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, environment_factory=SmallHouse, **options
    )  # fmt: skip
    trainer.train()
    return trainer, before


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return trained(ScriptedEMPG, tmp_path_factory.mktemp("trl"), steps=2)


def test_two_training_steps_change_the_model(run):
    trainer, before = run
    assert trainer.state.global_step == 2 and len(trainer.outputs) == 2
    after = list(trainer.model.parameters())
    assert all(torch.isfinite(parameter).all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    logged = [entry for entry in trainer.state.log_history if "empg/entropy_max" in entry]
    assert logged and all(entry["empg/entropy_max"] > entry["empg/entropy_min"] > 0 for entry in logged)


def test_rewards_are_those_of_the_environment(run):
    trainer, _ = run
    solved = [environment.session.metrics["success"] for environment in trainer.environments]
    assert solved == [1.0, 0.0] * (len(solved) // 2), "the expert's episodes are solved, the others are not"
    assert [environment.get_reward() for environment in trainer.environments] == solved


def by_hand(model, output, base, **options):
    """Return [B, T] advantages from a plain forward pass and a loop over rows and runs."""
    mask = (output["completion_mask"] * output["tool_mask"]).bool()
    ids = torch.cat([output["prompt_ids"], output["completion_ids"]], 1)
    attention = torch.cat([output["prompt_mask"], output["completion_mask"]], 1)
    with torch.no_grad():
        logits = model(input_ids=ids, attention_mask=attention).logits[:, -mask.shape[1] - 1 : -1]
    entropies = torch.distributions.Categorical(logits=logits).entropy()
    steps = []
    for row in range(len(mask)):
        runs, previous = [], False
        for position, generated in enumerate(mask[row].tolist()):
            if generated:
                runs.append([position]) if not previous else runs[-1].append(position)
            previous = generated
        steps += [(row, number, run) for number, run in enumerate(runs)]
    h = torch.stack([entropies[row, run].double().mean() for row, _, run in steps]).detach()
    a = torch.tensor([base[row] for row, _, _ in steps], dtype=torch.float64)
    values = modulate(a, h, torch.tensor([row for row, _, _ in steps]), torch.tensor([number for _, number, _ in steps]), **options)
    result = torch.zeros(mask.shape)
    for (row, _, run), value in zip(steps, values, strict=True):
        result[row, run] = float(value)
    return result, len(steps)


def test_advantages_are_modulate_of_the_whole_batch(run):
    trainer, _ = run
    output, base = trainer.outputs[0]
    model = tiny_model(tiny_tokenizer())  # the weights of the first rollout
    expected, steps = by_hand(model, output, base[: len(output["advantages"])])
    assert output["advantages"].shape == expected.shape and steps > 3 * len(expected) // 2
    torch.testing.assert_close(output["advantages"], expected, rtol=0, atol=1e-4)
    assert len(set(output["advantages"][0].tolist())) > 2, "steps of one episode differ"


def test_switched_off_it_is_plain_grpo(tmp_path):
    (plain, _), (switched_off, _) = (
        trained(Scripted, tmp_path / "plain"),
        trained(ScriptedEMPG, tmp_path / "off", empg={"k": 0.0, "zeta": 0.0, "center": False}),
    )
    for one, other in zip(plain.model.parameters(), switched_off.model.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(("tools", "env"), [(ALFWorldTools, ALFWorldEnv), (WebShopTools, WebShopEnv), (DeepSearchTools, DeepSearchEnv)])
def test_the_tools_are_those_of_the_environment(tools, env):
    offered = {name for name, _ in inspect.getmembers(tools, inspect.isfunction) if not name.startswith("_")} - {"reset", "get_reward"}
    made = tools()
    made.reset(task=0)
    inner = made.session.env.text_env
    schemas = {tool["function"]["name"]: tool["function"]["parameters"]["properties"] for tool in inner.tools}
    assert offered == set(schemas)
    for name, properties in schemas.items():
        assert list(inspect.signature(getattr(tools, name)).parameters) == ["self", *properties]


def test_the_end_is_a_fixed_answer_and_the_reward_stays():
    house = SmallHouse()
    assert house.reset(task=0, seed=5, prompt=[], other=None).startswith("You are in the middle")
    while not house.session.last.done:
        house.act(house.session.env.text_env.expert())
    assert house.get_reward() == 1.0 and house.act("look") == OVER and house.get_reward() == 1.0
    house.reset(task=1)
    assert house.get_reward() == 0.0 and house.session.trajectory.task.endswith("1")


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(TaskError, match=r"^split 'train' of ALFWorld has no task 'nowhere'"):
        SmallHouse().reset(task="nowhere")
    with pytest.raises(ConfigError, match=r"takes no argument 'sise'; did you mean 'size'\?$"):
        ALFWorldTools(sise="small")
    with pytest.raises(ConfigError, match="has no split 'trian'; did you mean 'train'"):
        tool_rows(WebShopTools, split="trian")
    with pytest.raises(ConfigError, match="the options of EMPG are k, k_future, zeta, center; got kappa"):
        trained(EMPGTrainer, tmp_path, empg={"kappa": 1})
    with pytest.raises(ConfigError, match="must hold an integer"):
        EpisodeTask.from_columns({"seed": "one"}, env_id="alfworld")
