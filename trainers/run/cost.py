"""How many tokens a training step reads and generates: an estimate from a few episodes, without a model.

Rules:
    - Episodes are played in the environment and the dialogue of the configuration, by its expert and by a random agent: a trained policy
      and an untrained one. Their responses hold the action alone; a model's thoughts add to both columns.
    - Rows are built by the code that builds those of training (`ChatRow`) with the configuration's chat template, once with the whole
      conversation and once with a window of earlier steps.
    - The configuration's episodes are played again with `THOUGHT` in each response: a chat template that drops the thoughts of earlier
      steps starts a row in each step, which actions alone don't show.
    - Tokens are those of the model's tokenizer if it is on this machine, otherwise characters divided by `CHARACTERS_PER_TOKEN`.
    - Importing this imports no torch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from empg_gym.agents import BaseAgent
from empg_gym.agents.scripted import ExpertAgent, RandomAgent
from empg_gym.trainers.config.sections import ModelConfig, TrainConfig
from empg_gym.trainers.generate.chat import ChatCodec, ChatRow
from empg_gym.trainers.generate.chat_template import ChatTemplate, set_chat_template
from empg_gym.trainers.generate.loading import tokenizer_options
from empg_gym.trainers.generate.tokenizer import CHAT_TEMPLATE
from empg_gym.trajectory import Completion

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv

CHARACTERS_PER_TOKEN = 4
"""Of English text, roughly, in the tokenizers of large models."""
HISTORY = 2
"""Earlier steps shown in verl-agent's protocol."""
EPISODES = 8
THOUGHT = "I have not found it yet, so I look at the nearest place first and remember what I have seen. " * 2
"""A short thought of a model."""
AGENTS: dict[str, type[BaseAgent]] = {"expert": ExpertAgent, "random": RandomAgent}


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeCost:
    """Means over the played episodes of one agent."""

    agent: str
    """"expert" or "random"."""
    history: int | None
    """Earlier steps that a prompt shows; None shows all, in one row."""
    steps: float
    rows: float
    prompt_tokens: float
    """Tokens of an episode's rows that the model reads."""
    generated_tokens: float
    """Tokens of an episode's rows that it writes."""
    longest_row: float
    """Tokens of the longest row of all episodes."""

    @property
    def tokens(self) -> float:
        """Tokens of an episode's rows, which each pass of the update reads."""
        return self.prompt_tokens + self.generated_tokens

    @property
    def summary(self) -> str:
        """Steps, rows and tokens of an episode in words."""
        return f"{self.agent} {self.steps:.1f} steps, {self.rows:.1f} rows, {self.tokens:,.0f} tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The cost of a configuration's training step."""

    costs: tuple[EpisodeCost, ...]
    """Per agent: the whole conversation first, then the window."""
    history: int | None
    """That of the configuration."""
    episodes: int
    """Episodes per training step."""
    tokenizer: str
    """Where the number of tokens comes from."""
    plan: str
    thoughtful: tuple[EpisodeCost, ...] = ()
    """Per agent, with the configuration's history and `THOUGHT` in each response."""

    def lines(self) -> list[str]:
        """Return the table and what it rests on."""
        head = ("agent", "earlier steps", "steps", "rows", "prompt", "generated", "tokens per pass", "ratio", "longest row")
        rows = [head, *(self._row(cost) for cost in self.costs)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        plan = {
            "groups": [],
            "dynamic": ['The plan "dynamic" generates this for every round that it plays, and updates on one.'],
            "branching": ['The plan "branching" generates shared steps once; the update also reads them as context of each branch.'],
        }.get(self.plan, [f"The plan {self.plan!r} may play another number of episodes."])
        return [
            f"Tokens per training step of {self.episodes:,} episodes, {self.tokenizer}.",
            f"Means over up to {EPISODES} episodes of each agent, without thoughts; a pass is one reading of all rows by scorer or update.",
            *plan,
            *table,
            "* this configuration; ratio: to one row per episode (all earlier steps shown)",
            *self._episodes(),
        ]

    def _episodes(self) -> list[str]:
        """Return steps, rows and tokens of an episode, with and without thoughts."""
        plain = [cost for cost in self.costs if cost.history == self.history]
        parts = ((f"{len(THOUGHT.split())} words of thought per step", self.thoughtful), ("no thoughts", plain))
        return [f"An episode with {name}: {'; '.join(cost.summary for cost in costs)}." for name, costs in parts if costs]

    def _row(self, cost: EpisodeCost) -> tuple[str, ...]:
        whole = next(item for item in self.costs if item.agent == cost.agent and item.history is None)
        mark = "*" if cost.history == self.history else ""
        per_step = (f"{self.episodes * value:,.0f}" for value in (cost.rows, cost.prompt_tokens, cost.generated_tokens, cost.tokens))
        ratio = f"{cost.tokens / whole.tokens:.1f}"
        window = "all" if cost.history is None else str(cost.history)
        return cost.agent, window + mark, f"{cost.steps:.1f}", *per_step, ratio, f"{cost.longest_row:,.0f}"


def estimate_cost(config: TrainConfig) -> CostEstimate | None:
    """Return the estimated cost of a training step; None where no agent can play, or where steps call a network or a browser.

    Raises:
        EMPGGymError: the environment cannot be made.
    """
    tokenizer = local_tokenizer(config.model)
    counter: Any = tokenizer or Characters()
    codec = ChatCodec(counter)
    scale = 1.0 if tokenizer else 1 / CHARACTERS_PER_TOKEN
    history = config.env.history
    costs: list[EpisodeCost] = []
    thoughtful: list[EpisodeCost] = []
    for window in (None, HISTORY if history is None else history):
        recipe = config.env.model_copy(update={"history": window}).recipe()
        with contextlib.closing(recipe.make()) as env:
            if env.text_env.does_io:
                return None
            costs += [cost for name in AGENTS if (cost := _mean_cost(env, name, window, codec, scale)) is not None]
            if window == history:
                thoughtful = [cost for name in AGENTS if (cost := _mean_cost(env, name, window, codec, scale, THOUGHT)) is not None]
    if not costs:
        return None
    costs.sort(key=lambda cost: list(AGENTS).index(cost.agent))
    missing = "is not on this machine" if config.model.name else "is trained when the run starts"
    estimated = f"estimated at {CHARACTERS_PER_TOKEN} characters per token (the model's tokenizer {missing})"
    return CostEstimate(
        costs=tuple(costs),
        history=history,
        episodes=config.rl.tasks_per_step * config.rl.repeats,
        tokenizer="counted by the model's tokenizer" if tokenizer else estimated,
        plan=config.algorithm.plan,
        thoughtful=tuple(thoughtful),
    )


def _mean_cost(env: LLMAgentEnv, agent: str, history: int | None, codec: ChatCodec, scale: float, thought: str = "") -> EpisodeCost | None:
    """Return the means over the episodes that the agent could play; None where it could play none (data without an expert)."""
    played = [counts for seed in range(EPISODES) if (counts := _play(env, AGENTS[agent](), seed, codec, thought))[0]]
    if not played:
        return None
    steps, rows, prompt, generated = (sum(column) / len(played) for column in list(zip(*played, strict=True))[:4])
    return EpisodeCost(
        agent=agent,
        history=history,
        steps=steps,
        rows=rows,
        prompt_tokens=scale * prompt,
        generated_tokens=scale * generated,
        longest_row=scale * max(item[4] for item in played),
    )


def _play(env: LLMAgentEnv, agent: BaseAgent, seed: int, codec: ChatCodec, thought: str) -> tuple[int, int, int, int, int]:
    """Return steps, rows, prompt tokens, generated tokens and the longest row of an episode."""
    env.reset(seed=seed)
    session = agent.session(env, seed)
    row = ChatRow(codec)
    steps = rows = prompt_tokens = generated_tokens = longest = 0
    over = False
    while not over:
        reply = session.act(env.messages)
        assert isinstance(reply, Completion)
        if reply.stop:
            break
        if thought:
            reply = replace(reply, text=_with_thought(env, codec, reply.text, thought))
        prompt, new_row = row.prompt(env.messages)
        response = codec.encode_response(reply.text)
        row.respond(response)
        steps, rows, prompt_tokens, generated_tokens = (
            steps + 1,
            rows + new_row,
            prompt_tokens + len(prompt),
            generated_tokens + len(response),
        )
        longest = max(longest, len(row.ids))
        _, _, terminated, truncated, _ = env.step(reply)
        over = terminated or truncated
    return steps, rows, prompt_tokens, generated_tokens, longest


def _with_thought(env: LLMAgentEnv, codec: ChatCodec, text: str, thought: str) -> str:
    """Return the response with a thought, in the dialogue's form, or as a reasoning model writes it if the template knows such thoughts."""
    text = env.dialogue.render(thought, env.dialogue.parse(text).action)
    reasons = "</think>" in str(codec.tokenizer.chat_template) and "</think>" not in text
    return f"<think>\n{thought}\n</think>\n\n{text}" if reasons else text


def local_tokenizer(model: ModelConfig) -> Any:
    """Return the tokenizer of a model on this machine, with its chat template; None where there is none, or no transformers.

    Raises:
        ConfigError: the chat template can't be used.
    """
    name = model.name
    if name is None:
        return None
    try:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=True, **tokenizer_options())
    except Exception:  # an estimate does without the tokenizer of a folder that can't be read
        return None
    set_chat_template(tokenizer, ChatTemplate.of(model))
    return tokenizer if tokenizer.chat_template is not None else None


class Characters:
    """What `ChatCodec` uses of a tokenizer, with a character for each token."""

    chat_template = CHAT_TEMPLATE
    eos_token_id = 0

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        return {"input_ids": list(map(ord, text))}

    def decode(self, ids: Sequence[int], **_: bool) -> str:
        return "".join(map(chr, ids))
