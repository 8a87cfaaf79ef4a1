"""The two sides of `benchmarks.trl`, each in a process of its own with one thread. See that module.

Both play ALFWorld through tool calls in the text of Qwen2.5's template, so that their rows have the same form, token by token: TRL calls a
tool of its environment; ours reads the call from the response and writes the observation as the template writes a tool's answer.
"""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import gymnasium as gym

from empg_gym.env import Outcome
from empg_gym.envs.alfworld.env import ALFWorldEnv

OPENING, CLOSING = '<tool_call>\n{"name": "act", "arguments": {"action": "', '"}}\n</tool_call>'
ENV = {"size": "small", "max_steps": 20, "strip_intro": True, "expert": "search"}
RULES = "Reach the goal in the household."
MAX_RESPONSE, MAX_COMPLETION = 16, 1200
SAMPLE = {"lr": 1e-6, "beta2": 0.95, "max_grad_norm": 1.0}
"""A small learning rate: all iterations sample from about the same policy."""


class ToolCalls(ALFWorldEnv):
    """ALFWorld whose actions are tool calls and whose observations are answers of a tool."""

    def _apply(self, action: str) -> Outcome:
        found = re.fullmatch(r"<tool_call>\n(\{.*\})\n</tool_call>", action, re.DOTALL)
        outcome = super()._apply(str(json.loads(found[1])["arguments"]["action"]) if found and _valid(found[1]) else "")
        return outcome._replace(observation=f"<tool_response>\n{outcome.observation}\n</tool_response>")

    def _admissible(self) -> list[str]:
        return [OPENING + action + CLOSING for action in super()._admissible()]

    def expert(self) -> str | None:
        action = super().expert()
        return None if action is None else OPENING + action + CLOSING


def _valid(call: str) -> bool:
    try:
        return bool(json.loads(call)["arguments"]["action"])
    except (ValueError, KeyError, TypeError):
        return False


class ALFWorldTools:
    """The same environment as TRL's `environment_factory` expects it."""

    def __init__(self) -> None:
        self._env = gym.make("EMPG/ALFWorld-v0", split="train", disable_env_checker=True, **ENV)
        self._over, self._reward = False, 0.0

    def reset(self, task: str = "", seed: int = 0, **_: Any) -> str:
        observation, _info = self._env.reset(seed=seed, options={"task": task})
        self._over, self._reward = False, 0.0
        return str(observation)

    def act(self, action: str) -> str:
        """Carry out an action.

        Args:
            action: The action.
        """
        if self._over:
            return "The episode is over."
        observation, reward, terminated, truncated, _info = self._env.step(str(action))
        self._over, self._reward = terminated or truncated, self._reward + float(reward)
        return str(observation)

    def get_reward(self) -> float:
        return self._reward


gym.register("EMPGBenchmark/ToolCalls-v0", entry_point=ToolCalls)


def config(folder: Path, **sections: dict[str, Any]) -> Any:
    """Return the configuration of our side."""
    from empg_gym.trainers.config.file import parse_config

    tree: dict[str, dict[str, Any]] = {
        "run": {"threads": 1, "device": "cpu", "dtype": "float32", "out": str(folder / "run")},
        "env": {"id": "EMPGBenchmark/ToolCalls-v0", "dialogue": "plain", "options": ENV, "max_steps": ENV["max_steps"]},
        "model": {"name": str(folder / "model")},
        "rollout": {"max_response_tokens": MAX_RESPONSE, "max_row_tokens": 2000},
        "rl": {"old_logprobs": "rollout", "minibatches": 1, "optimizer": SAMPLE},
        "algorithm": {"advantage": "grpo"},
    }
    if (folder / "system.txt").is_file():
        tree["env"]["system_prompt"] = (folder / "system.txt").read_text()
    for name, keys in sections.items():
        tree[name] = {**tree.get(name, {}), **keys}
    return parse_config(tree)


