"""Models: any Hugging Face causal language model, or a tiny one from scratch, and the device to run it on."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.sections import FromScratch
from empg_gym.trainers.generate.chat_template import ChatTemplate, set_chat_template
from empg_gym.trainers.generate.loading import check_safetensors, find_source, loading, tokenizer_options, weight_options
from empg_gym.trainers.generate.weights import cast_weights
from empg_gym.trainers.policy.compose import compose_embeddings
from empg_gym.trainers.policy.copying import start_copying
from empg_gym.trainers.policy.lora import ADAPTER, ADAPTER_CONFIG, base_of_adapter, is_adapted, merge_adapter
from empg_gym.trainers.policy.matching import match_queries_and_keys

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def resolve_device(device: str = "auto") -> tuple[torch.device, torch.dtype]:
    """Return the device and its number type: bfloat16 on a CUDA device that supports it, else float32.

    Args:
        device: "auto" selects CUDA if available, else the CPU; or "cpu", "cuda", "cuda:1", "mps".

    Raises:
        ConfigError: the device is unknown or not available.
    """
    import torch

    name = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    try:
        chosen = torch.device(name)
    except RuntimeError:
        chosen = None
    if chosen is None or chosen.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"unknown device {device!r}: expected 'auto', 'cpu', 'cuda', 'cuda:<index>' or 'mps'")
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (chosen.index or 0) >= count:
            found = "no CUDA device is" if count == 0 else f"only {count} CUDA device{'s are' if count > 1 else ' is'}"
            raise ConfigError(
                f'device {device!r} was requested, but {found} available; use device = "auto" or "cpu", or a CUDA build of torch'
            )
        # Older devices emulate bfloat16, which is slower than float32.
        return chosen, torch.bfloat16 if torch.cuda.get_device_capability(chosen) >= (8, 0) else torch.float32
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError('device \'mps\' was requested, but it is not available; use device = "auto" or "cpu"')
    return chosen, torch.float32


def load_model(
    name_or_path: str | None = None,
    *,
    from_scratch: FromScratch | None = None,
    tokenizer_texts: Iterable[str] | None = None,
    whole_tokens: Iterable[str] = (),
    chat_template: ChatTemplate | None = None,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    seed: int = 0,
    trust_remote_code: bool = False,
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a model and its tokenizer, or create both.

    Args:
        name_or_path: a Hugging Face folder, or a name on the hub; or a folder of an adapter (`peft`) or of a checkpoint that holds nothing
            else, which is merged with its base model. Give exactly one of this and `from_scratch`.
        from_scratch: shape of a new model; its tokenizer is trained on `tokenizer_texts`.
        tokenizer_texts: text of the environment, for the new tokenizer.
        whole_tokens: strings that the new tokenizer keeps as one token.
        chat_template: settings of the tokenizer's chat template; None keeps those saved with it.
        device: where to put the weights.
        dtype: number type of the weights; None keeps that of the folder, and means float32 for a new model.
        seed: seed of the new weights.
        trust_remote_code: run Python code from the model's folder, as you; see `empg_gym.trainers.generate.loading`.

    Returns:
        (model, in evaluation mode; tokenizer, with chat template).

    Raises:
        ConfigError: not exactly one source is given, the folder is missing or does not contain a causal language model in safetensors, it
            needs code that is not trusted, the name can't be downloaded, or the tokenizer has no chat template or can't use the one that is
            wanted.
    """
    if (name_or_path is None) == (from_scratch is None):
        raise ConfigError("a model is either named (name or folder) or created from scratch: give exactly one of the two")
    if from_scratch is not None:
        if tokenizer_texts is None:
            raise ConfigError("a model from scratch needs tokenizer_texts, texts of the environment to train its tokenizer on")
        model, tokenizer = _make(from_scratch, tokenizer_texts, tuple(whole_tokens), device, dtype, seed)
    else:
        assert name_or_path is not None
        model, tokenizer = _load(name_or_path, device, dtype, trust_remote_code)
    with loading(name_or_path or ""):
        set_chat_template(tokenizer, chat_template or ChatTemplate())
    if tokenizer.chat_template is None:
        raise ConfigError(
            f"the tokenizer of {name_or_path!r} has no chat template; use a model with one, or set chat_template to a name or a file"
        )
    return model, tokenizer


