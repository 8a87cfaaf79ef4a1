"""How likely the policy finds the gold answer before each step: `RolloutSteps.gold_logprobs`, which IGPO needs.

Rules:
    - Before step t the policy reads the row up to the opening of its response, then the text that a response has before an answer
      (`GoldAnswer.before`, in the dialogue's form), then the answer. The score is the mean log-probability of the answer's tokens alone.
    - Ids are concatenated: the row's as recorded, those of the text before the answer, those of the answer. Nothing in a row is
      tokenised again.
    - Scores are those of the policy at the rollout's temperature, before the update. Equal contexts of a task, such as that of the first
      step, are scored once.
    - NaN where it is unknown: the task's answer is unpublished, or the row would have more tokens than the model has positions.
    - Gold answers come from an environment of the trainer's own, made once from the run's recipe. It is asked for the answer of a task and
      never steps; neither episodes nor their records hold the answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from empg_gym.agent_env import LLMAgentEnv
from empg_gym.env import TextEnv
from empg_gym.errors import ConfigError
from empg_gym.trainers.algorithms import advantage_needs
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.data.batch import RolloutBatch
from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trainers.generate.chat import ChatCodec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from empg_gym.trainers.policy.policy import Policy

NEED = "gold_logprobs"
"""What an advantage declares to have it computed."""


def build_gold_scorer(config: TrainConfig, policy: Policy, tokenizer: PreTrainedTokenizerBase) -> GoldScorer | None:
    """Return the scorer of a run's gold answers; None where the advantage doesn't need them.

    Raises:
        ConfigError: the advantage is unknown, or needs gold answers that the environment lacks.
    """
    env = make_gold_env(config)
    return None if env is None else GoldScorer(policy, GoldAnswers(env, tokenizer))


def make_gold_env(config: TrainConfig) -> LLMAgentEnv | None:
    """Return an environment that knows the gold answers of the training tasks; None where the advantage doesn't need them.

    Raises:
        ConfigError: the advantage is unknown, or needs gold answers that the environment lacks.
    """
    advantage, recipe = config.algorithm.advantage, config.env.recipe()
    if NEED not in advantage_needs(advantage, config.algorithm.advantage_options):
        return None
    env = recipe.make()
    if type(env.text_env).gold_answer is TextEnv.gold_answer:
        env.close()
        raise ConfigError(
            f"the advantage {advantage!r} needs the gold answer of each task, which {recipe.env_id} lacks; choose another "
            "algorithm.advantage, or an environment that has gold answers, such as EMPG/DeepSearch-v0"
        )
    return env


class GoldAnswers:
    """The gold answer of each task as token ids.

    Args:
        env: knows the gold answers.
        tokenizer: of the policy.
    """

    def __init__(self, env: LLMAgentEnv, tokenizer: PreTrainedTokenizerBase) -> None:
        self._env = env
        self._codec = ChatCodec(tokenizer)
        self._known: dict[str, tuple[Tensor, Tensor] | None] = {}

    def ids(self, task: str) -> tuple[Tensor, Tensor] | None:
        """Return the ids of the text before the answer and of the answer, int64; None where the task's answer is unpublished.

        Raises:
            TaskError: the environment lacks the task.
        """
        if task not in self._known:
            self._known[task] = self._ask(task)
        return self._known[task]

    def close(self) -> None:
        """Close the environment."""
        self._env.close()

    def _ask(self, task: str) -> tuple[Tensor, Tensor] | None:
        self._env.reset(seed=0, options={"task": task})
        gold = self._env.text_env.gold_answer()
        if gold is None:
            return None
        action = gold.before + gold.text
        response = self._env.dialogue.render("", action)
        return self._encode(response[: response.index(action)] + gold.before), self._encode(gold.text)

    def _encode(self, text: str) -> Tensor:
        return torch.tensor(self._codec.encode(text), dtype=torch.int64)


class GoldScorer:
    """Scores the gold answer before each step of a batch. See the module docstring for the rules.

    Args:
        policy: the policy that wrote the batch.
        answers: of its tasks.
    """

    def __init__(self, policy: Policy, answers: GoldAnswers) -> None:
        self.policy = policy
        self.answers = answers
        config = policy.model.config.get_text_config()
        self._positions: int | None = getattr(config, "max_position_embeddings", None)

    def __call__(self, batch: RolloutBatch) -> Tensor:
        """Return [S] float64, the mean log-probability of the gold answer before each step; NaN where it is unknown."""
        scores = torch.full((len(batch.step),), torch.nan, dtype=torch.float64)
        steps_of_task: dict[str, list[tuple[int, Tensor]]] = defaultdict(list)
        for step, (trajectory, context) in enumerate(contexts(batch)):
            steps_of_task[batch.trajectories[trajectory].task].append((step, context))
        for task, steps in steps_of_task.items():  # task by task: its contexts and their answers are in memory, not the batch's
            gold = self.answers.ids(task)
            if gold is not None:
                self._score_task(steps, *gold, scores)
        return scores

    def close(self) -> None:
        """Close the environment of the answers."""
        self.answers.close()

    def _score_task(self, steps: list[tuple[int, Tensor]], before: Tensor, answer: Tensor, scores: Tensor) -> None:
        """Fill in the scores of a task's steps, given as (index into S, context)."""
        rows: dict[bytes, TokenRow] = {}
        steps_of_row: dict[bytes, list[int]] = defaultdict(list)
        for step, context in steps:
            ids = torch.cat([context, before, answer])
            if self._positions is not None and len(ids) > self._positions:
                continue
            key = context.numpy().tobytes()
            rows[key] = _row(ids, len(answer))
            steps_of_row[key].append(step)
        logprobs = self.policy.score_rows(list(rows.values())).logprobs.double().view(-1, len(answer))
        for key, mean in zip(rows, logprobs.mean(dim=1), strict=True):
            scores[steps_of_row[key]] = mean


def contexts(batch: RolloutBatch) -> Iterator[tuple[int, Tensor]]:
    """Yield for each step on the axis S its trajectory and the ids that its response follows: the row up to there."""
    rows_of_trajectory: dict[int, list[TokenRow]] = defaultdict(list)
    for row in batch.rows:
        rows_of_trajectory[row.trajectory].append(row)
    for position, trajectory in enumerate(batch.trajectories):
        numbers = dict.fromkeys(step.row for step in trajectory.steps)
        rows = dict(zip(numbers, rows_of_trajectory[position], strict=True))
        for index, step in enumerate(trajectory.steps):
            row = rows[step.row]
            read = (row.step < index) | ((row.step == index) & ~row.generated)
            yield position, row.ids[: int(read.sum())]


def _row(ids: Tensor, scored: int) -> TokenRow:
    """Return a row whose last `scored` tokens are scored."""
    return TokenRow(ids=ids, generated=torch.arange(len(ids)) >= len(ids) - scored, step=torch.zeros_like(ids), trajectory=0)
