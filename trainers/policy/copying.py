"""Attention that copies from the start.

To copy a name piece by piece, a model has to find where it read the last pieces before, and repeat what followed. Two layers can do this
together (the induction heads of Elhage et al. 2021 and Olsson et al. 2022): heads of the first layer write the previous tokens into each
token's state; heads of the second layer compare the latest tokens with these and attend to what came after them. Small models form this
pair late, because neither half is useful without the other; copying then appears at once after millions of tokens. Here both halves are
part of the initial weights. All weights keep learning.

The parts:
    - Head h = 0, 1 of the first layer attends to the token h + 1 places back. Its queries and keys are constant vectors (the biases), which
      the rotary embedding turns into a function of the distance alone. It writes the token found, projected, into a subspace.
    - The same heads of the second layer compare the token and its predecessor with the two tokens before each earlier position. They use
      the slow rotary frequencies, which hardly depend on the distance.
    - Embeddings are enlarged, so that what the other heads and layers add to a state does not drown them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from empg_gym.errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_SHARPNESS = 7.0
"""Size of the constant queries and keys: about 99 % of a head's attention is on its place."""
_WRITTEN = 2.0
"""Size of what the first layer writes, relative to its input."""
_COMPARED = 3.0
"""Size of the queries and keys of the second layer; the scores grow with its square."""
_EMBEDDING_STD = 0.5


def start_copying(model: PreTrainedModel, *, seed: int) -> None:
    """Replace the initial weights of two heads in each of the first two layers, in place.

    Args:
        model: a Qwen2-type model from scratch, with as many heads of keys as of queries.
        seed: seed of the random subspaces.

    Raises:
        ConfigError: the model has too few layers or heads, too small heads, shared keys, or one embedding for input and output.
    """
    config: Any = model.config
    decoder: Any = model.model
    size = config.hidden_size // config.num_attention_heads
    if config.num_hidden_layers < 2 or config.num_attention_heads < 3 or size < 8:
        raise ConfigError("copying needs at least 2 layers and 3 heads of at least 8 features each (layers, heads, width)")
    if config.num_key_value_heads != config.num_attention_heads:
        raise ConfigError("copying needs as many heads of keys and values as of queries: omit kv_heads")
    if config.tie_word_embeddings:
        raise ConfigError("copying enlarges the input embeddings: set tie_embeddings = false")
    generator = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(config.hidden_size, config.hidden_size, generator=generator))[0].T
    token, previous, second_previous = basis[: 3 * size].split(size)
    embeddings = decoder.embed_tokens.weight
    first, second = (layer.self_attn for layer in decoder.layers[:2])
    with torch.no_grad():
        embeddings.mul_(_EMBEDDING_STD / embeddings.std())
        for head, subspace in enumerate((previous, second_previous)):
            rows = slice(head * size, (head + 1) * size)
            _look_back(first, rows, head + 1, decoder.rotary_emb.inv_freq)
            first.v_proj.weight[rows] = token
            first.o_proj.weight[:, rows] = _WRITTEN * subspace.T
            _compare(second, head, size, ((token, previous), (previous, second_previous)))


def _look_back(attention: Any, rows: slice, places: int, frequencies: Tensor) -> None:
    """Make a head attend to the token `places` back; `frequencies` are those of the rotary embedding, [d / 2]."""
    for projection in (attention.q_proj, attention.k_proj):
        projection.weight[rows] = 0.0
    angles = places * frequencies
    attention.q_proj.bias[rows] = _SHARPNESS * torch.cat([torch.ones_like(angles), torch.zeros_like(angles)])
    attention.k_proj.bias[rows] = _SHARPNESS * torch.cat([angles.cos(), angles.sin()])


def _compare(attention: Any, head: int, size: int, pairs: tuple[tuple[Tensor, Tensor], ...]) -> None:
    """Make a head score positions by the products of their subspaces: (of the query, of the key), each [d, D]."""
    rows = slice(head * size, (head + 1) * size)
    query, key = torch.zeros_like(attention.q_proj.weight[rows]), torch.zeros_like(attention.k_proj.weight[rows])
    slow = torch.arange(size // 4, size // 2)
    for place, (of_query, of_key) in enumerate(pairs):
        features = slow[place :: len(pairs)]
        features = torch.cat([features, features + size // 2])
        chosen = torch.arange(head * len(features), (head + 1) * len(features)) % size
        query[features], key[features] = _COMPARED * of_query[chosen], _COMPARED * of_key[chosen]
    attention.q_proj.weight[rows], attention.k_proj.weight[rows] = query, key
