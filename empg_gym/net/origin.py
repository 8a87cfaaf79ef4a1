"""Who may talk to a server on this machine: checks of Host, Origin and the type of a body, against pages that a browser shows.

A web page can make a browser send requests to servers that only this machine or this network can reach. It can't choose the headers that
are checked here:
    - Host: an IP address, `localhost`, this machine's name or a name that the operator allows. A foreign name that was made to resolve to
      this machine (DNS rebinding) is refused.
    - Origin and Sec-Fetch-Site: a page of another site is refused, except that a link may lead to a page (a GET navigation).
    - Content-Type: a form or plain text, which pages may post without asking, is refused where JSON is expected.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

_SIMPLE = frozenset({"application/x-www-form-urlencoded", "multipart/form-data", "text/plain"})
"""Types that a page may post to any server."""


class Gate:
    """The checks of one server.

    Args:
        names: additional host names that the server answers for; "*" stands for every name, where a proxy in front checks it.
        forms: whether forms are posted to this server.
    """

    def __init__(self, names: Iterable[str] = (), *, forms: bool = False) -> None:
        here = socket.gethostname().lower()
        self._names = {"localhost", here, here.partition(".")[0], *(name.lower() for name in names)} - {""}
        self._forms = forms

    def refusal(self, method: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Return the status and the reason with which a request is refused, None if it may pass.

        Args:
            method: of the request.
            headers: of the request, names in lower case or case-insensitive.
        """
        host = headers.get("host", "").lower()
        if not self._knows(host):
            return 421, f"this server does not answer for the host {host[:100]!r}; use its address, or allow the name"
        reads = method in ("GET", "HEAD")
        origin = headers.get("origin", "").lower()
        if origin and urlsplit(origin).netloc != host:
            return 403, "requests from pages of other sites are refused"
        link = reads and headers.get("sec-fetch-mode") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not link:
            return 403, "requests from pages of other sites are refused"
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if not reads and not self._forms and kind in _SIMPLE:
            return 415, f"send JSON with the header Content-Type: application/json, not {kind}"
        return None

    def _knows(self, host: str) -> bool:
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if name.startswith("[") and name.endswith("]"):
            name = name[1:-1]
        return "*" in self._names or name.removesuffix(".") in self._names or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
