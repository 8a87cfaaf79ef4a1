"""verl's agent loop with a scripted model, and a tokenizer whose tokens are bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
from verl.experimental.agent_loop.agent_loop import AgentLoopOutput
from verl.utils.dataset.rl_dataset import RLHFDataset

from empg_gym.adapters.verl import EMPGAgentLoop

TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


class Settings:
    """As verl wraps configurations."""

    def __init__(self, config):
        self.config = OmegaConf.create(config)


class Answer:
    def __init__(self, token_ids):
        self.token_ids, self.log_probs = token_ids, [-0.5] * len(token_ids)
        self.num_preempted, self.routed_experts, self.extra_fields = 0, None, {}


class Server:
    """Answers with the recorded responses; keeps the prompts."""

    def __init__(self, responses, tokenizer):
        self.responses, self.tokenizer, self.prompts, self.requests = iter(responses), tokenizer, [], set()

    async def generate(self, *, request_id, prompt_ids, sampling_params, **_):
        self.prompts.append(self.tokenizer.decode(prompt_ids))
        self.requests.add(request_id)
        return Answer(self.tokenizer(f"{next(self.responses)}<|im_end|>")["input_ids"])


def byte_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    inner = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    inner.pre_tokenizer, inner.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), decoders.ByteLevel()
    inner.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    made.chat_template = TEMPLATE
    return made


def play(
    row: Mapping[str, Any], responses: Sequence[str], tokenizer: PreTrainedTokenizerFast, limit: int = 100_000, **options
) -> tuple[AgentLoopOutput, Server, EMPGAgentLoop]:
    """Play the episode of a row with these responses; return the output, the server, and the loop."""
    server = Server(responses, tokenizer)
    rollout = {"prompt_length": 100_000, "response_length": limit}
    config = Settings({"actor_rollout_ref": {"rollout": rollout, "model": {}}})

    async def run():  # a loop belongs to the event loop that it is made in
        loop = EMPGAgentLoop(
            trainer_config=config, server_manager=server, tokenizer=tokenizer, processor=None, dataset_cls=RLHFDataset,
            data_config=Settings({}), hf_model_type="qwen2", **options,
        )  # fmt: skip
        return await loop.run({}, raw_prompt=[], priority=0, **row), server, loop

    return asyncio.run(run())
