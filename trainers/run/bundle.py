"""What a run works with: device, model, tokenizer, the policy to train and the generators that play with its weights.

Rules:
    - Master weights are float32. Where the forward pass has another number type (bfloat16 on CUDA), it runs under autocast, and the
      generators play with a copy in that type, which `sync` fills after every update; else they share the master weights.
    - The reference of the KL divergence runs as the policy does, float32 weights included: equal weights have divergence 0.
    - Training and evaluation have a generator each: their temperatures differ.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from empg_gym.trainers.collect.demonstrations import tokenizer_texts
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.generate.hf import HFGenerator
from empg_gym.trainers.policy.models import cast_weights, load_model, resolve_device
from empg_gym.trainers.policy.policy import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_EPISODES = 300
"""Expert episodes whose text a tokenizer from scratch is trained on."""


class Workshop:
    """Device, model and generators of a run.

    Args:
        config: the whole configuration.
        checkpoint: folder to load weights and tokenizer from; None takes them from `config.model`.

    Raises:
        ConfigError: a device that is absent, a model or an environment that can't be had.
    """

    def __init__(self, config: TrainConfig, checkpoint: Path | None = None) -> None:
        if config.run.threads is not None:
            torch.set_num_threads(config.run.threads)
        torch.manual_seed(config.run.seed)
        self.config = config
        self.device, dtype = resolve_device(config.run.device)
        self.compute_dtype = dtype if config.run.dtype == "auto" else getattr(torch, config.run.dtype)
        self.model, self.tokenizer = self._load(checkpoint)
        self.policy = self._policy(self.model)
        self._playing: PreTrainedModel = self.model
        if self.compute_dtype != torch.float32:
            self._playing = cast_weights(copy.deepcopy(self.model), self.compute_dtype)
        self.player = self._generator(config.rollout.temperature)
        self.examinee = self._generator(config.eval.temperature)

    def reference(self, checkpoint: Path) -> Policy:
        """Return the frozen policy of a checkpoint, to measure KL divergence to."""
        model, _ = load_model(str(checkpoint), device=self.device, dtype=torch.float32)
        return self._policy(model.requires_grad_(False))

    @torch.no_grad()
    def sync(self, version: int) -> None:
        """Give the generators the present weights."""
        if self._playing is not self.model:
            for target, source in zip(self._playing.parameters(), self.model.parameters(), strict=True):
                target.copy_(source)
        self.player.weights_changed(version)
        self.examinee.weights_changed(version)

    def close(self) -> None:
        """Give back what the generators hold."""
        self.player.close()
        self.examinee.close()

    def _load(self, checkpoint: Path | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        wanted, seed = self.config.model, self.config.run.seed
        if checkpoint is not None or wanted.name is not None:
            name = wanted.name if checkpoint is None else str(checkpoint)
            model, tokenizer = load_model(name, device=self.device, dtype=torch.float32)
        else:
            env = self.config.env.recipe().make()
            texts = tokenizer_texts(env, TOKENIZER_EPISODES, seed=seed, detours=self.config.warmstart.detours)
            model, tokenizer = load_model(
                from_scratch=wanted.from_scratch, tokenizer_texts=texts, device=self.device, dtype=torch.float32, seed=seed
            )
            env.close()
        return model, tokenizer

    def _policy(self, model: PreTrainedModel) -> Policy:
        return Policy(
            model,
            temperature=self.config.rollout.temperature,
            chunk=self.config.rl.logit_chunk,
            token_budget=self.config.rl.token_budget,
            compute_dtype=self.compute_dtype,
            recompute_layers=self.config.run.gradient_checkpointing,
        )

    def _generator(self, temperature: float) -> HFGenerator:
        rollout = self.config.rollout
        return HFGenerator(
            self._playing,
            self.tokenizer,
            temperature=temperature,
            max_response_tokens=rollout.max_response_tokens,
            max_row_tokens=rollout.max_row_tokens,
            max_batch=rollout.concurrency,
        )
