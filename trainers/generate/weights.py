"""Conversion of weights to another number type."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def cast_weights(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Convert the weights of a model to another number type, in place, and return it.

    Unlike `model.to(dtype)`, this leaves the buffers alone: rotary frequencies in bfloat16 would shift the phases of tokens in long rows by
    radians, so that the copy would not be the same policy as the model.
    """
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    return model
