"""A shop: catalogue, search, goals and judge, opened from a store. Immutable; the sessions of a process share it."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from empg_gym.envs.webshop.goal import Goal
from empg_gym.envs.webshop.goals import GoalTable
from empg_gym.envs.webshop.nouns import Nouns
from empg_gym.envs.webshop.product import Product
from empg_gym.envs.webshop.reward import Reward, judge, match_type
from empg_gym.envs.webshop.search import SearchEngine
from empg_gym.envs.webshop.store import ProductStore
from empg_gym.retrieval import BM25Index


class Shop:
    """A shop for any number of sessions.

    Args:
        folder: a finished store, as returned by `open_store`.
        goals: folder of its goals, as returned by `open_goals`.
        kind: "synthetic" or "human".
        nouns: source of the nouns in the type factor.

    Raises:
        DataError: a part is missing or damaged.
    """

    def __init__(self, folder: Path, goals: Path, kind: str, nouns: Nouns) -> None:
        self.store, self.engine = _open_catalogue(folder)
        self.goals = _open_goals(goals, kind, folder)
        self.nouns = nouns
        self.fingerprint = f"{folder.name}-{goals.name}-{nouns.name}"
        """Identifies the data, the goals with their prices, and the source of nouns."""
        self._source = (folder, goals, kind, nouns)

    def price(self, asin: str) -> float | None:
        """Return the price of a product, in dollars; None if there is no such product."""
        ordinal = self.store.ordinal(asin)
        return None if ordinal is None else self.goals.price(ordinal)

    def judge(self, goal: Goal, product: Product, options: Iterable[str]) -> Reward:
        """Return the reward for buying `product` with these option values under `goal`.

        Raises:
            KeyError: the shop lacks the product.
        """
        price = self.price(product.asin)
        if price is None:
            raise KeyError(product.asin)
        bought = self.nouns.of(product.asin, product.title)
        wanted = self.nouns.of(goal.asin, goal.name)
        return judge(product, goal, price, options, match_type(product, goal, bought, wanted))

    def __reduce__(self) -> tuple[type[Shop], tuple[Path, Path, str, Nouns]]:
        return Shop, self._source


# What the environments of a process share; each catalogue has about 20 open files, so that a few are kept and the others are closed with
# their last environment.


@lru_cache(maxsize=4)
def _open_goals(folder: Path, kind: str, catalogue: Path) -> GoalTable:
    return GoalTable(folder, kind, _open_catalogue(catalogue)[0])


@lru_cache(maxsize=4)
def _open_catalogue(folder: Path) -> tuple[ProductStore, SearchEngine]:
    store = ProductStore(folder / "products.sqlite")
    return store, SearchEngine(store, BM25Index.open(folder / "index"))
