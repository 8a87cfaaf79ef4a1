"""Which pages an agent may visit: public addresses (`empg_gym.net.guard`) outside the denied sites (`deny`)."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from empg_gym.envs.deepsearch.web.deny import BENCHMARK_MIRRORS, denied
from empg_gym.net.guard import AddressError, Guard, Target
from empg_gym.retrieval.backends import VisitFailed


@dataclass(frozen=True)
class PageGuard(Guard):
    """An address guard that also keeps denied sites out; its refusals are `VisitFailed`, whose text tells an agent why."""

    deny: tuple[str, ...] = BENCHMARK_MIRRORS
    """Sites that are refused, as patterns of `deny`."""

    def parse(self, url: str) -> httpx.URL:
        """Return `url` parsed if its form and its site are allowed; resolves nothing.

        Raises:
            VisitFailed: it is not allowed.
        """
        try:
            parsed = super().parse(url)
        except AddressError as error:
            raise VisitFailed(str(error)) from None
        if denied(str(parsed), self.deny):
            raise VisitFailed("this site is blocked here")
        return parsed

    def check(self, url: str, seconds: float) -> Target:
        """Parse and resolve `url`; see `Guard.check`.

        Raises:
            VisitFailed: the address is not allowed, or its name has no address.
        """
        try:
            return super().check(url, seconds)
        except AddressError as error:
            raise VisitFailed(str(error)) from None
