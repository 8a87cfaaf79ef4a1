"""A digest at the end of every line of trajectories that a run may resume from, so that it knows its own lines.

    {"format": …, "steps": […], …, "digest": "5f1c…"}

Rules:
    - The digest covers the line before it and a text that identifies the run: for an evaluation its agent, environments, data, seed and
      limits, for a training its environment, model, seed and step. A line that was edited or copied from elsewhere does not match.
    - It protects against mistakes, not against somebody who computes a new one: it is not a signature.
    - Lines without a digest, which earlier versions wrote, are unverified; other readers ignore it.
"""

from __future__ import annotations

import re
from enum import Enum
from hashlib import blake2b

_SIGNED = re.compile(r'(.*),"digest":"([0-9a-f]{32})"\}\Z', re.DOTALL)


class Origin(Enum):
    """What a line's digest says."""

    OWN = "own"
    """The line was written by this run."""
    UNVERIFIED = "unverified"
    """It has no digest."""
    FOREIGN = "foreign"
    """It was edited, or written by another run."""


def signed(line: str, run: str) -> str:
    """Return a line, a JSON object without line break, with the digest of the run that the text `run` identifies."""
    return f'{line[:-1]},"digest":"{_digest(line, run)}"}}'


def origin(line: str, run: str) -> Origin:
    """Return what the digest of a line says."""
    found = _SIGNED.match(line)
    if found is None:
        return Origin.UNVERIFIED
    return Origin.OWN if _digest(found[1] + "}", run) == found[2] else Origin.FOREIGN


def _digest(line: str, run: str) -> str:
    return blake2b(
        line.encode(errors="surrogatepass"), key=blake2b(run.encode(errors="surrogatepass"), digest_size=32).digest(), digest_size=16
    ).hexdigest()
