"""Hostile clients, servers, pages, files, models and replies against the parts that meet them; each case is tried and either held or not.

A case holds if the attack is refused or survived as documented, within its limits of memory and time, and the part works afterwards.
Traffic goes to loopback addresses only. Signals, full disks and agents that crash or hang are in `benchmarks.soak`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.attacks import foreign, models, replies, runs, servers
from benchmarks.attacks.outcome import Case

CASES: dict[str, Case] = {**servers.CASES, **foreign.CASES, **runs.CASES, **models.CASES, **replies.CASES}


def attacks() -> list[dict[str, Any]]:
    """Return the outcome of every case."""
    rows = []
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                tried, held, remark = case(Path(folder))
            except Exception as error:
                tried, held, remark = 1, 0, f"the case itself failed: {error!r:.200}"
        rows.append({"attack": name, "tried": tried, "held": held, "remark": remark})
        print(rows[-1], flush=True)
    return rows
