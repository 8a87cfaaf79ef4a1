"""A product of the shop, and how a record of the official catalogue becomes one.

Rules (upstream `load_products`):
    - option names and values are lower-cased; "/" in a value becomes " | ", because values are part of addresses;
    - the price is the text of the page and the numbers in it; a product without a price costs 100 dollars;
    - a product without mined attributes has the single attribute DUMMY_ATTR; a product with an empty list keeps it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any

NO_PRICE = 100.0
"""Price of a product without a price, in dollars."""
DUMMY_ATTRIBUTE = "DUMMY_ATTR"
_NOT_A_NUMBER = re.compile(r"[^\d.]")


@dataclass(frozen=True)
class HumanInstruction:
    """A person's request that a product fulfills."""

    text: str
    attributes: tuple[str, ...]
    options: tuple[str, ...]
    """Option values, without the names of the options."""


@dataclass(frozen=True)
class Product:
    """One product as the shop shows and judges it."""

    asin: str
    title: str
    description: str
    bullets: tuple[str, ...]
    price: str
    """Text on the page: "$27.0" or "$9.99 to $24.99"."""
    pricing: tuple[float, ...]
    """In dollars: one value, the two ends of a range, or empty."""
    options: tuple[tuple[str, tuple[str, ...]], ...]
    """(name, values) in page order; values may repeat."""
    attributes: tuple[str, ...]
    category: str
    query: str
    """The search phrase that found the product, lower-cased: its type."""
    product_category: str
    """Path in the shop's tree, parts separated by "›"."""
    images: tuple[str, ...] = ()
    option_images: tuple[tuple[str, str], ...] = ()
    """(value, address) of the values with their own image."""
    instruction: str | None = None
    """Text of the synthetic goals, without options and price."""
    instruction_attributes: tuple[str, ...] = ()
    human: tuple[HumanInstruction, ...] = ()

    def __hash__(self) -> int:
        return hash(self.asin)

    @cached_property
    def choices(self) -> dict[str, str]:
        """Option value to the name of its option, in page order; a value under two options belongs to the later one."""
        return {value: name for name, values in self.options for value in values}

    @cached_property
    def document(self) -> str:
        """The text that the search engine indexes: title, description, first bullet and options, lower-cased."""
        options = ", and ".join(f"{name}: {', '.join(values)}" for name, values in self.options)
        first = self.bullets[0] if self.bullets else ""
        return " ".join([self.title, self.description, first, options]).lower()

    def to_json(self) -> str:
        """Return the product as a record of the store."""
        record = {field.name: getattr(self, field.name) for field in fields(self)}
        record["human"] = [vars(request) for request in self.human]
        return json.dumps(record, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, record: str) -> Product:
        """Parse a record of the store."""
        entry: dict[str, Any] = json.loads(record)
        for name in ("bullets", "pricing", "attributes", "images", "instruction_attributes"):
            entry[name] = tuple(entry[name])
        entry["options"] = tuple((name, tuple(values)) for name, values in entry["options"])
        entry["option_images"] = tuple((value, image) for value, image in entry["option_images"])
        entry["human"] = tuple(
            HumanInstruction(request["text"], tuple(request["attributes"]), tuple(request["options"])) for request in entry["human"]
        )
        return cls(**entry)


def parse_pricing(text: str) -> tuple[float, ...]:
    """Return the numbers of a price text such as "$9.99 - $24.99", at most two."""
    numbers = []
    for part in text.split("$")[1:]:
        try:
            numbers.append(float(Decimal(_NOT_A_NUMBER.sub("", part))))
        except InvalidOperation:
            continue
    return tuple(numbers[:2])


def price_text(pricing: tuple[float, ...]) -> str:
    """Return the price as shown on the page."""
    if len(pricing) < 2:
        return f"${pricing[0] if pricing else NO_PRICE}"
    return f"${pricing[0]} to ${pricing[1]}"


def parse_options(record: dict[str, Any]) -> tuple[tuple[tuple[str, tuple[str, ...]], ...], tuple[tuple[str, str], ...]]:
    """Return the options and the images of their values from `customization_options`."""
    options: dict[str, tuple[str, ...]] = {}
    images: dict[str, str] = {}
    for name, contents in (record or {}).items():
        if contents is None:
            continue
        values = []
        for content in contents:
            value = content["value"].strip().replace("/", " | ").lower()
            values.append(value)
            images[value] = content.get("image") or ""
        options[name.lower()] = tuple(values)
    return tuple(options.items()), tuple((value, image) for value, image in images.items() if image)


def _text(record: dict[str, Any], key: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise TypeError(f"{key!r} is {value!r:.40}, not a string")
    return value


def parse_product(record: dict[str, Any], mined: dict[str, Any] | None, human: list[dict[str, Any]] | None) -> Product:
    """Build a product from records of the official files.

    Args:
        record: entry of `items_shuffle*.json`.
        mined: entry of `items_ins_v2*.json` for this product, if any.
        human: entries of `items_human_ins.json` for this product, if any.

    Raises:
        KeyError, TypeError, AttributeError: a field of the record is missing or has the wrong type.
    """
    bullets = record["small_description"]
    options, option_images = parse_options(record["customization_options"])
    pricing = parse_pricing(record["pricing"]) if record["pricing"] else ()
    pricing = pricing or (NO_PRICE,)
    found = mined or {}
    return Product(
        asin=record["asin"],
        title=_text(record, "name"),
        description=_text(record, "full_description") if record["full_description"] else "",
        bullets=tuple(bullets) if isinstance(bullets, list) else (bullets or "",),
        price=price_text(pricing),
        pricing=pricing,
        options=options,
        attributes=(DUMMY_ATTRIBUTE,) if mined is None else tuple(mined["attributes"]),
        category=_text(record, "category"),
        query=_text(record, "query").lower().strip(),
        product_category=_text(record, "product_category"),
        images=tuple(record.get("images") or ()),
        option_images=option_images,
        instruction=found.get("instruction"),
        instruction_attributes=tuple(found.get("instruction_attributes") or ()),
        human=tuple(
            HumanInstruction(entry["instruction"], tuple(entry["instruction_attributes"]), tuple(entry["instruction_options"]))
            for entry in human or ()
        ),
    )
