"""Compare, print and record."""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from typing import Any

import benchmarks.identity
from benchmarks.identity import DOORS, RESULT, differences, is_installed
from benchmarks.identity.episodes import SHARES, local_episodes
from benchmarks.machine import machine


def main() -> None:
    described = benchmarks.identity.__doc__
    parser = argparse.ArgumentParser("identity", description=described, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=1000, help="per door, of all three environments together")
    parser.add_argument("--doors", nargs="+", choices=DOORS, default=list(DOORS))
    options = parser.parse_args()
    local = {env_id: local_episodes(env_id, round(options.episodes * share)) for env_id, share in SHARES.items()}
    for name in filter(is_installed, options.doors):
        title, package, _, play = DOORS[name]
        row: dict[str, Any] = {"title": title, "package": package, "version": version(package), "environments": {}}
        for env_id, episodes in local.items():
            found = differences(play, env_id, episodes)
            steps = sum(len(episode.actions) for episode in episodes)
            row["environments"][env_id] = {"episodes": len(episodes), "steps": steps, "differing": len(found)}
            print(name, env_id, row["environments"][env_id], found[:3], flush=True)
        record = json.loads(RESULT.read_text()) if RESULT.exists() else {"machine": machine(), "doors": {}}
        record["doors"] = {door: {**record["doors"], name: row}[door] for door in DOORS if door in record["doors"] or door == name}
        RESULT.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
