"""Instructions of the embedded world: mechanical ones, and ones in the style of a person.

Rules:
    - The mechanical text names the attributes, some of them before the noun; options and price are added when goals are listed.
    - The personal text names attributes and option values loosely, so that they have to be understood; its lists of attributes and
      options define them. The product has all of them, so every goal can be met.
"""

from __future__ import annotations

import random

from empg_gym.envs.webshop.product import HumanInstruction
from empg_gym.envs.webshop.world.taxonomy import Kind

_STARTS = (
    "i am looking for",
    "i'm looking for",
    "i need",
    "i want to buy",
    "find me",
    "can you show me",
    "please get me",
    "i would like to order",
    "help me find",
    "looking for",
)
_FRONTS = (
    "{start} {front} {query}{tail}",
    "{start} {query} that are {front}{tail}",
    "{start} some {query}, they should be {front}{tail}",
)
_OPTIONS = {
    "color": ("in {}", "of the color {}", "and i'd like {}"),
    "size": ("in size {}", "the size should be {}", "{} would be right"),
    "flavor name": ("with {} flavor", "and the flavor is {}", "preferably {}"),
    "scent": ("with {} scent", "that smell of {}", "in {}"),
    "style": ("in the {} style", "and {} please", "of the {} kind"),
    "fit type": ("for {}", "made for {}"),
}


def split_attributes(attributes: tuple[str, ...]) -> tuple[list[str], list[str], list[str]]:
    """Return the attributes placed before the noun, after "with" and after "for", without their signs."""
    return (
        [attribute for attribute in attributes if attribute[0] not in "+="],
        [attribute[1:] for attribute in attributes if attribute[0] == "+"],
        [attribute[1:] for attribute in attributes if attribute[0] == "="],
    )


def mechanical(kind: Kind, attributes: tuple[str, ...]) -> str:
    """Return the text of the synthetic goals of a product.

    Args:
        kind: the product's kind.
        attributes: the requested attributes, with their signs.
    """
    fronts, withs, fors = split_attributes(attributes)
    text = "Find me " + (", ".join(fronts) + " " if fronts else "") + kind.query
    if withs:
        text += " with " + ", ".join(withs)
    return text + (" for " + ", ".join(fors) if fors else "")


def personal(kind: Kind, attributes: tuple[str, ...], options: dict[str, str], rng: random.Random) -> HumanInstruction:
    """Return an instruction in the style of a person.

    Args:
        kind: the product's kind.
        attributes: the requested attributes, with their signs; at least one.
        options: option name to value.
        rng: chooses the words.
    """
    fronts, withs, fors = split_attributes(attributes)
    tail = (" with " + " and ".join(withs) if withs else "") + (" for " + " and ".join(fors) if fors else "")
    for name, value in options.items():
        tail += (", " if rng.random() < 0.4 else " ") + rng.choice(_OPTIONS[name]).format(value)
    start = rng.choice(_STARTS)
    if fronts:
        text = rng.choice(_FRONTS).format(start=start, front=" and ".join(fronts), query=kind.query, tail=tail)
    else:
        text = f"{start} {kind.query}{tail}"
    return HumanInstruction(text, tuple(a.lstrip("+=") for a in attributes), tuple(options.values()))
