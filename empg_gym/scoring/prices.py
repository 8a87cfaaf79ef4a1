"""The price of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from empg_gym.errors import ConfigError

PRICES_EXPECTED = "prices are two numbers of at least 0, per million prompt and completion tokens"


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices per million tokens, in any one currency.

    Raises:
        ConfigError: not two numbers of at least 0.
    """

    prompt: float
    completion: float

    def __post_init__(self) -> None:
        for price in (self.prompt, self.completion):
            if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
                raise ConfigError(f"{PRICES_EXPECTED}; not {self.prompt!r} and {self.completion!r}")

    @classmethod
    def of(cls, prices: Prices | Sequence[float] | None) -> Prices | None:
        """Return prices as `Prices`, a pair of numbers included; None stays None.

        Raises:
            ConfigError: not two numbers of at least 0.
        """
        if prices is None or isinstance(prices, Prices):
            return prices
        try:
            prompt, completion = prices
        except (TypeError, ValueError):
            raise ConfigError(f"{PRICES_EXPECTED}; not {prices!r}") from None
        return cls(prompt, completion)
