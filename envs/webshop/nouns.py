"""The nouns of product names, from which the type factor of the reward is computed.

Upstream takes the NOUN and PROPN tokens of a spaCy model. Three sources, in this order:
    1. a list computed once with the model: `nouns.json` in the data folder, {asin: [noun, …]}, exact;
    2. spaCy, if it and the model `en_core_web_sm` are installed, exact up to the model's version;
    3. the rules of `tagger`, which need neither.
Results name the source, because scores differ slightly between sources.
"""

from __future__ import annotations

import importlib.util
import json
from abc import ABC, abstractmethod
from functools import lru_cache
from pathlib import Path
from typing import Any

from empg_gym.envs.webshop.tagger import VERSION, tag
from empg_gym.errors import ConfigError, DataError, MissingDependencyError, nearest, require

SPACY_MODEL = "en_core_web_sm"
CHOICES = ("auto", "list", "spacy", "rules")


class Nouns(ABC):
    """A source of nouns."""

    name: str
    """Name in results: "list", "spacy:en_core_web_sm" or the version of the rules."""

    @abstractmethod
    def of(self, asin: str, title: str) -> tuple[str, ...]:
        """Return the lower-cased nouns of a product's name, in order and with repetitions."""


class RuleNouns(Nouns):
    """Nouns found by the rules of `tagger`."""

    name = VERSION

    def __init__(self) -> None:
        self._nouns = lru_cache(maxsize=2048)(tag)

    def of(self, asin: str, title: str) -> tuple[str, ...]:
        return self._nouns(title)

    def __reduce__(self) -> tuple[type[RuleNouns], tuple[()]]:
        return RuleNouns, ()


class SpacyNouns(Nouns):
    """Nouns found by a spaCy model, which is loaded on first use (seconds).

    Raises:
        MissingDependencyError: spaCy or the model is not installed.
    """

    name = f"spacy:{SPACY_MODEL}"

    def __init__(self) -> None:
        if importlib.util.find_spec(SPACY_MODEL) is None:
            raise MissingDependencyError(
                f"nouns='spacy' needs the spaCy model {SPACY_MODEL!r}, which is not installed; "
                f"run: pip install 'empg-gym[spacy]' && python -m spacy download {SPACY_MODEL}"
            )
        require("spacy", "spacy", "nouns='spacy'")
        self._model: Any = None
        self._nouns = lru_cache(maxsize=2048)(self._tag)

    def _tag(self, title: str) -> tuple[str, ...]:
        if self._model is None:
            import spacy

            self._model = spacy.load(SPACY_MODEL)
        return tuple(token.text.lower() for token in self._model(title) if token.pos_ in ("NOUN", "PROPN"))

    def of(self, asin: str, title: str) -> tuple[str, ...]:
        return self._nouns(title)

    def __reduce__(self) -> tuple[type[SpacyNouns], tuple[()]]:
        return SpacyNouns, ()


class ListedNouns(Nouns):
    """Nouns from a file; missing products are tagged by rule.

    Args:
        path: JSON object {asin: [noun, …]}.

    Raises:
        DataError: the file is missing or not such an object.
    """

    name = "list"

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"can't read the list of nouns {path.name}: {error}") from error
        if not isinstance(listed, dict) or not all(isinstance(nouns, list) for nouns in listed.values()):
            raise DataError(f"the list of nouns {path.name} must be a JSON object of asin to list of nouns")
        self._listed: dict[str, list[str]] = listed

    def of(self, asin: str, title: str) -> tuple[str, ...]:
        listed = self._listed.get(asin)
        return tag(title) if listed is None else tuple(str(noun).lower() for noun in listed)

    def __reduce__(self) -> tuple[type[ListedNouns], tuple[Path]]:
        return ListedNouns, (self._path,)


def choose_nouns(wanted: str, data: Path | None) -> Nouns:
    """Return the source of nouns for a catalogue.

    Args:
        wanted: "list", "spacy", "rules", or "auto" for the first one available. For the embedded world (`data` None), "auto" is the
            rules, so that it is the same everywhere.
        data: folder of the official files, or None.

    Raises:
        ConfigError: the choice is unknown, or is a list for the embedded world.
        DataError, MissingDependencyError: the chosen source is not available.
    """
    if wanted not in CHOICES:
        raise ConfigError(f"unknown source of nouns {wanted!r}; {nearest(wanted, CHOICES)}")
    listed = None if data is None else data / "nouns.json"
    if wanted == "list" or (wanted == "auto" and listed is not None and listed.is_file()):
        if listed is None:
            raise ConfigError("nouns='list' needs a data folder with nouns.json; the embedded world has none")
        return ListedNouns(listed)
    if wanted == "spacy" or (wanted == "auto" and data is not None and importlib.util.find_spec(SPACY_MODEL) is not None):
        return SpacyNouns()
    return RuleNouns()
