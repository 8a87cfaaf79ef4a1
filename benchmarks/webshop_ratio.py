"""Compares the quick decision with the full ratio of thefuzz 0.19, on all pairs of attributes and options in the reference data.

    python -m benchmarks.webshop_ratio DATA [--thefuzz]

DATA is a folder of official files. With `--thefuzz` the full ratio is that of the package itself (`pip install thefuzz==0.19.0`,
without python-Levenshtein), otherwise that of `empg_gym.envs.webshop.fuzzy`. Options are normalized as in the reward; goals' options are
values (human goals) and (name, value) pairs (synthetic goals). Writes `benchmarks/results/webshop_ratio.json`.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path

from benchmarks.machine import machine
from empg_gym.envs.webshop.colors import normalize_color
from empg_gym.envs.webshop.env import WebShopEnv
from empg_gym.envs.webshop.fuzzy import THRESHOLD, matches, token_set_ratio

RESULT = Path(__file__).parent / "results" / "webshop_ratio.json"


def pairs(data: Path) -> Iterator[tuple[str, str, str]]:
    """Yield (kind, own, wanted) for each distinct pair."""
    products = list(WebShopEnv("all", data=data).shop.store)
    attributes = sorted({attribute for item in products for attribute in (*item.attributes, *item.instruction_attributes)})
    for own, wanted in product(attributes, repeat=2):
        yield "attributes", own, wanted
    options = {(name, value) for item in products for name, values in item.options for value in values}
    chosen = sorted({str(normalize_color(value)) for _, value in options})
    for own, wanted in product(chosen, repeat=2):
        yield "human options", own, wanted
    for own, wanted in product(chosen, sorted({str(normalize_color(option)) for option in options})):
        yield "synthetic options", own, wanted


def full_ratio(package: bool) -> tuple[str, Callable[[str, str], int]]:
    if not package:
        return "empg_gym.envs.webshop.fuzzy", token_set_ratio
    warnings.simplefilter("ignore")
    from thefuzz import fuzz

    return "thefuzz 0.19.0 with difflib", fuzz.token_set_ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--thefuzz", action="store_true")
    args = parser.parse_args()
    source, ratio = full_ratio(args.thefuzz)
    counts: dict[str, dict[str, int]] = {}
    quick = slow = 0.0
    for kind, own, wanted in pairs(args.data):
        begun = time.perf_counter()
        decision = matches.__wrapped__(own, wanted)
        middle = time.perf_counter()
        expected = ratio(own, wanted) > THRESHOLD
        slow += time.perf_counter() - middle
        quick += middle - begun
        count = counts.setdefault(kind, {"pairs": 0, "matches": 0, "disagreements": 0})
        count["pairs"] += 1
        count["matches"] += expected
        count["disagreements"] += decision != expected
    report = {
        "machine": machine("empg-gym", "thefuzz"),
        "full_ratio": source,
        "decisions": counts,
        "quick_us": round(1e6 * quick / sum(count["pairs"] for count in counts.values()), 2),
        "full_us": round(1e6 * slow / sum(count["pairs"] for count in counts.values()), 2),
        "speed_up": round(slow / quick, 1),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
