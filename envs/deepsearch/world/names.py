"""Invented names. Each is used once, so that a title identifies one passage."""

# ruff: noqa: SIM905 (lists of words read better as text)

from __future__ import annotations

import random

_ONSETS = "b br d dr f g gl h j k kr l m n p r s sk st t tr v w y z zh".split()
_VOWELS = "a a e e i i o o u ae ei ou".split()
_CODAS = ["", "", "", "", "", "l", "n", "r", "s", "m"]
_GIVEN_ENDINGS = "a o is en ia ar el un".split()
_ADJECTIVES = "Amber Broken Crimson Distant Frozen Gilded Hollow Ivory Lost Muted Pale Quiet Scarlet Winding".split()
_NOUNS = "Bridge Compass Feather Garden Harbour Ladder Lantern Mirror Orchard Pilgrim River Shadow Tower Winter".split()
_TRADES = "Shipping Instruments Textiles Foundry Press Railways Glassworks Timber Electric Brewing Pictures Aviation".split()
_OCCASIONS = "Regatta Trials Cup Exhibition Tournament Marathon Debate Festival".split()
_NUMBERS = "First Second Third Fourth Fifth Sixth Seventh Eighth Ninth Tenth".split()


class Namer:
    """Generator of names, drawn from `rng`; words and full names never repeat."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self._used: set[str] = set()
        self._given: list[str] = []
        self._family: list[str] = []

    def word(self) -> str:
        """Return a new, capitalised word."""
        while True:
            syllables = self.rng.choice((2, 2, 3))
            parts = [self.rng.choice(_ONSETS) + self.rng.choice(_VOWELS) + self.rng.choice(_CODAS) for _ in range(syllables)]
            word = "".join(parts).capitalize()
            if word not in self._used and 5 <= len(word) <= 11:
                self._used.add(word)
                return word

    def person(self) -> str:
        """Return a given name and a family name; each of them is shared by several people."""
        while True:
            if len(self._given) < 40 or self.rng.random() < 0.12:
                self._given.append(self.word() + self.rng.choice(_GIVEN_ENDINGS))
            if len(self._family) < 40 or self.rng.random() < 0.3:
                self._family.append(self.word())
            name = f"{self.rng.choice(self._given)} {self.rng.choice(self._family)}"
            if name not in self._used:
                self._used.add(name)
                return name

    def country(self) -> str:
        return self.word() + self.rng.choice(("ia", "land", "mark", "or"))

    def city(self) -> str:
        return self.rng.choice(("{}", "{}", "{}", "Port {}", "Upper {}", "{} Falls", "{} Bay")).format(self.word())

    def work(self) -> str:
        form = self.rng.choice(("The {} {} of {}", "{} {} over {}", "A {} {} for {}"))
        return form.format(self.rng.choice(_ADJECTIVES), self.rng.choice(_NOUNS), self.word())

    def company(self) -> str:
        return f"{self.word()} {self.rng.choice(_TRADES)}"

    def event(self) -> str:
        return f"{self.rng.choice(_NUMBERS)} {self.word()} {self.rng.choice(_OCCASIONS)}"
