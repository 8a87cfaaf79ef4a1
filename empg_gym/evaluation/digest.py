"""A digest at the end of every line of an evaluation's `trajectories.jsonl`, so that a resumed run knows its own lines.

    {"format": …, "steps": […], …, "digest": "5f1c…"}

Rules:
    - The digest covers the line before it and what identifies the run: its agent, environments, data, seed and limits. A line that was
      edited, cut or copied from a run of something else does not match.
    - It protects against mistakes, not against somebody who computes a new one: it is not a signature.
    - Lines without a digest, which earlier versions wrote, are unverified; other readers ignore it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from enum import Enum
from hashlib import blake2b
from typing import Any

_FACTS = ("env_id", "env_version", "data_fingerprint", "split", "dialogue", "history", "show_admissible", "prompt_hash", "max_steps")
_SIGNED = re.compile(r'(.*),"digest":"([0-9a-f]{32})"\}\Z', re.DOTALL)


class Origin(Enum):
    """What a line's digest says."""

    OWN = "own"
    """The line was written by this run."""
    UNVERIFIED = "unverified"
    """It has no digest."""
    FOREIGN = "foreign"
    """It was edited, or written by another run."""


def identity(config: Mapping[str, Any]) -> str:
    """Return what identifies the run of a configuration; equal for configurations that may continue each other."""
    environments = config.get("environments") or {}
    facts = {key: [entry.get(name) for name in _FACTS] for key, entry in environments.items()}
    agent = config.get("agent") or {}
    return json.dumps([agent.get("name"), facts, config.get("seed"), config.get("limits")], sort_keys=True, default=str)


def signed(line: str, run: str) -> str:
    """Return a line, a JSON object without line break, with the digest of the run that `identity` names."""
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
