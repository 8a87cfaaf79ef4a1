"""Phrases and names as single tokens, for tokenizers from scratch: shorter rows, and a name that is copied in one token.

Rules:
    - A name is a word followed by a number ("mug 2").
    - A phrase is a sequence of words without digits and without nouns, the words that form names: the "mug" of an instruction stays a token
      that a model can compare with "mug 2". Phrases are found as byte-pair encoding finds pieces, with words instead of bytes
      (superword tokens, as in SuperBPE, Liu et al. 2025): the most frequent pair of neighbours is joined, again and again.
    - A phrase is matched only where neither a word nor a number continues it, the longest first.
    - Words of marked-up text ("B0WRC4R8BX [SEP] 4x-large") consist of letters and digits, and the space after punctuation belongs to the
      punctuation. A name is what an action clicks on; it is the same token in " [SEP] pack of 3 [SEP] ", in "size: pack of 3" and in
      "click[pack of 3]". Phrases contain no names here either.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from tokenizers import Regex, pre_tokenizers

_NAME = r" ?\p{L}+ \p{N}+"
_NOUN = re.compile(r"([^\W\d_]+) \d")
_WORD = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The byte-level pattern of GPT-2."""
_MARKUP_WORD = r" ?[\p{L}\p{N}]+(?:[-.'][\p{L}\p{N}]+)*| ?[^\s\p{L}\p{N}]+ ?|\s+(?!\S)|\s+"
"""Letters and digits, also around a hyphen, a dot or an apostrophe, form one word; the space after punctuation belongs to it."""
_END = r"(?![\p{L}\p{N}]| \p{N})"
"""Neither a word nor a number continues a phrase."""
_MARKUP_END = r"(?:(?<![\p{L}\p{N}])|(?![-.']?[\p{L}\p{N}]))"
"""The phrase's last word is whole."""
_CLICK = re.compile(r"\w+\[([^\[\]\n]+)\]")
_LONGEST_NAME = 5
_MIN_FREQUENCY = 20
"""Minimum number of occurrences of a phrase."""
_DIGIT = re.compile(r"\d")


def clicked_names(texts: Iterable[str]) -> list[str]:
    """Return the names of up to five words in actions of the form "click[name]" that occur more than once, sorted."""
    found = Counter(match[1] for text in texts if (match := _CLICK.fullmatch(text)) and len(match[1].split()) <= _LONGEST_NAME)
    return sorted(name for name, count in found.items() if count > 1)


def splitter(phrases: Iterable[str] = (), *, names: bool = False, markup: bool = False) -> pre_tokenizers.PreTokenizer:
    """Return the pre-tokenizer that cuts a text into phrases, names and words.

    Args:
        phrases: word sequences to keep whole.
        names: whether to keep a word and the number after it together.
        markup: whether words are those of marked-up text; see the module docstring.
    """
    phrases = list(phrases)
    if not phrases and not names and not markup:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    split = pre_tokenizers.Split(Regex(_pattern(phrases, names=names, markup=markup)), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _pattern(phrases: Iterable[str], *, names: bool, markup: bool) -> str:
    """Return the expression that matches a phrase, the longest first, a name, or a word."""
    longest_first = sorted(phrases, key=lambda phrase: (-len(phrase), phrase))
    end = _MARKUP_END if markup else _END
    parts = [rf"(?:{'|'.join(map(re.escape, longest_first))}){end}"] if longest_first else []
    return "|".join([*parts, *([_NAME] if names else []), _MARKUP_WORD if markup else _WORD])


def words_of(text: str, *, markup: bool = False) -> list[str]:
    """Return the words, numbers and punctuation of a text, with their spaces."""
    return [word for word, _ in pre_tokenizers.Split(Regex(_MARKUP_WORD if markup else _WORD), "isolated").pre_tokenize_str(text)]


def find_phrases(texts: Iterable[str], count: int, *, names: Sequence[str] = (), markup: bool = False) -> list[str]:
    """Return up to `count` frequent phrases of the texts, the first found first.

    Args:
        texts: any texts.
        count: maximum number.
        names: no phrase contains one of these.
        markup: whether words are those of marked-up text.
    """
    several = [name for name in names if len(words_of(name, markup=markup)) > 1]
    cut = pre_tokenizers.Split(Regex(_pattern(several, names=not markup, markup=markup)), "isolated")
    runs: Counter[tuple[str, ...]] = Counter()
    counted = Counter(texts)
    nouns = {*names, *(noun for text in counted for noun in _NOUN.findall(text) if not markup)}
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
