"""`PolicyBundle`: device, model, tokenizer and the policy that is trained; `ModelBundle` adds the generators that play with its weights.

Rules:
    - Master weights are float32. Where the forward pass has another number type (bfloat16 on CUDA), it runs under autocast, and the
      generator plays with a copy in that type, which `publish` fills after every update; otherwise they share the master weights.
    - The reference of the KL divergence runs like the policy, float32 weights included: equal weights have divergence 0.
    - Training and evaluation sample at different temperatures from one generator's weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from empg_gym.trainers.collect.demonstrations import tokenizer_texts
from empg_gym.trainers.config.sections import TrainConfig
from empg_gym.trainers.generate.backends import build_generator
from empg_gym.trainers.generate.base import GenerationSettings
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trainers.policy.models import load_model, resolve_device
from empg_gym.trainers.policy.policy import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOKENIZER_EPISODES = 300
"""Expert episodes whose text a tokenizer from scratch is trained on."""


class PolicyBundle:
    """What an update needs: a model and its policy.

    Args:
        config: the whole configuration.
        checkpoint: folder to load weights and tokenizer from; None takes them from `config.model`.

    Raises:
        ConfigError: an absent device, or a model or an environment that can't be used.
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

    def reference(self, name: str | Path) -> Policy:
        """Return the frozen policy of a checkpoint or of a named model, to measure the KL divergence to."""
        model, _ = load_model(str(name), device=self.device, dtype=torch.float32)
        return self._policy(model.requires_grad_(False))

    def _load(self, checkpoint: Path | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        wanted, seed = self.config.model, self.config.run.seed
        if checkpoint is not None or wanted.name is not None:
            name = wanted.name if checkpoint is None else str(checkpoint)
            return load_model(name, device=self.device, dtype=torch.float32)
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


class ModelBundle(PolicyBundle):
    """The parts of a run that hold weights.

    Args:
        config: the whole configuration.
        checkpoint: folder to load weights and tokenizer from; None takes them from `config.model`.

    Raises:
        ConfigError: what a policy bundle raises, or a generator backend that can't be used.
    """

    def __init__(self, config: TrainConfig, checkpoint: Path | None = None) -> None:
        super().__init__(config, checkpoint)
        rollout = config.rollout
        settings = GenerationSettings(
            sampling=Sampling(temperature=rollout.temperature),
            max_response_tokens=rollout.max_response_tokens,
            max_row_tokens=rollout.max_row_tokens,
            max_batch=rollout.concurrency,
            dtype=self.compute_dtype,
        )
        self.train_generator = build_generator(rollout.backend, rollout.backend_options, self.model, self.tokenizer, settings)
        self.eval_generator = self.train_generator.with_sampling(Sampling(temperature=config.eval.temperature))

    def publish(self, version: int) -> None:
        """Give the current weights to the generators."""
        self.train_generator.update_weights(self.model.named_parameters(), version)

    def close(self) -> None:
        """Release what the generators hold."""
        self.eval_generator.close()
        self.train_generator.close()