def prepare(folder: Path, *, steps: int) -> None:
    """Write a tiny model that plays through tool calls, after a warm start of `steps` steps."""
    import trl

    from empg_gym.trainers.collect.demonstrations import tokenizer_texts
    from empg_gym.trainers.config.sections import FromScratch
    from empg_gym.trainers.generate.tokenizer import train_tokenizer
    from empg_gym.trainers.policy.models import load_model
    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    folder.mkdir(parents=True, exist_ok=True)
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen2_5.jinja").read_text()
    env = config(folder).env.recipe().make()
    texts = [*tokenizer_texts(env, 200, seed=0, detours=0.1), RULES, json.dumps(_schema())]
    env.close()
    whole = ("<|im_start|>", "<|im_end|>", OPENING, CLOSING, "<tool_response>", "</tool_response>", "<tools>", "</tools>")
    tokenizer = train_tokenizer(texts, whole=whole)
    tokenizer.eos_token, tokenizer.chat_template = "<|im_end|>", template
    rendered = tokenizer.apply_chat_template(
        [{"role": "system", "content": RULES}, {"role": "user", "content": "X"}], tools=[_schema()], tokenize=False
    )
    (folder / "system.txt").write_text(rendered.split("<|im_start|>system\n", 1)[1].split("<|im_end|>", 1)[0])
    model, _ = load_model(from_scratch=FromScratch(init_std=0.05), tokenizer_texts=texts, whole_tokens=whole)
    model.config.eos_token_id = model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.resize_token_embeddings(len(tokenizer))
    for saved in (model, tokenizer):
        saved.save_pretrained(folder / "model")
    warmstart = {
        "steps": steps, "episodes": 4 * steps, "episodes_per_step": 4, "detours": 0.1, "token_budget": 2048,
        "optimizer": {"lr": 3e-3, "warmup_steps": 20, "schedule": "cosine", "beta2": 0.98},
    }  # fmt: skip
    Trainer(config(folder, warmstart=warmstart), ProgressView(_silent())).run()
    trained = folder / "run" / "checkpoints"
    (trained / (trained / "latest").read_text().strip()).rename(folder / "trained")


def ours(folder: Path, *, iterations: int, tasks: int, token_budget: int) -> dict[str, Any]:
    """Run our reinforcement steps; write their rows for the other side."""
    from empg_gym.trainers.policy.optimizer import Optimizer
    from empg_gym.trainers.run.iteration import Iteration
    from empg_gym.trainers.run.progress import ProgressView
    from empg_gym.trainers.run.trainer import Trainer

    settings = config(
        folder,
        run={"out": str(folder / "ours")},
        model={"name": str(folder / "trained")},
        rl={"steps": iterations, "tasks_per_step": tasks, "repeats": 8, "token_budget": token_budget},
    )
    trainer = Trainer(settings, ProgressView(_silent()))
    iteration = Iteration(settings, trainer.stages, Optimizer(trainer.models.policy, settings.rl.optimizer, iterations))
    trainer.models.publish(0)
    meter, rows = Meter(), []
    for step in range(iterations):
        meter.start()
        collection = trainer.collector.collect(step)
        meter.rollout()
        iteration.learn(step, collection)
        trainer.models.publish(step + 1)
        batch = iteration.batch(collection)
        meter.update(sum(map(len, batch.rows)), len(batch.step_of_token), len(batch.trajectories))
        rows.append([_row(item, row) for item, row in zip(batch.trajectories, batch.rows, strict=True)])
    (folder / "rows.json").write_text(json.dumps(rows))
    return meter.result()


def _row(trajectory: Any, row: Any) -> dict[str, Any]:
    """Return a row with its task, as the other side needs it."""
    first = int(row.generated.nonzero()[0])
    ids = row.ids.tolist()
    return {
        "task": trajectory.task,
        "seed": trajectory.seed,
        "prompt_ids": ids[:first],
        "completion_ids": ids[first:],
        "env_mask": row.generated[first:].int().tolist(),
        "reward": trajectory.total_reward,
    }


def theirs(folder: Path, *, tasks: int, micro_batches: list[int]) -> dict[str, Any]:
    """Run TRL's steps on the same tasks with its own episodes, then, for each size of micro-batch, its updates on our rows."""
    episodes = run_trl(folder, tasks=tasks, micro=micro_batches[0], replay=False)
    updates = {micro: run_trl(folder, tasks=tasks, micro=micro, replay=True) for micro in micro_batches}
    return {"episodes": episodes, "updates": updates}


