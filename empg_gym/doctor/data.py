"""Check the embedded worlds, the installed official sets, and the folders in environment variables."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from empg_gym.doctor import Finding
from empg_gym.errors import EMPGGymError
from empg_gym.registration import ENVIRONMENTS, make

_VARIABLES = {"ALFWORLD_DATA": "alfworld-2.1.3"}
"""Environment variables of data folders, with the set that belongs there."""


def examine() -> Iterator[Finding]:
    """Yield the findings about data."""
    for env_id in ENVIRONMENTS:
        yield world(env_id)
    yield from official()
    for variable, name in _VARIABLES.items():
        folder = os.environ.get(variable)
        if folder and not Path(folder).is_dir():
            yield Finding(
                "data", variable, "broken", f"names {folder}, which is not a folder", f"unset {variable}, or: empg-gym data get {name}"
            )
        elif folder:
            yield Finding("data", variable, "ok", folder)


def world(env_id: str) -> Finding:
    """Start an episode in an environment's embedded world."""
    name = env_id.removeprefix("EMPG/").partition("-v")[0]
    try:
        env = make(env_id)
        try:
            env.reset(seed=0)
            fingerprint = getattr(env.unwrapped, "fingerprint", "")
        finally:
            env.close()
    except Exception as error:  # any failure of an environment is a finding
        fix = str(error) if isinstance(error, EMPGGymError) else "pip install --force-reinstall empg-gym"
        return Finding("data", name, "broken", f"does not start: {type(error).__name__}: {error}", fix, required=True)
    return Finding("data", name, "ok", f"its embedded world starts, fingerprint {fingerprint}", required=True)


def official() -> Iterator[Finding]:
    """Yield a finding for each installed official set, and one for all others."""
    from empg_gym.data.registry import official_sets
    from empg_gym.data.store import DataStore

    store, absent = DataStore(), []
    try:
        for data_set in official_sets().values():
            folder = store.path(data_set)
            if folder is None:
                absent.append(data_set.name)
                continue
            wrong = store.glance(data_set)
            if wrong:
                yield Finding("data", data_set.name, "broken", f"{wrong} ({folder})", f"empg-gym data get {data_set.name} --again")
            else:
                yield Finding("data", data_set.name, "ok", f"fingerprint {store.fingerprint(data_set)}, {folder}")
    except EMPGGymError as error:
        yield Finding("data", "official sets", "broken", str(error), "empg-gym data list")
        return
    if absent:
        detail = f"{', '.join(absent)}; optional: no environment needs them"
        yield Finding("data", "not installed", "missing", detail, f"empg-gym data get {absent[0]}")
