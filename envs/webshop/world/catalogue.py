"""Product number i of the embedded world.

Rules:
    - A product depends on its number alone, so a larger catalogue starts with the smaller one, and parts can be generated anywhere.
    - A product meets its own instructions: the attributes are in the mined list and in a bullet, the options on the page.
    - Every title ends in a unique model code.
"""

from __future__ import annotations

import random

from empg_gym.envs.webshop.product import NO_PRICE, HumanInstruction, Product, price_text
from empg_gym.envs.webshop.world import phrases
from empg_gym.envs.webshop.world.instructions import mechanical, personal, split_attributes
from empg_gym.envs.webshop.world.taxonomy import KINDS, Kind

VERSION = "1"
"""Changes whenever any product differs."""
DEFAULT_SIZE = 1000
"""Default number of products."""

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CODES = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_SHARE_MECHANICAL = 0.4
"""Fraction of products with synthetic goals."""
_SHARE_PERSONAL = 0.6
"""Fraction of products with a human goal."""


def asin(number: int) -> str:
    """Return the code of product `number`: ten characters, unique below 36^8."""
    place = (number * 1_234_567_890_113 + 987_654_321) % 36**8
    digits = []
    for _ in range(8):
        place, digit = divmod(place, 36)
        digits.append(_DIGITS[digit])
    return "B0" + "".join(digits)


def model_code(number: int) -> str:
    """Return a model code, unique for numbers below 2^30."""
    place = (number * 668_265_263 + 12_345) % 2**30
    code = ""
    for _ in range(6):
        place, digit = divmod(place, 32)
        code += _CODES[digit]
    return code


def _pricing(kind: Kind, rng: random.Random) -> tuple[float, ...]:
    low, high = kind.price
    price = round(low * (high / low) ** rng.random(), 2)
    chance = rng.random()
    if chance < 0.03:
        return (NO_PRICE,)
    return (price, round(price * rng.uniform(1.1, 1.8), 2)) if chance < 0.18 else (price,)


def _options(kind: Kind, rng: random.Random) -> tuple[tuple[str, tuple[str, ...]], ...]:
    chosen = []
    for name, family in kind.options:
        if rng.random() < 0.15:
            continue
        values = phrases.OPTION_VALUES[family]
        count = rng.randint(2, min(7, len(values)))
        chosen.append((name, tuple(values[place] for place in sorted(rng.sample(range(len(values)), count)))))
    return tuple(chosen)


def _brand(rng: random.Random) -> str:
    middle = rng.choice(phrases.BRAND_MIDDLES) if rng.random() < 0.5 else ""
    return (rng.choice(phrases.BRAND_STARTS) + middle + rng.choice(phrases.BRAND_ENDS)).capitalize()


def _title(number: int, kind: Kind, brand: str, noun: str, attributes: tuple[str, ...], rng: random.Random) -> str:
    fronts, withs, fors = split_attributes(attributes)
    words = [brand, rng.choice(phrases.TITLE_WORDS)]
    if fronts and rng.random() < 0.5:
        words.append(fronts[0].title())
    words.append(noun.title().replace("'S", "'s"))
    if withs and rng.random() < 0.5:
        words.append("with " + withs[0].title())
    if fors and rng.random() < 0.5:
        words.append("for " + fors[0].title())
    return " ".join(words) + f", {kind.category.title()} {model_code(number)}"


def _description(brand: str, noun: str, attributes: tuple[str, ...], rng: random.Random) -> str:
    fronts, withs, _ = split_attributes(attributes)
    middle = rng.choice(phrases.MIDDLES).format(
        front=" and ".join(fronts[:2]) or "well made", back=f"with {withs[0]}" if withs else "ready to use"
    )
    return f"{rng.choice(phrases.OPENINGS).format(noun=noun, brand=brand)} {middle} {rng.choice(phrases.CLOSINGS)}"


def _bullets(brand: str, noun: str, attributes: tuple[str, ...], rng: random.Random) -> tuple[str, ...]:
    lines = [rng.choice(phrases.BULLETS).format(attribute=a.lstrip("+="), brand=brand, noun=noun) for a in attributes]
    lines.append(rng.choice(phrases.PLAIN_BULLETS).format(noun=noun))
    rng.shuffle(lines)
    return tuple(line[0].upper() + line[1:] for line in lines)


def _wanted(attributes: tuple[str, ...], most: int, rng: random.Random) -> tuple[str, ...]:
    return tuple(rng.sample(attributes, rng.randint(1, min(most, len(attributes)))))


def _personal(kind: Kind, attributes: tuple[str, ...], options: dict[str, tuple[str, ...]], rng: random.Random) -> HumanInstruction:
    chosen = {name: rng.choice(values) for name, values in options.items() if rng.random() < 0.8}
    return personal(kind, _wanted(attributes, 2, rng), chosen, rng)


def make_product(number: int) -> Product:
    """Return product `number`, 0 <= number < 2^30."""
    rng = random.Random(f"webshop {VERSION} {number}")
    kind = KINDS[rng.randrange(len(KINDS))]
    brand = _brand(rng)
    noun = rng.choice(kind.nouns)
    attributes = tuple(rng.sample(kind.attributes, rng.randint(3, 6)))
    options = _options(kind, rng)
    pricing = _pricing(kind, rng)
    asked = _wanted(attributes, 3, rng) if rng.random() < _SHARE_MECHANICAL else ()
    personal_ones = (_personal(kind, attributes, dict(options), rng),) if rng.random() < _SHARE_PERSONAL else ()
    return Product(
        asin=asin(number),
        title=_title(number, kind, brand, noun, attributes, rng),
        description=_description(brand, noun, attributes, rng),
        bullets=_bullets(brand, noun, attributes, rng),
        price=price_text(pricing),
        pricing=pricing,
        options=options,
        attributes=tuple(attribute.lstrip("+=") for attribute in attributes),
        category=kind.category,
        query=kind.query,
        product_category=kind.path,
        instruction=mechanical(kind, asked) if asked else None,
        instruction_attributes=tuple(attribute.lstrip("+=") for attribute in asked),
        human=personal_ones,
    )
