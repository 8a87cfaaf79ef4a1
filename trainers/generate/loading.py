"""How models and tokenizers of others are read: the one policy of everything that loads them.

Rules:
    - Code in a model's folder never runs unless the user sets `trust_remote_code`; transformers is always given the answer, so that it
      never asks on the terminal.
    - Weights are read from safetensors only: other formats are pickles, which can run code.
    - A name that is not a folder is looked up on the hub once, within a few seconds. If the hub can't be reached, only its local cache is
      read.
    - A damaged or hostile folder can make a library raise anything: every exception becomes one sentence.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from empg_gym.errors import ConfigError, EMPGGymError

_HUB_SECONDS = 5.0
_PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"})
_SHOWN = 300


def tokenizer_options(*, trust_remote_code: bool = False) -> dict[str, Any]:
    """Return the arguments of a tokenizer's `from_pretrained` that the policy decides."""
    return {"trust_remote_code": trust_remote_code}


def weight_options(*, trust_remote_code: bool = False) -> dict[str, Any]:
    """Return the arguments of a model's `from_pretrained` that the policy decides."""
    return {"trust_remote_code": trust_remote_code, "use_safetensors": True}


def find_source(name: str) -> tuple[Path | str, dict[str, Any]]:
    """Return the folder or the hub name that `from_pretrained` reads, and additional arguments for it.

    Raises:
        ConfigError: the folder or hub name does not exist, or it lacks a model with safetensors.
    """
    folder = Path(name).expanduser()
    if folder.exists():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{name!r} is not a Hugging Face model folder: it has no config.json")
        for prefix in ("adapter_model", ""):
            check_safetensors(folder, prefix)
        return folder, {}
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise ConfigError(
            f"no model folder at {name!r}: expected a Hugging Face folder (config.json, safetensors, tokenizer) or a hub name"
        )
    return name, {} if _is_on_hub(name) else {"local_files_only": True}


def check_safetensors(folder: Path, prefix: str = "") -> None:
    """Raise if the weights whose file names begin with `prefix` are in a folder as pickles alone.

    Raises:
        ConfigError: they are.
    """
    files = [path for path in folder.glob(f"{prefix}*") if path.name != "training_args.bin"]
    pickled = [path.name for path in files if path.suffix in _PICKLES and "state" not in path.name]
    if pickled and not any(path.suffix == ".safetensors" for path in files):
        raise ConfigError(
            f"can't load the model {str(folder)!r}: {pickled[0]} holds pickled weights, and unpickling can run code; "
            "expected safetensors, as save_pretrained writes them"
        )


@contextlib.contextmanager
def loading(name: str) -> Iterator[None]:
    """Turn every exception of the block into one sentence about the model `name`.

    Raises:
        ConfigError: the block raised.
    """
    try:
        yield
    except (EMPGGymError, MemoryError):
        raise
    except Exception as error:
        said = f"{type(error).__name__}: {error}" if not isinstance(error, OSError | ValueError) else str(error)
        if "trust_remote_code" in said:
            raise ConfigError(
                f"the model {name!r} needs Python code from its own folder, which would run as you and is off by default; read it, then "
                "set trust_remote_code = true ([model] of a training configuration, --set agent.trust_remote_code=true in an evaluation)"
            ) from error
        hint = (
            "the folder is damaged or does not contain a causal language model"
            if Path(name).expanduser().exists()
            else "check the name and the network, or give a local folder"
        )
        raise ConfigError(f"can't load the model {name!r}: {hint} ({said.strip().partition(chr(10))[0][:_SHOWN]})") from error


def _is_on_hub(name: str) -> bool:
    """Return whether the hub has a model of this name; False if it can't be reached in time.

    Raises:
        ConfigError: the hub answers that it has none.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        HfApi().model_info(name, timeout=_HUB_SECONDS)
    except GatedRepoError:
        return True  # a model that is downloaded already can still be read
    except (RepositoryNotFoundError, HFValidationError):
        raise ConfigError(f"no model folder at {name!r}, and the hub has no model of this name that you may read") from None
    except Exception:  # whatever the network or the hub does
        return False
    return True