def run_trl(folder: Path, *, tasks: int, micro: int, replay: bool) -> dict[str, Any]:
    """Run TRL's steps once: with its own episodes, or (`replay`) with our rows."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import GRPOConfig, GRPOTrainer

    from empg_gym.trainers.generate.file_tokenizer import TokenizersBackend

    torch.set_num_threads(1)
    rows = json.loads((folder / "rows.json").read_text())
    tokenizer = TokenizersBackend.from_pretrained(folder / "trained")
    model = AutoModelForCausalLM.from_pretrained(folder / "trained", dtype=torch.float32, attn_implementation="sdpa")
    meter, played = Meter(), iter(rows)
    prompts: list[list[int]] = []

    class Timed(GRPOTrainer):
        """GRPOTrainer with a meter around its rollouts."""

        def _generate_and_score_completions(self, inputs: Any) -> Any:
            meter.close()
            meter.start()
            output = super()._generate_and_score_completions(inputs)
            meter.rollout()
            generated = output["completion_mask"] * output.get("tool_mask", 1)
            total = int(output["prompt_mask"].sum() + output["completion_mask"].sum())
            meter.pending = (total, int(generated.sum()), len(generated))
            prompts.extend(ids[mask.bool()].tolist() for ids, mask in zip(output["prompt_ids"], output["prompt_mask"], strict=True))
            return output

    def recorded(given: list[Any], trainer: Any) -> dict[str, Any]:
        names = ("prompt_ids", "completion_ids", "env_mask", "reward")
        batch = {name: [row[name] for row in step] for step in [next(played)] for name in names}
        return {**batch, "logprobs": [[0.0] * len(ids) for ids in batch["completion_ids"]]}

    def reward(completions: Any, **columns: Any) -> list[float]:
        return [float(value) for value in columns["reward"]]

    dataset = [
        {"prompt": [{"role": "system", "content": RULES}, {"role": "user", "content": ""}], "task": row["task"], "seed": row["seed"]}
        for step in rows
        for row in step[::8]
    ]
    options = {"rollout_func": recorded, "reward_funcs": reward} if replay else {"environment_factory": ALFWorldTools}
    trainer = Timed(
        model=model,
        args=GRPOConfig(
            output_dir=str(folder / "trl"), use_cpu=True, bf16=False, report_to="none", save_strategy="no", disable_tqdm=True,
            per_device_train_batch_size=micro, gradient_accumulation_steps=8 * tasks // micro, num_generations=8, max_steps=len(rows),
            max_completion_length=MAX_COMPLETION, max_tool_calling_iterations=int(ENV["max_steps"]),  # type: ignore[call-overload]
            generation_kwargs={"max_new_tokens": MAX_RESPONSE}, temperature=1.0, learning_rate=SAMPLE["lr"], shuffle_dataset=False,
            gradient_checkpointing=False, beta=0.0, logging_steps=len(rows) + 1, dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(dataset),
        processing_class=tokenizer,
        **options,
    )  # fmt: skip
    trainer.train()
    meter.close()
    expected = {tuple(row["prompt_ids"]) for step in rows for row in step}
    return {**meter.result(), "prompts_equal": {tuple(ids) for ids in prompts} == expected}


class Meter:
    """CPU seconds of rollouts and updates, tokens, and the peak of memory, children included. The first iteration is not counted."""

    def __init__(self) -> None:
        self.begin_mb = _memory("VmRSS")
        self.rollouts: list[float] = []
        self.updates: list[float] = []
        self.counts: list[tuple[int, int, int]] = []
        self.pending: tuple[int, int, int] | None = None
        self._last = 0.0

    def start(self) -> None:
        self._last = _cpu()

    def rollout(self) -> None:
        now = _cpu()
        self.rollouts.append(now - self._last)
        self._last = now

    def update(self, tokens: int, generated: int, episodes: int) -> None:
        now = _cpu()
        self.updates.append(now - self._last)
        self._last = now
        self.counts.append((tokens, generated, episodes))

    def close(self) -> None:
        """End the update of the iteration before, if there is one."""
        if self.pending is not None:
            self.update(*self.pending)
            self.pending = None

    def result(self) -> dict[str, Any]:
        tokens, generated, episodes = (sum(column) for column in zip(*self.counts[1:], strict=True))
        rollout, update = sum(self.rollouts[1:]), sum(self.updates[1:])
        return {
            "iterations": len(self.counts) - 1,
            "episodes": episodes,
            "row_tokens": tokens,
            "generated_tokens": generated,
            "rollout_cpu_s": round(rollout, 3),
            "update_cpu_s": round(update, 3),
            "generated_tokens_per_s": round(generated / rollout, 1),
            "rollout_row_tokens_per_s": round(tokens / rollout, 1),
            "update_tokens_per_s": round(tokens / update, 1),
            "peak_mb": round(_memory("VmHWM"), 1),
            "growth_mb": round(_memory("VmHWM") - self.begin_mb, 1),
        }


def _cpu() -> float:
    """Return the CPU seconds of this process and of its children (such as that of our chat template)."""
    ticks = sum(int(number) for pid in _family() for number in _stat(pid)[11:13])
    return ticks / os.sysconf("SC_CLK_TCK")


def _memory(name: str) -> float:
    """Return the sum of a line of /proc/PID/status over this process and its children, in MB."""
    lines = [re.search(rf"{name}:\s+(\d+)", (Path("/proc") / pid / "status").read_text()) for pid in _family()]
    return sum(int(found[1]) for found in lines if found) / 1024


def _family() -> list[str]:
    own = str(os.getpid())
    return [
        own,
        *(path.parent.name for path in Path("/proc").glob("[0-9]*/stat") if (fields := _stat(path.parent.name)) and fields[1] == own),
    ]


def _stat(pid: str) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: state, parent, ...; empty if the process is gone."""
    try:
        return (Path("/proc") / pid / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _schema() -> dict[str, Any]:
    from transformers.utils import get_json_schema

    return dict(get_json_schema(ALFWorldTools().act))


def _silent() -> Any:
    from rich.console import Console

    return Console(file=io.StringIO())
