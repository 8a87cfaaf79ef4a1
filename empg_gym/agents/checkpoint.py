"""The agent `checkpoint:DIR`: a Hugging Face model folder, played in this process.

Nothing here imports torch until an agent is made; without the extra `train` that is a `MissingDependencyError`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from empg_gym.errors import ConfigError, require

if TYPE_CHECKING:
    from empg_gym.agent_env import LLMAgentEnv
    from empg_gym.agents.base import Agent

_PURPOSE = "the agent checkpoint:DIR"


class CheckpointAgent:
    """Plays a model with `empg_gym.trainers.generate.hf.HFGenerator`: many episodes at once, one key-value cache an episode.

    Args:
        folder: a Hugging Face folder; a run's folder or its `checkpoints` stand for the latest checkpoint; else a name on the hub.
        temperature: 0 is greedy; the default is that of the trainer's evaluation.
        top_p: 1 is off.
        top_k: 0 is off.
        max_response_tokens: a response is cut behind this many.
        max_row_tokens: prompt and responses of a row; None takes the model's number of positions.
        device: "auto" takes CUDA where there is one; or "cpu", "cuda", "cuda:1", "mps".
        dtype: "auto" takes bfloat16 on CUDA and float32 elsewhere; or "float32", "bfloat16", "float16".
        concurrency: episodes under way at once.

    Raises:
        MissingDependencyError: torch or transformers is not installed.
        ConfigError: no such model or device, or a value out of range.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        temperature: float = 0.4,
        top_p: float = 1.0,
        top_k: int = 0,
        max_response_tokens: int = 512,
        max_row_tokens: int | None = None,
        device: str = "auto",
        dtype: str = "auto",
        concurrency: int = 64,
    ) -> None:
        torch: Any = require("torch", "train", _PURPOSE)
        require("transformers", "train", _PURPOSE)
        from empg_gym.trainers.generate.hf import HFGenerator
        from empg_gym.trainers.models import load_model, resolve_device

        chosen, natural = resolve_device(device)
        types = {"auto": natural, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
        if dtype not in types:
            raise ConfigError(f"dtype must be one of {', '.join(types)}, not {dtype!r}")
        model, tokenizer = load_model(latest(folder), device=chosen, dtype=types[dtype])
        self.preferred_concurrency = concurrency
        self._settings = {
            "temperature": temperature,
            "top_p": top_p,
            "top_k": top_k,
            "max_response_tokens": max_response_tokens,
            "max_row_tokens": max_row_tokens,
        }
        self._facts = {"folder": str(folder), "device": chosen.type, "dtype": str(types[dtype]).removeprefix("torch.")}
        self._generator = HFGenerator(
            model,
            tokenizer,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            max_response_tokens=max_response_tokens,
            max_row_tokens=max_row_tokens,
            max_batch=concurrency,
        )

    def describe(self) -> dict[str, Any]:
        """Return what decides the answers, for a run's configuration."""
        return {"kind": "checkpoint", **self._facts, **self._settings}

    def session(self, env: LLMAgentEnv, seed: int) -> Agent:
        return self._generator.session(env, seed)


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
