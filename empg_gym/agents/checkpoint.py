"""The agent `checkpoint:DIR`: a Hugging Face model folder, played in this process.

The checkpoint of a training run is played as in that run: its temperature and its limits of tokens are the defaults here, its conversation
and its environment's options are those of an evaluation in the same environment (`empg_gym.evaluation`).

Nothing here imports torch until an agent is made; without the extra `train` that is a `MissingDependencyError`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empg_gym.agents.training_run import run_of
from empg_gym.errors import ConfigError, require

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv
    from empg_gym.agents.base import Agent

_PURPOSE = "the agent checkpoint:DIR"
_DEFAULTS = {"temperature": 0.4, "max_response_tokens": 512, "max_row_tokens": None}
"""For a model that is no training run's checkpoint; the temperature is the default of the trainer's evaluation."""


class CheckpointAgent:
    """Plays a model with `empg_gym.trainers.generate.hf.HFGenerator`: many episodes at once, one key-value cache an episode.

    Args:
        folder: a Hugging Face folder; a run's folder or its `checkpoints` stand for the latest checkpoint; else a name on the hub.
        temperature: 0 is greedy; None takes that of the training run's evaluations, else 0.4.
        top_p: 1 is off.
        top_k: 0 is off.
        max_response_tokens: a response is cut behind this many; None takes the training run's limit, else 512.
        max_row_tokens: prompt and responses of a row; None takes the training run's limit, else the model's number of positions.
        device: "auto" takes CUDA where there is one; or "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" takes bfloat16 on CUDA and float32 elsewhere; or "float32", "bfloat16", "float16".
        concurrency: episodes under way at once.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        ConfigError: no such model or device, or a value out of range.
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
    ) -> None:
        torch: Any = require("torch", "train", _PURPOSE)
        require("transformers", "train", _PURPOSE)
        from empg_gym.trainers.generate.hf import HFGenerator
        from empg_gym.trainers.policy.models import load_model, resolve_device

        chosen, natural = resolve_device(device)
        types = {"auto": natural, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if dtype not in types:
            raise ConfigError(f"dtype must be one of {', '.join(types)}, not {dtype!r}")
        path = latest(folder)
        self.training_run = run_of(Path(path))
        """The run that the model is a checkpoint of, if any: an evaluation plays as it did."""
        given = {"temperature": temperature, "max_response_tokens": max_response_tokens, "max_row_tokens": max_row_tokens}
        defaults = _DEFAULTS if self.training_run is None else self.training_run.agent
        self.as_trained = {} if self.training_run is None else {name: defaults[name] for name, value in given.items() if value is None}
        """Options that the run decided, as nobody else did."""
        limits: dict[str, Any] = {name: defaults[name] if value is None else value for name, value in given.items()}
        with _no_progress_bar():
            model, tokenizer = load_model(path, device=chosen, dtype=types[dtype])
        self.preferred_concurrency = concurrency
        self._settings = {**limits, "top_p": top_p, "top_k": top_k}
        self._facts = {"folder": str(folder), "device": chosen.type, "dtype": str(types[dtype]).removeprefix("torch.")}
        self._generator = HFGenerator(model, tokenizer, top_p=top_p, top_k=top_k, max_batch=concurrency, **limits)

    def describe(self) -> dict[str, Any]:
        """Return what decides the answers, for a run's configuration."""
        return {"kind": "checkpoint", **self._facts, **self._settings, **({"as_trained": self.as_trained} if self.as_trained else {})}

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return self._generator.session(env, seed)


@contextlib.contextmanager
def _no_progress_bar() -> Iterator[None]:
    """Keep transformers from drawing on standard error; its setting is the user's own otherwise."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def latest(folder: str | Path) -> str:
    """Return the model folder that `folder` stands for: itself, or the newest checkpoint of a run.

    Raises:
        ConfigError: the run has no checkpoint.
    """
    path = Path(folder).expanduser()
    if (path / "config.json").is_file() and not (path / "checkpoints").is_dir():
        return str(folder)
    for pointer in (path / "latest", path / "checkpoints" / "latest"):
        if pointer.is_file():
            return str(pointer.parent / pointer.read_text().strip())
    if (path / "checkpoints").is_dir():
        raise ConfigError(f"the run in {str(folder)!r} has no checkpoint yet; name a folder with config.json and model.safetensors")
    return str(folder)
