"""Weights in another number type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Give the weights of a model another number type, in place, and return it.

    Buffers keep theirs, which `model.to(dtype)` would not let them: rotary frequencies in bfloat16 put the tokens of a long row at
    places that are radians off, so that the copy would be another policy than the model.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model
