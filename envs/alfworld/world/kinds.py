"""The contents of a household: kinds of objects and receptacles, where objects belong and what can be done with them.

The vocabulary and the relations are ALFWorld's, so that what an agent learns here transfers.
"""

from __future__ import annotations

KITCHEN, LIVING, BEDROOM, BATHROOM = "kitchen", "living room", "bedroom", "bathroom"

OPENABLE = frozenset({"cabinet", "drawer", "fridge", "microwave", "safe"})

_HOLDS = {
    "armchair": "book box cellphone cloth creditcard keychain laptop newspaper pillow remotecontrol",
    "bathtubbasin": "cloth dishsponge handtowel soapbar",
    "bed": "baseballbat basketball book cellphone laptop pillow tennisracket",
    "cabinet": "book bowl box candle cd cloth cup dishsponge glassbottle handtowel kettle ladle mug newspaper pan peppershaker plate"
    " plunger pot saltshaker soapbar soapbottle spraybottle tissuebox toiletpaper vase wateringcan winebottle",
    "cart": "candle cloth dishsponge handtowel plunger soapbar soapbottle spraybottle tissuebox toiletpaper",
    "coffeemachine": "mug",
    "coffeetable": "book bowl box candle cellphone creditcard keychain laptop newspaper pen pencil plate remotecontrol statue tissuebox"
    " vase watch wateringcan",
    "countertop": "alarmclock apple book bowl bread butterknife candle cd cellphone cloth creditcard cup dishsponge egg fork glassbottle"
    " handtowel kettle keychain knife ladle laptop lettuce mug pan pen pencil peppershaker plate pot potato remotecontrol saltshaker"
    " soapbar soapbottle spatula spoon spraybottle statue tissuebox toiletpaper tomato vase winebottle",
    "desk": "alarmclock basketball book bowl box cd cellphone cloth creditcard keychain laptop mug pen pencil remotecontrol statue"
    " tennisracket tissuebox vase watch wateringcan",
    "diningtable": "alarmclock apple baseballbat basketball book bowl box bread butterknife candle cd cellphone cloth creditcard cup"
    " dishsponge egg fork glassbottle kettle keychain knife ladle laptop lettuce mug newspaper pan pen pencil peppershaker plate pot"
    " potato remotecontrol saltshaker soapbottle spatula spoon spraybottle statue tennisracket tissuebox tomato vase watch wateringcan"
    " winebottle",
    "drawer": "book butterknife candle cd cellphone cloth creditcard dishsponge fork handtowel keychain knife ladle newspaper pen pencil"
    " peppershaker remotecontrol saltshaker soapbar soapbottle spatula spoon spraybottle tissuebox toiletpaper watch wateringcan",
    "dresser": "alarmclock basketball book bowl box candle cd cellphone cloth creditcard keychain laptop mug newspaper pen pencil plate"
    " remotecontrol spraybottle statue tennisracket tissuebox toiletpaper vase watch wateringcan",
    "fridge": "apple bowl bread cup egg glassbottle lettuce mug pan plate pot potato tomato winebottle",
    "garbagecan": "apple bread cd cloth dishsponge egg handtowel lettuce newspaper pen pencil potato soapbar soapbottle spraybottle"
    " tissuebox toiletpaper tomato winebottle",
    "handtowelholder": "handtowel",
    "laundryhamper": "cloth",
    "microwave": "apple bowl bread cup egg glassbottle mug plate potato tomato",
    "ottoman": "book box cellphone creditcard keychain laptop newspaper pillow remotecontrol",
    "safe": "cd cellphone creditcard keychain statue vase",
    "shelf": "alarmclock book bowl box candle cd cellphone cloth creditcard cup dishsponge glassbottle handtowel kettle keychain mug"
    " newspaper pen pencil peppershaker plate pot remotecontrol saltshaker soapbar soapbottle spraybottle statue tissuebox toiletpaper"
    " vase watch wateringcan winebottle",
    "sidetable": "alarmclock apple baseballbat basketball book bowl box bread butterknife candle cd cellphone cloth creditcard cup"
    " dishsponge egg fork handtowel kettle keychain knife laptop lettuce mug newspaper pan pen pencil peppershaker plate pot potato"
    " remotecontrol saltshaker soapbar soapbottle spatula spoon spraybottle statue tennisracket tissuebox toiletpaper tomato vase watch"
    " wateringcan winebottle",
    "sinkbasin": "apple bowl butterknife cloth cup dishsponge egg fork glassbottle handtowel kettle knife ladle lettuce mug pan plate pot"
    " potato soapbar spatula spoon tomato",
    "sofa": "book box cellphone creditcard keychain laptop newspaper pillow remotecontrol",
    "stoveburner": "kettle pan pot",
    "toaster": "",
    "toilet": "candle cloth dishsponge handtowel soapbar soapbottle spraybottle tissuebox toiletpaper",
    "toiletpaperhanger": "toiletpaper",
    "towelholder": "towel",
    "tvstand": "tissuebox",
}
HOLDS: dict[str, frozenset[str]] = {receptacle: frozenset(things.split()) for receptacle, things in _HOLDS.items()}
"""Receptacle type to the object types that can be put there."""

_FOUND = {
    KITCHEN: "apple bowl bread butterknife cup dishsponge egg fork glassbottle kettle knife ladle lettuce mug pan peppershaker plate pot"
    " potato saltshaker soapbottle spatula spoon statue tomato vase winebottle",
    LIVING: "book bowl box candle cellphone creditcard keychain laptop newspaper pillow plate remotecontrol statue tissuebox vase watch"
    " wateringcan",
    BEDROOM: "alarmclock baseballbat basketball book bowl box cd cellphone cloth creditcard keychain laptop mug pen pencil pillow"
    " tennisracket tissuebox watch",
    BATHROOM: "candle cloth dishsponge handtowel plunger soapbar soapbottle spraybottle tissuebox toiletpaper towel",
}
FOUND: dict[str, tuple[str, ...]] = {room: tuple(things.split()) for room, things in _FOUND.items()}
"""Room to the objects found there."""

LAMPS: dict[str, tuple[str, ...]] = {LIVING: ("floorlamp", "desklamp"), BEDROOM: ("desklamp",)}
"""Room to its lamps; a lamp is on one of `LAMP_STANDS` and can't be carried."""

LAMP_STANDS = frozenset({"coffeetable", "desk", "dresser", "shelf", "sidetable"})

_TRAITS = {
    "heatable": "apple bread cup egg mug plate potato tomato",
    "coolable": "apple bowl bread cup egg lettuce mug pan plate pot potato tomato winebottle",
    "cleanable": "apple bowl butterknife cloth cup dishsponge egg fork kettle knife ladle lettuce mug pan plate pot potato soapbar spatula"
    " spoon tomato",
    "sliceable": "apple bread egg lettuce potato tomato",
    "isreceptacleobject": "bowl box cup mug pan plate pot",
}
TRAITS: dict[str, frozenset[str]] = {
    thing: frozenset({"pickupable"} | {trait for trait, things in _TRAITS.items() if thing in things.split()})
    for thing in sorted({thing for things in FOUND.values() for thing in things})
} | {lamp: frozenset({"toggleable"}) for lamps in LAMPS.values() for lamp in lamps}
"""Object type to its traits."""
