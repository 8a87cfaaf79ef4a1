"""Room templates: the receptacles of a room, by size and split.

`valid_unseen` has its own templates: no other split has a room with the same receptacles, in either size. A template is written as
"cabinet*9 drawer*6 fridge ..."; every template of a kind allows every task that belongs to that kind of room, and so does every room
that `vary` returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from empg_gym.envs.alfworld.goals import CLEAN, COOL, HEAT, LOOK, PICK, PROCESS, TWO
from empg_gym.envs.alfworld.world.kinds import BATHROOM, BEDROOM, KITCHEN, LAMP_STANDS, LAMPS, LIVING


@dataclass(frozen=True, slots=True)
class Room:
    """One template."""

    kind: str
    number: int
    """Unique among all rooms of a size; the scene in the game's folder name."""
    receptacles: tuple[str, ...]
    """Types, one entry per receptacle, sorted."""


ROOMS_FOR: dict[str, tuple[str, ...]] = {
    PICK: (KITCHEN, LIVING, BEDROOM, BATHROOM),
    LOOK: (LIVING, BEDROOM),
    CLEAN: (KITCHEN, BATHROOM),
    HEAT: (KITCHEN,),
    COOL: (KITCHEN,),
    TWO: (KITCHEN, LIVING, BEDROOM, BATHROOM),
}
"""Kinds of room in which a task type occurs."""

_FIRST_NUMBER = {KITCHEN: 1, LIVING: 201, BEDROOM: 301, BATHROOM: 401}

_KITCHEN = "coffeemachine fridge garbagecan microwave sinkbasin stoveburner*4 toaster "
_BATHROOM = "garbagecan handtowelholder sinkbasin toilet toiletpaperhanger towelholder "

_FULL_SEEN = {
    KITCHEN: (
        "cabinet*9 countertop*2 drawer*6",
        "cabinet*6 countertop*3 drawer*3 shelf*3",
        "cabinet*12 countertop*2 diningtable drawer*4",
        "cabinet*4 countertop diningtable*2 drawer*8",
        "cabinet*15 countertop*2 drawer*5 sidetable",
        "cabinet*7 countertop*2 diningtable drawer*12 shelf*2",
        "cabinet*5 countertop*3 diningtable drawer*2 sidetable",
        "cabinet*20 countertop*2 drawer*9",
        "cabinet*8 countertop diningtable drawer*3 shelf*4",
        "cabinet*10 countertop*4 diningtable drawer*7",
    ),
    LIVING: (
        "armchair coffeetable drawer*4 garbagecan sidetable*2 sofa tvstand",
        "armchair*2 coffeetable*2 diningtable garbagecan sidetable shelf*3 sofa",
        "cabinet*4 coffeetable drawer*6 dresser garbagecan sidetable sofa",
        "armchair coffeetable diningtable drawer*2 garbagecan ottoman sidetable sofa tvstand",
        "armchair*2 cabinet*6 coffeetable dresser drawer*4 sidetable sofa*2",
        "coffeetable desk drawer*3 garbagecan shelf*6 sidetable sofa",
        "armchair cabinet*2 coffeetable*2 garbagecan sidetable*3 sofa tvstand",
        "armchair*3 coffeetable diningtable dresser drawer*8 sidetable sofa",
        "coffeetable garbagecan ottoman safe shelf*4 sidetable*2 sofa",
        "armchair coffeetable drawer*12 dresser garbagecan sidetable sofa",
    ),
    BEDROOM: (
        "bed desk drawer*4 garbagecan shelf*3 sidetable",
        "armchair bed desk dresser drawer*6 laundryhamper",
        "bed*2 desk drawer*2 garbagecan shelf*6",
        "bed desk*2 drawer*8 garbagecan safe shelf*2",
        "armchair bed diningtable drawer*3 garbagecan sidetable*2",
        "bed cabinet*4 desk drawer*5 laundryhamper shelf",
        "bed desk dresser drawer*10 garbagecan sidetable",
        "bed desk garbagecan ottoman shelf*5 sidetable*2",
        "armchair*2 bed desk drawer*6 garbagecan shelf*4 sofa",
        "bed*2 dresser drawer*12 laundryhamper sidetable*2",
    ),
    BATHROOM: (
        "cabinet*4 countertop",
        "cabinet*2 countertop drawer*4 shelf",
        "bathtubbasin cabinet*6 countertop",
        "countertop drawer*6 shelf*2",
        "bathtubbasin cabinet*4 countertop*2 sinkbasin",
        "cabinet*8 countertop handtowelholder",
        "cart cabinet*2 countertop sinkbasin",
        "bathtubbasin countertop drawer*3 handtowelholder laundryhamper",
        "cabinet*3 countertop shelf*3 sidetable",
        "cabinet*5 countertop drawer*2 sinkbasin",
    ),
}

_FULL_UNSEEN = {
    KITCHEN: ("cabinet*11 countertop*3 drawer*4 shelf", "cabinet*6 countertop*2 diningtable*2 drawer*5", "cabinet*13 countertop drawer*8"),
    LIVING: (
        "armchair*2 coffeetable desk drawer*5 garbagecan sidetable sofa",
        "cabinet*3 coffeetable diningtable garbagecan ottoman shelf*2 sidetable sofa tvstand",
        "armchair coffeetable*2 dresser drawer*3 safe sidetable*2 sofa",
    ),
    BEDROOM: (
        "bed desk drawer*3 garbagecan safe shelf*4 sidetable",
        "armchair bed cabinet*2 desk drawer*4 garbagecan laundryhamper",
        "bed*2 desk dresser drawer*5 ottoman sidetable",
    ),
    BATHROOM: (
        "bathtubbasin cabinet*3 countertop shelf",
        "cabinet*4 countertop drawer*2 laundryhamper sidetable",
        "cart countertop drawer*4 handtowelholder sinkbasin",
    ),
}

