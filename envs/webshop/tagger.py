"""Rules that find the nouns of a product name, close to the NOUN and PROPN tokens of spaCy's small English model.

Rules:
    - Tokens are split as in spaCy: at spaces and punctuation, at hyphens and slashes between letters, before "'s", and between a
      number and a unit.
    - A noun has a letter and is not a function word; a number followed by a few letters ("2pk") counts as a number.
    - Words in Title Case or capitals count as parts of a name and are kept, except a few adjectives.
    - Lower-case adjectives, verbs and words with an adjective's suffix are dropped.

Tested on the nine title scores of upstream's logs in `tests/conformance`; other names may differ from spaCy.
"""

from __future__ import annotations

import re

from empg_gym.envs.webshop.lexicon import ADJECTIVES, FUNCTION_WORDS, NOUNS_WITH_SUFFIX, SUFFIXES, TITLE_ADJECTIVES, UNITS, VERBS

VERSION = "rules-1"
"""Name of this source of nouns; changes whenever the nouns of a name could differ."""

_CLITIC = re.compile(r"(?<=[^\W\d_])['’]s?(?!\w)")
_CUT = re.compile(
    r"(?<=[^\W\d_])[-–—/](?=[^\W\d_])|(?<=\d)/(?=[^\W\d_])"  # hyphens and slashes between letters
    r"|[,;:!?()\[\]{}\"“”‘’|&+*~<>=#@•·…，、。（）【】]|\.\.+|\.(?=\s|$)|\s[-–—./]+|[-–—/]\s"
)
_NUMBER_UNIT = re.compile(r"^(\d+(?:[.,]\d+)*)([^\W\d_]+)$")
_COUNT = re.compile(r"\d+[^\W\d_]{1,3}")
_LETTER = re.compile(r"[^\W\d_]")


def tokens(name: str) -> list[str]:
    """Return the word tokens of a name, without punctuation."""
    found: list[str] = []
    for piece in _CUT.sub(" ", _CLITIC.sub(" ", name)).split():
        word = piece.strip("'’`.-–—/_%$")
        unit = _NUMBER_UNIT.match(word)
        if unit and unit.group(2).lower() in UNITS:
            found.append(unit.group(2))
        elif word:
            found.append(word)
    return found


def is_noun(token: str) -> bool:
    """Return whether a token counts as a noun."""
    word = token.lower()
    if not _LETTER.search(token) or word in FUNCTION_WORDS or _COUNT.fullmatch(word):
        return False
    if token[0].isupper() or not token[0].isalpha():
        return word not in TITLE_ADJECTIVES
    if word in ADJECTIVES or word in VERBS:
        return False
    return word in NOUNS_WITH_SUFFIX or not (len(word) > 5 and word.endswith(SUFFIXES))


def tag(name: str) -> tuple[str, ...]:
    """Return the lower-cased nouns of a product name, in order and with repetitions."""
    return tuple(token.lower() for token in tokens(name) if is_noun(token))
