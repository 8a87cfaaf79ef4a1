"""Words that are no nouns in product names: the lexicon of `tagger`, made by hand for shop language (`lexicon.txt`)."""

from __future__ import annotations

from pathlib import Path

from empg_gym.envs.webshop.wordlists import read_lists

_LISTS = read_lists(Path(__file__).with_name("lexicon.txt"))

FUNCTION_WORDS = frozenset(_LISTS["function"])
"""Closed classes: articles, prepositions, conjunctions, pronouns, auxiliaries, particles. Never nouns."""
TITLE_ADJECTIVES = frozenset(_LISTS["title adjectives"])
"""Adjectives in Title Case too, where most others pass for parts of a name."""
ADJECTIVES = frozenset(_LISTS["adjectives"])
"""Adjectives when they are lower-cased."""
VERBS = frozenset(_LISTS["verbs"])
"""Verbs and participles."""
UNITS = frozenset(_LISTS["units"])
"""Units that spaCy cuts off a number before them."""
SUFFIXES = _LISTS["suffixes"]
"""Ends of lower-case words that are adjectives or adverbs."""
NOUNS_WITH_SUFFIX = frozenset(_LISTS["nouns"])
"""Nouns that end like adjectives."""