_SMALL_SEEN = {
    KITCHEN: (
        "cabinet countertop diningtable fridge microwave sinkbasin",
        "cabinet*2 countertop fridge microwave sinkbasin",
        "countertop drawer*2 fridge microwave sinkbasin",
        "cabinet countertop drawer fridge microwave sinkbasin",
        "countertop diningtable fridge garbagecan microwave sinkbasin",
        "countertop fridge microwave shelf*2 sinkbasin",
        "cabinet*2 diningtable fridge microwave sinkbasin",
        "countertop fridge microwave shelf sidetable sinkbasin",
    ),
    LIVING: (
        "armchair coffeetable sidetable sofa drawer",
        "coffeetable dresser garbagecan sidetable sofa",
        "armchair*2 drawer*2 sidetable sofa",
        "armchair coffeetable shelf sofa dresser",
        "coffeetable drawer*2 sidetable sofa cabinet",
        "armchair coffeetable shelf*2 sofa garbagecan",
    ),
    BEDROOM: (
        "bed desk drawer*2 garbagecan",
        "bed desk shelf*2 sidetable",
        "bed dresser drawer*2 sidetable",
        "armchair bed desk drawer garbagecan",
        "bed desk*2 drawer shelf",
        "bed cabinet desk drawer shelf garbagecan",
    ),
    BATHROOM: (
        "cabinet*2 countertop sinkbasin toilet",
        "countertop drawer*2 garbagecan sinkbasin toilet",
        "cabinet countertop garbagecan sinkbasin toilet toiletpaperhanger",
        "cabinet countertop drawer sinkbasin toilet",
        "bathtubbasin cabinet*2 countertop sinkbasin",
        "cabinet countertop shelf sinkbasin toilet",
    ),
}

_SMALL_UNSEEN = {
    KITCHEN: (
        "cabinet countertop fridge microwave shelf sinkbasin",
        "countertop diningtable drawer fridge microwave sinkbasin",
        "cabinet countertop fridge garbagecan microwave sinkbasin",
    ),
    LIVING: ("armchair coffeetable drawer garbagecan sofa sidetable", "coffeetable dresser shelf sidetable sofa"),
    BEDROOM: ("bed desk drawer shelf garbagecan", "bed desk dresser drawer*2 sidetable"),
    BATHROOM: ("cabinet countertop garbagecan sinkbasin toilet", "countertop drawer shelf sinkbasin toilet"),
}


_Templates = Mapping[str, tuple[str, ...]]


def _rooms(seen: _Templates, unseen: _Templates, common: Mapping[str, str], *, new: bool) -> tuple[Room, ...]:
    rooms = []
    for kind, first in _FIRST_NUMBER.items():
        chosen = unseen[kind] if new else seen[kind]
        shift = first + (len(seen[kind]) if new else 0)
        rooms += [Room(kind, shift + i, _expand(common.get(kind, "") + text)) for i, text in enumerate(chosen)]
    return tuple(rooms)


def _expand(text: str) -> tuple[str, ...]:
    receptacles: list[str] = []
    for entry in text.split():
        kind, _, count = entry.partition("*")
        receptacles += [kind] * int(count or 1)
    return tuple(sorted(receptacles))


_COMMON = {KITCHEN: _KITCHEN, BATHROOM: _BATHROOM}
ROOMS: dict[tuple[str, bool], tuple[Room, ...]] = {
    ("full", False): _rooms(_FULL_SEEN, _FULL_UNSEEN, _COMMON, new=False),
    ("full", True): _rooms(_FULL_SEEN, _FULL_UNSEEN, _COMMON, new=True),
    ("small", False): _rooms(_SMALL_SEEN, _SMALL_UNSEEN, {}, new=False),
    ("small", True): _rooms(_SMALL_SEEN, _SMALL_UNSEEN, {}, new=True),
}
"""(size, unseen) to the templates."""

_UNSEEN = frozenset(room.receptacles for (_, unseen), rooms in ROOMS.items() if unseen for room in rooms)
_KEPT = frozenset(process.station for process in PROCESS.values())
_REPLACED = 0.3
"""Probability that `vary` replaces a receptacle."""


def vary(room: Room, size: str, rng: np.random.Generator) -> Room:
    """Return a training room with some of its receptacles replaced by others that rooms of its kind and size have.

    Sinks, fridges and microwaves stay, and so does a place for a lamp where the kind of room has lamps, so that the room allows the same
    types of tasks. It is never equal to a room of `valid_unseen`.
    """
    known = sorted({kind for other in ROOMS[size, False] if other.kind == room.kind for kind in other.receptacles} - _KEPT)
    while True:
        receptacles = tuple(
            sorted(
                known[int(rng.integers(len(known)))] if kind not in _KEPT and rng.random() < _REPLACED else kind
                for kind in room.receptacles
            )
        )
        if receptacles not in _UNSEEN and (room.kind not in LAMPS or LAMP_STANDS.intersection(receptacles)):
            return replace(room, receptacles=receptacles)
