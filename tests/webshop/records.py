"""Invented files in the official format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from empg_gym.envs.webshop.product import Product


def record(asin: str, **changes: Any) -> dict[str, Any]:
    """Return a catalogue record with the fields of the official file."""
    fields = {
        "asin": asin,
        "name": f"Plain Mug {asin}",
        "full_description": "A mug of stoneware.",
        "pricing": "$12.99",
        "images": ["http://example.org/mug.jpg"],
        "product_category": "Home & Kitchen › Kitchen › Mugs",
        "average_rating": "",
        "small_description": ["Holds 12 oz", "Dishwasher safe"],
        "customization_options": {"Color": [{"value": "Red/Blue"}, {"value": " Green "}], "Size": None},
        "category": "garden",
        "query": " Mugs ",
        "page": 1,
    }
    return fields | changes


def write_official(folder: Path, products: list[dict[str, Any]], mined: dict[str, Any] | None = None, human: Any = None) -> Path:
    """Write the three files and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    entry = {"attributes": ["easy clean"], "instruction": "Find me easy clean mugs", "instruction_attributes": ["easy clean"]}
    attributes = {product["asin"]: entry for product in products} if mined is None else mined
    (folder / "items_shuffle.json").write_text(json.dumps(products), encoding="utf-8")
    (folder / "items_ins_v2.json").write_text(json.dumps(attributes), encoding="utf-8")
    if human is not None:
        (folder / "items_human_ins.json").write_text(json.dumps(human), encoding="utf-8")
    return folder


def codes(count: int) -> list[str]:
    """Return `count` asins."""
    return [f"B{number:09d}" for number in range(count)]


def official(product: Product) -> tuple[dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """Return the entries of a product in the three official files."""
    fields = record(
        product.asin,
        name=product.title,
        full_description=product.description,
        pricing=" - ".join(f"${price}" for price in product.pricing),
        images=list(product.images),
        product_category=product.product_category,
        small_description=list(product.bullets),
        customization_options={
            name.title(): [{"value": value.replace(" | ", "/")} for value in values] for name, values in product.options
        },
        category=product.category,
        query=product.query.upper(),
    )
    mined = {
        "attributes": list(product.attributes),
        "instruction": product.instruction,
        "instruction_attributes": list(product.instruction_attributes),
    }
    human = [
        {"instruction": one.text, "instruction_attributes": list(one.attributes), "instruction_options": list(one.options)}
        for one in product.human
    ]
    return fields, mined, human
