"""Words other than nouns in product names: the lexicon of `tagger`, written by hand for shop language (`lexicon.txt`)."""

from __future__ import annotations

from pathlib import Path

from empg_gym.envs.webshop.wordlists import read_lists

_LISTS = read_lists(Path(__file__).with_name("lexicon.txt"))

FUNCTION_WORDS = frozenset(_LISTS["function"])
"""Closed word classes: articles, prepositions, conjunctions, pronouns, auxiliaries, particles. Never nouns."""
TITLE_ADJECTIVES = frozenset(_LISTS["title adjectives"])
"""Adjectives even in Title Case, where most others count as parts of a name."""
ADJECTIVES = frozenset(_LISTS["adjectives"])
"""Adjectives if lower-cased."""
VERBS = frozenset(_LISTS["verbs"])
"""Verbs and participles."""
UNITS = frozenset(_LISTS["units"])
"""Units that spaCy separates from a preceding number."""
SUFFIXES = _LISTS["suffixes"]
"""Suffixes of lower-case adjectives and adverbs."""
NOUNS_WITH_SUFFIX = frozenset(_LISTS["nouns"])
"""Nouns with one of these suffixes."""
