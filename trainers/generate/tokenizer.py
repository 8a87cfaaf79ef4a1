"""A small tokenizer trained on the text of an environment, for models trained from scratch.

Rules:
    - Byte-level: any text is encoded without loss, `decode(encode(x)) == x`.
    - Word-level for frequent words: each, with its leading space, is one token, so that rows are short and a name is copied in one token.
      Rarer words are spelled with merged pieces, or with single bytes. On request the same holds for phrases and for names with a number.
    - The chat template needs one token to open a message and one to end a response. It only appends, so that
      `empg_gym.trainers.generate.chat.ChatRow` can render a step without rendering the conversation again.
    - The same texts give the same tokenizer, in any order and in any process.

The words are in the vocabulary of a byte-pair model with `ignore_merges` (as in Llama 3): a word of the vocabulary is one token, and merges
apply to all others.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from empg_gym.errors import ConfigError

if TYPE_CHECKING:
    from empg_gym.trainers.generate.file_tokenizer import TokenizersBackend

END = "<|end|>"
"""Ends a response; the end-of-sequence token."""
PAD = "<|pad|>"
ROLES = ("system", "user", "assistant", "tool")
"""Roles with their own token."""
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] }}{% if message['role'] == 'assistant' %}{{ '<|end|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""`<|system|>…<|user|>…<|assistant|>…<|end|><|user|>…`: the next role's token ends a message that the model did not write."""


def train_tokenizer(
    texts: Iterable[str],
    *,
    min_frequency: int = 2,
    max_words: int = 16_000,
    pieces: int = 256,
    separate_spaces: bool = False,
    phrases: int = 0,
    names: bool = False,
    markup: bool = False,
    whole: Sequence[str] = (),
) -> TokenizersBackend:
    """Train a tokenizer.

    Args:
        texts: observations, prompts and responses as the model will see them.
        min_frequency: minimum number of occurrences for a word to become a token.
        max_words: maximum number of words, the most frequent first.
        pieces: merges trained on all words, from which the other words are spelled.
        separate_spaces: whether merges exclude the space before a word, so that a word is spelled alike with and without it.
        phrases: maximum number of word sequences that are one token (`empg_gym.trainers.generate.phrases`).
        names: whether a word and the number after it are one token ("mug 2"), where that is frequent.
        markup: whether words are those of marked-up text, and what an action clicks on ("click[pack of 3]") is one token.
        whole: strings that are always one token, wherever they occur, such as the tags of a dialogue format.

    Returns:
        a tokenizer with special tokens and chat template; transformers and vLLM load the result of its `save_pretrained`.

    Raises:
        ConfigError: the texts are empty.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE

    from empg_gym.trainers.generate.file_tokenizer import TokenizersBackend
    from empg_gym.trainers.generate.phrases import clicked_names, find_phrases, splitter, words_of

    parts = _outside(texts, whole)
    clicked = clicked_names(parts) if markup else []
    found = find_phrases(parts, phrases, names=clicked, markup=markup)
    words = splitter([*found, *(name for name in clicked if len(words_of(name, markup=True)) > 1)], names=names, markup=markup)
    counts: Counter[str] = Counter()
    for part, times in Counter(parts).items():
        for word, _ in words.pre_tokenize_str(part):
            counts[word] += times
    if not counts:
        raise ConfigError("a tokenizer can't be trained without text: pass prompts, observations and responses of the environment")
    merges = _merges(parts, pieces, separate_spaces=separate_spaces)
    vocabulary = {token: index for index, token in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    frequent = sorted((word for word, count in counts.items() if count >= min_frequency), key=lambda word: (-counts[word], word))
    for token in [left + right for left, right in merges] + frequent[:max_words]:
        vocabulary.setdefault(token, len(vocabulary))

    tokenizer = Tokenizer(BPE(vocab=vocabulary, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in (PAD, END, *(f"<|{role}|>" for role in ROLES))])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in whole])
    return TokenizersBackend(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def _outside(texts: Iterable[str], whole: Sequence[str]) -> list[str]:
    """Return the parts of the texts between the strings of `whole`."""
    if not whole:
        return list(texts)
    cut = re.compile("|".join(re.escape(token) for token in sorted(whole, key=len, reverse=True)))
    return [part for text in texts for part in cut.split(text)]


def _merges(parts: list[str], pieces: int, *, separate_spaces: bool) -> list[tuple[str, str]]:
    """Return the first `pieces` byte-pair merges of the texts (Sennrich et al. 2016)."""
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer

    words: pre_tokenizers.PreTokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if separate_spaces:
        words = pre_tokenizers.Sequence([pre_tokenizers.Split(" ", "isolated"), words])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = words
    trainer = BpeTrainer(vocab_size=len(alphabet) + pieces, min_frequency=2, initial_alphabet=alphabet, show_progress=False)
    learner.train_from_iterator(parts, trainer)
    return [(left, right) for left, right in json.loads(learner.to_str())["model"]["merges"]]
