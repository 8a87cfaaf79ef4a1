"""Embeddings of tokens of several words, such as "mug 2": they start as the sum of their words' embeddings.

Tokens that share a word are then similar from the start: "mug 1", "mug 2" and the "mug" of an instruction. What a model learns about one
(to look for the instruction's word in what it reads, and to copy the name found there) holds for the others as well. Without it, the
embeddings of such tokens are unrelated, and each relation is learned alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from empg_gym.trainers.generate.phrases import words_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def compose_embeddings(weight: Tensor, tokenizer: PreTrainedTokenizerBase, *, markup: bool = False) -> None:
    """Replace the rows of tokens of several words, in place, by the sum of their words' rows divided by the root of their number.

    A word that is not a token of the vocabulary is represented by the row of the first token that contains it.

    Args:
        weight: [V, D] independent random embeddings; the variance of each row stays the same.
        tokenizer: gives the texts of the rows.
        markup: whether words are those of marked-up text (`empg_gym.trainers.generate.phrases`).
    """
    special = set(tokenizer.all_special_ids)
    initial = weight.detach().clone()
    parts = {token: words_of(str(tokenizer.decode([token])), markup=markup) for token in range(len(tokenizer)) if token not in special}
    rows: dict[str, int] = {words[0]: token for token, words in parts.items() if len(words) == 1}
    for token, words in parts.items():
        for word in words:
            rows.setdefault(word, token)
    with torch.no_grad():
        for token, words in parts.items():
            if len(words) > 1:
                weight[token] = initial[[rows[word] for word in words]].sum(0) / len(words) ** 0.5
