"""`PolicyBundle`: device, model, tokenizer and the policy that is trained; `ModelBundle` adds the generators that play with its weights.

Rules:
    - Master weights are float32. Where the forward pass has another number type (bfloat16 on CUDA), it runs under autocast, and the
      generator plays with a copy in that type, which `publish` fills after every update; otherwise they share the master weights.
    - The reference of the KL divergence runs like the policy, float32 weights included: equal weights have divergence 0.
    - With adapters (LoRA), the frozen weights have the number type of the forward pass. A generator in this process runs the adapted
      model itself; others receive merged weights. The reference is the same model with the adapters that it had at the beginning of
      reinforcement learning, or without.
    - Training and evaluation sample at different temperatures from one generator's weights.
    - Wherever the generator has a copy of the weights, a parity check follows each copy.
    - `rl.old_logprobs = "rollout"` is for a generator with weights in float32, like the master weights. Elsewhere rounding would be part of
      the policy ratio, and read as clipping and KL divergence.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from empg_gym.errors import ConfigError
from empg_gym.trainers.collect.demonstrations import tokenizer_texts
from empg_gym.trainers.collect.recordings import read_recordings, recorded_texts
from empg_gym.trainers.config.sections import LoraConfig, TrainConfig
from empg_gym.trainers.generate.backends import build_generator
from empg_gym.trainers.generate.base import GenerationSettings, Generator
from empg_gym.trainers.generate.chat_template import ChatTemplate
from empg_gym.trainers.generate.parity import TOKENS, check_parity
from empg_gym.trainers.generate.sampling import Sampling
from empg_gym.trainers.policy.lora import ADAPTER, add_adapter, load_adapter_state, plain_parameters, read_adapter
from empg_gym.trainers.policy.models import load_model, resolve_device
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.policy.reference import AdapterReference, Reference

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


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

    def reference(self, name: str | Path) -> Reference:
        """Return the frozen policy of a checkpoint or of a named model, to measure the KL divergence to."""
        if self.config.model.lora is not None:
            adapter = Path(name) / ADAPTER
            return AdapterReference(self.policy, read_adapter(adapter) if adapter.is_dir() else {})
        trust = self.config.model.trust_remote_code
        model, _ = load_model(str(name), device=self.device, dtype=torch.float32, trust_remote_code=trust)
        return self._policy(model.requires_grad_(False))

    def _load(self, checkpoint: Path | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        wanted, seed, template = self.config.model, self.config.run.seed, ChatTemplate.of(self.config.model)
        if wanted.lora is not None:
            return self._load_adapted(wanted.lora, str(wanted.name), checkpoint)
        if checkpoint is not None or wanted.name is not None:
            name = wanted.name if checkpoint is None else str(checkpoint)
            kept = None if checkpoint is not None else template  # a checkpoint has its template
            trust = wanted.trust_remote_code
            return load_model(name, chat_template=kept, device=self.device, dtype=torch.float32, trust_remote_code=trust)
        env = self.config.env.recipe().make()
        if self.config.warmstart.trajectories:
            texts = recorded_texts(read_recordings(self.config, env), env)
        else:
            settings = self.config.warmstart
            assert wanted.from_scratch is not None
            count = wanted.from_scratch.tokenizer_episodes
            texts = tokenizer_texts(env, count, seed=seed, detours=settings.detours, thoughts=settings.thoughts)
        model, tokenizer = load_model(
            from_scratch=wanted.from_scratch,
            tokenizer_texts=texts,
            chat_template=template,
            device=self.device,
            dtype=torch.float32,
            seed=seed,
        )
        env.close()
        return model, tokenizer

    def _load_adapted(self, lora: LoraConfig, name: str, checkpoint: Path | None) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
        template = ChatTemplate.of(self.config.model)
        trust = self.config.model.trust_remote_code
        model, tokenizer = load_model(name, chat_template=template, device=self.device, dtype=self.compute_dtype, trust_remote_code=trust)
        folder = Path(name).expanduser()
        base = str(folder.resolve()) if folder.exists() else name
        add_adapter(model, lora, seed=self.config.run.seed, base=base)
        if checkpoint is not None:
            load_adapter_state(model, read_adapter(checkpoint / ADAPTER), str(checkpoint))
        return model, tokenizer

    def _policy(self, model: PreTrainedModel) -> Policy:
        return Policy(
            model,
            temperature=self.config.rollout.temperature,
            chunk=self.config.rl.logit_chunk,
            token_budget=self.config.rl.token_budget,
            compute_dtype=self.compute_dtype,
            recompute_layers=self.config.run.gradient_checkpointing,
            compiled=self.config.run.compile,
        )


class ModelBundle(PolicyBundle):
    """The parts of a run that hold weights.

    Args:
        config: the whole configuration.
        checkpoint: folder to load weights and tokenizer from; None takes them from `config.model`.

    Raises:
        ConfigError: what a policy bundle raises, a generator backend that can't be used, or `rl.old_logprobs = "rollout"` with a generator
            whose weights are not float32.
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
        self._probe = None if self.train_generator.shares_weights else self.train_generator.with_sampling(settings.sampling, TOKENS)
        _check_number_types(config, self.train_generator)

    def publish(self, version: int) -> None:
        """Pass the current weights to the generators, and check that they arrived.

        Raises:
            TrainingError: the generator's log-probabilities are not those of the training model.
        """
        tensors = self.model.named_parameters() if self.train_generator.shares_weights else plain_parameters(self.model)
        self.train_generator.update_weights(tensors, version)
        if self._probe is not None:
            check_parity(self._probe, lambda rows: self.policy.score_rows(rows).logprobs, version)

    def close(self) -> None:
        """Release what the generators hold."""
        self.eval_generator.close()
        self.train_generator.close()


def _check_number_types(config: TrainConfig, generator: Generator) -> None:
    if config.rl.steps and config.rl.old_logprobs == "rollout" and generator.dtype is not torch.float32:
        name = str(generator.dtype).removeprefix("torch.")
        raise ConfigError(
            f'rl.old_logprobs = "rollout" needs a generator in float32, the type of the master weights, and this one is in {name}: '
            'rounding would be read as clipping and KL divergence; set rl.old_logprobs = "recompute" (and rl.rollout_correction = "tis" '
            'to correct for the difference), or run.dtype = "float32"'
        )
