"""The benchmarks as an agent loop of verl.

What verl asks for, and what follows:
    - One loop object per row, made by hydra in worker processes: there is no state on the class.
    - Tokens are merged, never rendered again: verl's continuous-token builder appends the model's ids and the new messages.
    - The response is cut at `response_length` together with its mask and log-probabilities; an episode that reaches it ends there.
    - Rows name the episode with the columns `env_id`, `split`, `task` and `seed`; other columns are ignored.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import uuid4

from verl.experimental.agent_loop.agent_loop import AgentLoopBase, AgentLoopMetrics, AgentLoopOutput, register

from empg_gym.adapters.episode_task import EpisodeTask, episode_tasks
from empg_gym.adapters.session import Session
from empg_gym.chat_settings import ChatSettings


@register("empg")
class EMPGAgentLoop(AgentLoopBase):  # type: ignore[misc]
    """Plays one episode with the rollout's model.

    Args:
        arguments, named: those of verl's loops, passed on.
        env_kwargs: keyword arguments of `gymnasium.make`; set them in the agent loop's configuration file.
        dialogue: dialogue format; None uses the environment's native protocol, or think-action.
    """

    def __init__(self, *arguments: Any, env_kwargs: dict[str, Any] | None = None, dialogue: str | None = None, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._session = Session(dict(env_kwargs or {}), chat=ChatSettings(dialogue=dialogue))

    @property
    def session(self) -> Session:
        """The episode with its record."""
        return self._session

    async def run(self, sampling_params: dict[str, Any], **row: Any) -> AgentLoopOutput:
        """Play the episode of a row.

        Raises:
            ConfigError: the row names no environment, or an unknown one.
            TaskError: the split lacks the task.
        """
        session, limit = self._session, int(self.rollout_config.response_length)
        task = EpisodeTask.from_columns(row)
        await asyncio.to_thread(session.reset, task)
        messages = session.env.messages
        ids = await self.ct_build_initial_tokens(messages)
        prompt_length = len(ids)
        request = uuid4().hex
        mask: list[int] = []
        logprobs: list[float] | None = None
        seconds, rewards = {"generate": 0.0, "tools": 0.0}, []
        extra: dict[str, Any] = {}
        try:
            while True:
                began = time.monotonic()
                output = await self.server_manager.generate(request_id=request, prompt_ids=ids, sampling_params=sampling_params)
                seconds["generate"] += time.monotonic() - began
                extra = dict(getattr(output, "extra_fields", None) or {}) or extra
                known = output.log_probs or None
                if logprobs is None and known and not mask:
                    logprobs = []
                merged, mask, logprobs = await self.ct_merge_assistant_token(
                    ids, output.token_ids, mask, logprobs, assistant_logprobs=known
                )  # fmt: skip
                ids = merged.token_ids
                text = self.tokenizer.decode(output.token_ids, skip_special_tokens=True)
                began = time.monotonic()
                reply = await asyncio.to_thread(session.step, text)
                seconds["tools"] += time.monotonic() - began
                rewards.append(reply.reward)
                if reply.done or len(mask) >= limit:
                    break
                answered = [*messages, {"role": "assistant", "content": text}]
                messages = [*answered, {"role": "user", "content": reply.message}]
                merged, mask, logprobs = await self.ct_merge_context_msg(answered, messages, ids, mask, logprobs)
                ids = merged.token_ids
                if len(mask) >= limit:
                    break
            metrics = session.metrics
        finally:
            await asyncio.to_thread(session.close)
        start = len(ids) - len(mask)
        assert start == prompt_length, "the prompt's tokens stay as they are"
        return AgentLoopOutput(
            prompt_ids=ids[:start],
            response_ids=ids[start:][:limit],
            response_mask=mask[:limit],
            response_logprobs=logprobs[:limit] if logprobs else None,
            reward_score=metrics["reward"],
            num_turns=2 * len(rewards) + 1,
            metrics=AgentLoopMetrics(generate_sequences=seconds["generate"], tool_calls=seconds["tools"]),
            extra_fields={
                **extra,
                "turn_scores": rewards,
                "tool_rewards": [],
                "reward_extra_info": {"score": metrics["score"], "success": metrics["success"]},
            },
        )


def verl_rows(env_id: str, *, split: str = "train", limit: int | None = None, seed: int = 0, **kwargs: Any) -> list[dict[str, Any]]:
    """Return the rows of a data set for `EMPGAgentLoop`; arguments and errors are those of `episode_tasks`."""
    return [
        {
            "prompt": [{"role": "user", "content": task.env_id}],  # the loop replaces it
            "data_source": task.env_id,
            "agent_name": "empg",
            "reward_model": {"style": "rule", "ground_truth": ""},
            "index": index,
            **task.columns(),
        }
        for index, task in enumerate(episode_tasks(env_id, split=split, limit=limit, seed=seed, **kwargs))
    ]
