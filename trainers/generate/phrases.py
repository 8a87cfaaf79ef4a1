"""Phrases and names as single tokens, for tokenizers from scratch: shorter rows, and a name that is copied in one token.

Rules:
    - A name is a word followed by a number ("mug 2").
    - A phrase is a sequence of words without digits and without nouns, the words that form names: the "mug" of an instruction stays a token
      that a model can compare with "mug 2". Phrases are found as byte-pair encoding finds pieces, with words instead of bytes
      (superword tokens, as in SuperBPE, Liu et al. 2025): the most frequent pair of neighbours is joined, again and again.
    - A phrase is matched only where neither a word nor a number continues it, the longest first.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable

from tokenizers import Regex, pre_tokenizers

_NAME = r" ?\p{L}+ \p{N}+"
_NOUN = re.compile(r"([^\W\d_]+) \d")
_WORD = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The byte-level pattern of GPT-2."""
_MIN_FREQUENCY = 20
"""Minimum number of occurrences of a phrase."""
_DIGIT = re.compile(r"\d")


def splitter(phrases: Iterable[str] = (), *, names: bool = False) -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer that cuts a text into phrases, names and words.

    Args:
        phrases: word sequences to keep whole.
        names: whether to keep a word and the number after it together.
    """
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    parts = [rf"(?:{'|'.join(map(re.escape, longest_first))})(?![\p{{L}}\p{{N}}]| \p{{N}})"] if longest_first else []
    parts += [_NAME] if names else []
    if not parts:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(Regex("|".join([*parts, _WORD])), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def words_of(text: str) -> list[str]:
    """Return the words, numbers and punctuation of a text, with the spaces before them."""
    return [word for word, _ in pre_tokenizers.Split(Regex(_WORD), "isolated").pre_tokenize_str(text)]


def find_phrases(texts: Iterable[str], count: int) -> list[str]:
    """Return up to `count` frequent phrases of the texts, the first found first."""
    cut = pre_tokenizers.Split(Regex(f"{_NAME}|{_WORD}"), "isolated")
    runs: Counter[tuple[str, ...]] = Counter()
    counted = Counter(texts)
    nouns = {noun for text in counted for noun in _NOUN.findall(text)}
    for text, times in counted.items():
        run: list[str] = []
        for word, _ in [*cut.pre_tokenize_str(text), ("0", None)]:
            if _DIGIT.search(word) is None and word.strip() not in nouns:
                run.append(word)
                continue
            runs[tuple(run)] += times
            run = []
    phrases: list[str] = []
    while len(phrases) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for words, times in runs.items():
            for pair in itertools.pairwise(words):
                pairs[pair] += times
        best = max(pairs, key=lambda pair: (pairs[pair], pair), default=None)
        if best is None or pairs[best] < _MIN_FREQUENCY:
            break
        phrases.append("".join(best))
        joined: Counter[tuple[str, ...]] = Counter()
        for words, times in runs.items():
            joined[_join(words, best)] += times
        runs = joined
    return phrases


def _join(words: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    joined: list[str] = []
    for word in words:
        if joined and (joined[-1], word) == pair:
            joined[-1] += word
        else:
            joined.append(word)
    return tuple(joined)
