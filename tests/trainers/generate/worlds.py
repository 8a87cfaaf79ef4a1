"""A tiny environment and tiny models for the tests of generation."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

from empg_gym import LLMAgentEnv
from empg_gym.env import KeyPart, Outcome, TextEnv
from empg_gym.rollout import EpisodeSpec, Rollout
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.generate.sampling import Sampling, log_probabilities
from empg_gym.trainers.policy.models import load_model
from empg_gym.trajectory import Trajectory

NOUNS = ("apple", "bench", "candle", "drawer", "envelope", "fork", "garden", "hammer", "inkwell", "jar")


class Echo(TextEnv):
    """Shows a few random words in every step; ends when the action names the task's noun."""

    benchmark = "Echo"
    splits = ("train",)
    version = "1"

    def __init__(self, max_steps: int = 6) -> None:
        super().__init__(split="train", max_steps=max_steps)
        self._won = False

    num_tasks = len(NOUNS)

    def task_id(self, index: int) -> str:
        return NOUNS[index]

    def _has_task(self, task: str) -> bool:
        return task in NOUNS

    def _words(self) -> str:
        count = int(self.np_random.integers(2, 9))
        return " ".join(NOUNS[int(index)] for index in self.np_random.integers(len(NOUNS), size=count))

    def _start(self, task: str) -> str:
        self._won = False
        return f"Find the {task}. You see {self._words()}."

    def _apply(self, action: str) -> Outcome:
        self._won = self._won or self.task in action.split()
        return Outcome(f"You said {len(action)} letters and see {self._words()}.", float(self._won), self._won, True)

    def _admissible(self) -> list[str]:
        return list(NOUNS)

    def _save(self) -> Any:
        return self._won

    def _load(self, payload: Any) -> None:
        self._won = payload

    def _state_key(self) -> KeyPart:
        return self._won

    @property
    def instruction(self) -> str:
        return f"Find the {self.task}."

    @property
    def success(self) -> bool:
        return self._won

    @property
    def score(self) -> float:
        return float(self._won)

    def expert(self) -> str | None:
        return self.task

    rules = "You play with words. Name the noun that you are asked for."
    fingerprint = "echo"


def make_env(history: int | None = None, max_steps: int = 6) -> LLMAgentEnv:
    return LLMAgentEnv(Echo(max_steps), dialogue="plain", history=history)


def texts() -> list[str]:
    """Text of the environment."""
    env = make_env()
    draw = random.Random(0)
    lines = []
    for seed in range(20):
        lines.append(env.reset(seed=seed)[0])
        lines.append(env.system_prompt)
        for _ in range(3):
            lines.append(env.step(draw.choice(NOUNS))[0])
            lines.append(" ".join(NOUNS))
    return lines


def tiny_model(seed: int = 0, **shape: Any):
    """Return a random model that sometimes ends its responses, so that rows of all lengths occur."""
    shape = {"width": 32, "heads": 4, "init_std": 0.3, **shape}
    model, tokenizer = load_model(None, from_scratch=FromScratch(**shape), tokenizer_texts=texts(), seed=seed)
    bias = torch.zeros(len(tokenizer))
    bias[tokenizer.eos_token_id] = 4.0
    model.lm_head.bias = torch.nn.Parameter(bias, requires_grad=False)
    return model, tokenizer


def forward_row(model: Any, ids: list[int], sampling: Sampling | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return [L, V] log-probabilities of the next token and [L] entropies from one pass over the whole row, in float64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]
    logp = log_probabilities(logits, sampling or Sampling()).double()
    return logp, -torch.special.xlogy(logp.exp(), logp.exp()).sum(-1)


def play(generator: Any, count: int = 12, *, history=None, concurrency=32, limits=None, first=0, max_steps=6) -> list[Trajectory]:
    """Roll out `count` episodes without retries."""
    rollout = Rollout(lambda: make_env(history, max_steps), generator, limits=limits, concurrency=concurrency, retries=0)
    return rollout.run([EpisodeSpec(seed=seed) for seed in range(first, first + count)])


def tokens_of(trajectories: list[Trajectory]) -> list[list[list[int]]]:
    """Return the generated ids by trajectory and step."""
    return [[step.response_token_ids.tolist() for step in trajectory.steps] for trajectory in trajectories]


def rows_of(trajectory: Trajectory) -> list[tuple[list[int], list[tuple[int, int, int]]]]:
    """Return each row's ids and the (step, begin, end) of its responses."""
    rows: list[tuple[list[int], list[tuple[int, int, int]]]] = []
    for index, step in enumerate(trajectory.steps):
        if step.row == len(rows):
            rows.append(([], []))
        ids, spans = rows[step.row]
        ids.extend(step.prompt_token_ids.tolist())
        spans.append((index, len(ids), len(ids) + len(step.response_token_ids)))
        ids.extend(step.response_token_ids.tolist())
    return rows


def assert_equals_forward(model: Any, trajectories: list[Trajectory], sampling: Sampling | None = None, tolerance: float = 1e-4) -> int:
    """Check log-probabilities and entropies of every generated token, and return their number."""
    checked = 0
    for trajectory in trajectories:
        for ids, spans in rows_of(trajectory):
            logp, entropy = forward_row(model, ids, sampling)
            for index, begin, end in spans:
                step = trajectory.steps[index]
                expected = logp[torch.arange(begin - 1, end - 1), torch.tensor(ids[begin:end])].numpy()
                np.testing.assert_allclose(step.logprobs, expected, atol=tolerance, rtol=0)
                np.testing.assert_allclose(step.entropies, entropy[begin - 1 : end - 1].numpy(), atol=tolerance, rtol=0)
                checked += end - begin
    return checked
