"""The agent `checkpoint:DIR`: a Hugging Face model folder, run in this process.

A checkpoint of a training run uses that run's settings unless overridden: temperature and token limits are the agent's defaults, chat
settings and environment options those of an evaluation in the same environment (`empg_gym.evaluation`).

Importing this module does not import torch; creating an agent without the extra `train` raises `MissingDependencyError`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empg_gym.agents.base import Agent, AgentInfo, BaseAgent, TrainingOrigin
from empg_gym.errors import ConfigError, require
from empg_gym.trainers.run.latest import BEST, LATEST, named_by
from empg_gym.trainers.run.training_origin import settings_of_run

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv

_PURPOSE = "the agent checkpoint:DIR"
_DEFAULTS = {"temperature": 0.4, "max_response_tokens": 512, "max_row_tokens": None}
"""Defaults for a model without a training run; the temperature is the default of the trainer's evaluations."""


class CheckpointAgent(BaseAgent):
    """Runs a model with `empg_gym.trainers.generate.hf.HFGenerator`: many episodes at once, one key-value cache per episode.

    Args:
        folder: a Hugging Face folder; a run folder or its `checkpoints`, for the latest checkpoint; `RUN/best`, for the best one; or a name
            on the hub.
        temperature: 0 is greedy; None uses that of the training run's evaluations, or 0.4.
        top_p: 1 is off.
        top_k: 0 is off.
        max_response_tokens: maximum response length; None uses the training run's limit, or 512.
        max_row_tokens: maximum row length (prompts and responses); None uses the training run's limit, or the model's number of positions.
        device: "auto" uses CUDA if available; or "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" uses bfloat16 on CUDA and float32 elsewhere; or "float32", "bfloat16", "float16".
        concurrency: episodes to run at once.
        chat_template: a named chat template, a Jinja file or a template's text (`empg_gym.trainers.generate.chat_template`); None uses that
            of the folder, which for a checkpoint is the template of the training run, with its arguments.
        template_args: variables of the chat template, such as `enable_thinking`.
        trust_remote_code: run Python code from the model's folder, as you; needed by architectures that transformers lacks.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        ConfigError: the model or device does not exist, or a value is out of range.
        DataError: the configuration of the training run is damaged.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        temperature: float | None = None,
        top_p: float = 1.0,
        top_k: int = 0,
        max_response_tokens: int | None = None,
        max_row_tokens: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
        concurrency: int = 64,
        chat_template: str | None = None,
        template_args: dict[str, Any] | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        torch: Any = require("torch", "train", _PURPOSE)
        require("transformers", "train", _PURPOSE)
        from empg_gym.trainers.generate.backends import build_generator
        from empg_gym.trainers.generate.base import GenerationSettings
        from empg_gym.trainers.generate.chat_template import ChatTemplate
        from empg_gym.trainers.generate.sampling import Sampling
        from empg_gym.trainers.policy.models import load_model, resolve_device

        chosen, natural = resolve_device(device)
        types = {"auto": natural, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if dtype not in types:
            raise ConfigError(f"dtype must be one of {', '.join(types)}, not {dtype!r}")
        path = latest(folder)
        run = settings_of_run(Path(path))
        given = {"temperature": temperature, "max_response_tokens": max_response_tokens, "max_row_tokens": max_row_tokens}
        defaults = _DEFAULTS if run is None else {**_DEFAULTS, **run.agent}
        as_trained = {} if run is None else {name: run.agent[name] for name, value in given.items() if value is None and name in run.agent}
        limits: dict[str, Any] = {name: defaults[name] if value is None else value for name, value in given.items()}
        with _no_progress_bar():
            template = ChatTemplate(name=chat_template, args=template_args or {})
            model, tokenizer = load_model(
                path, chat_template=template, device=chosen, dtype=types[dtype], trust_remote_code=trust_remote_code
            )
        facts = {"folder": str(folder), "device": chosen.type, "dtype": str(types[dtype]).removeprefix("torch.")}
        self._info = AgentInfo(
            concurrency=concurrency,
            settings={
                "kind": "checkpoint",
                **facts,
                **limits,
                "top_p": top_p,
                "top_k": top_k,
                **({"chat_template": chat_template} if chat_template else {}),
                **({"template_args": template_args} if template_args else {}),
                **({"as_trained": as_trained} if as_trained else {}),
            },
            training=None if run is None else TrainingOrigin(folder=run.folder, recipe=run.recipe, options=as_trained, ignored=run.ignored),
            tokenizer=Path(path) / "tokenizer.json",
        )
        settings = GenerationSettings(
            sampling=Sampling(temperature=limits.pop("temperature"), top_p=top_p, top_k=top_k), max_batch=concurrency, **limits
        )
        self._generator = build_generator("hf", {}, model, tokenizer, settings)

    @property
    def info(self) -> AgentInfo:
        return self._info

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return self._generator.session(env, seed)


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing on standard error, and restore the user's setting afterwards."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def latest(folder: str | Path) -> str:
    """Return the model folder that `folder` names: itself, or the latest or the best checkpoint of a run.

    Raises:
        ConfigError: the run has no checkpoint.
        DataError: the file that names it is damaged.
    """
    path = Path(folder).expanduser()
    if (path / "config.json").is_file() and not (path / "checkpoints").is_dir():
        return str(folder)
    named = (path.parent / path.name, path.parent / "checkpoints" / path.name) if path.name in (BEST, LATEST) else ()
    for pointer in (*named, path / LATEST, path / "checkpoints" / LATEST):
        if pointer.is_file():
            return str(named_by(pointer))
    if path.name == BEST and (path.parent / "checkpoints").is_dir() and not path.exists():
        raise ConfigError(f"the run in {str(path.parent)!r} has no best checkpoint: it has evaluated no split (eval.splits)")
    if (path / "checkpoints").is_dir():
        raise ConfigError(f"the run in {str(folder)!r} has no checkpoint yet; name a folder with config.json and model.safetensors")
    return str(folder)