def _make(
    shape: FromScratch, texts: Iterable[str], whole: tuple[str, ...], device: torch.device | str, dtype: torch.dtype | None, seed: int
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from empg_gym.trainers.generate.tokenizer import train_tokenizer

    if shape.width % shape.heads:
        raise ConfigError(f"width must be a multiple of heads; {shape.width} is not a multiple of {shape.heads}")
    if shape.width // shape.heads % 2:
        raise ConfigError(f"rotary positions need an even number of features per head, not {shape.width // shape.heads}")
    kv_heads = shape.kv_heads or shape.heads
    if shape.heads % kv_heads:
        raise ConfigError(f"heads must be a multiple of kv_heads; {shape.heads} is not a multiple of {kv_heads}")
    tokenizer = train_tokenizer(
        texts,
        max_words=shape.max_words,
        pieces=shape.pieces,
        separate_spaces=shape.separate_spaces,
        phrases=shape.phrases,
        names=shape.whole_names,
        markup=shape.markup_words,
        whole=whole,
    )
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.width,
        intermediate_size=shape.mlp or 2 * shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=shape.max_positions,
        tie_word_embeddings=shape.tie_embeddings,
        initializer_range=shape.init_std,
        use_sliding_window=False,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config._attn_implementation = "sdpa"
    tokenizer.model_max_length = shape.max_positions
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    if shape.compose_embeddings:
        for layer in {model.get_input_embeddings(), model.get_output_embeddings()}:
            compose_embeddings(layer.weight, tokenizer, markup=shape.markup_words)
    if shape.match_scale > 0:
        first = model.model.layers[0].self_attn
        match_queries_and_keys(first.q_proj.weight, first.k_proj.weight, head_size=shape.width // shape.heads, scale=shape.match_scale)
    if shape.copying:
        start_copying(model, seed=seed)
    return _ready(cast_weights(model, dtype or torch.float32), device), tokenizer


def _load(
    name: str, device: torch.device | str, dtype: torch.dtype | None, trust: bool, *, is_base: bool = False
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    folder = Path(name).expanduser()
    adapter = _adapter_in(folder)
    if adapter is not None:
        if is_base:
            raise ConfigError(f"{name!r} is an adapter, and another adapter names it as its base model; expected a whole model")
        return _load_merged(folder, adapter, device, dtype, trust)
    source, found = find_source(name)
    with loading(name):
        from transformers import AutoModelForCausalLM

        tokenizer = _load_tokenizer(source, found, trust)
        model = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype or "auto", attn_implementation="sdpa", **found, **weight_options(trust_remote_code=trust)
        )
    if is_adapted(model):
        raise ConfigError(f"{name!r} is an adapter on the hub: download it, and name its folder")
    return _ready(model, device), tokenizer


def _load_tokenizer(source: Path | str, found: dict[str, Any], trust: bool) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    from empg_gym.trainers.generate.file_tokenizer import TokenizersBackend

    # With this class the tokenizer is saved again exactly as it was loaded.
    generic = isinstance(source, Path) and _generic_tokenizer(source)
    reader: Any = TokenizersBackend if generic else AutoTokenizer
    tokenizer: PreTrainedTokenizerBase = reader.from_pretrained(source, **found, **tokenizer_options(trust_remote_code=trust))
    return tokenizer


def _load_merged(
    folder: Path, adapter: Path, device: torch.device | str, dtype: torch.dtype | None, trust: bool
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Return the base model with the adapter merged, and the tokenizer of `folder`, or of the base model if it has none."""
    check_safetensors(adapter, "adapter_model")
    model, tokenizer = _load(base_of_adapter(adapter), device, dtype, trust, is_base=True)
    with loading(str(folder)):
        if (folder / "tokenizer_config.json").is_file():
            tokenizer = _load_tokenizer(folder, {}, trust)
        return merge_adapter(model, adapter), tokenizer


def _adapter_in(folder: Path) -> Path | None:
    """Return the adapter's folder if `folder` holds an adapter and not a whole model."""
    if (folder / ADAPTER_CONFIG).is_file():
        return folder
    nested = folder / ADAPTER
    return nested if (nested / ADAPTER_CONFIG).is_file() and not (folder / "config.json").is_file() else None


def _ready(model: Any, device: torch.device | str) -> PreTrainedModel:
    ready: PreTrainedModel = model.to(device=device).eval()
    return ready


def _generic_tokenizer(folder: Path) -> bool:
    """Whether the folder's tokenizer was saved as the generic class, which is fully described by tokenizer.json."""
    try:
        saved = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError):
        return False
    return saved in ("TokenizersBackend", "PreTrainedTokenizerFast")
