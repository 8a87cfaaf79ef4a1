"""A small household written by hand, in which every sentence of the game can occur."""

KITCHEN = """
(define (problem by_hand)
(:domain alfred)
(:objects agent1 - agent  Apple - object)
(:init
    (atLocation agent1 loc_bar_0)
    (receptacleType Cabinet_bar_1 CabinetType) (receptacleAtLocation Cabinet_bar_1 loc_bar_1) (openable Cabinet_bar_1)
    (receptacleType Cabinet_bar_2 CabinetType) (receptacleAtLocation Cabinet_bar_2 loc_bar_1)
    (openable Cabinet_bar_2) (opened Cabinet_bar_2)
    (receptacleType CounterTop_bar_1 CounterTopType) (receptacleAtLocation CounterTop_bar_1 loc_bar_2)
    (receptacleType Shelf_bar_1 ShelfType) (receptacleAtLocation Shelf_bar_1 loc_bar_2)
    (receptacleType Sink_bar_1_bar_SinkBasin SinkBasinType) (receptacleAtLocation Sink_bar_1_bar_SinkBasin loc_bar_3)
    (receptacleType Microwave_bar_1 MicrowaveType) (receptacleAtLocation Microwave_bar_1 loc_bar_4) (openable Microwave_bar_1)
    (receptacleType Fridge_bar_1 FridgeType) (receptacleAtLocation Fridge_bar_1 loc_bar_5) (openable Fridge_bar_1)

    (objectType Apple_bar_1 AppleType) (pickupable Apple_bar_1) (heatable Apple_bar_1) (coolable Apple_bar_1)
    (cleanable Apple_bar_1) (sliceable Apple_bar_1)  ; on the countertop and on the shelf
    (inReceptacle Apple_bar_1 CounterTop_bar_1) (inReceptacle Apple_bar_1 Shelf_bar_1) (objectAtLocation Apple_bar_1 loc_bar_2)
    (objectType Egg_bar_1 EggType) (pickupable Egg_bar_1) (heatable Egg_bar_1) (coolable Egg_bar_1) (isCool Egg_bar_1)
    (inReceptacle Egg_bar_1 Fridge_bar_1) (objectAtLocation Egg_bar_1 loc_bar_5)
    (objectType Knife_bar_1 KnifeType) (pickupable Knife_bar_1) (cleanable Knife_bar_1)
    (inReceptacle Knife_bar_1 CounterTop_bar_1) (objectAtLocation Knife_bar_1 loc_bar_2)
    (objectType Mug_bar_1 MugType) (pickupable Mug_bar_1) (isReceptacleObject Mug_bar_1)
    (inReceptacle Mug_bar_1 Cabinet_bar_1) (objectAtLocation Mug_bar_1 loc_bar_1)
    (objectType Pencil_bar_1 PencilType) (pickupable Pencil_bar_1) (inReceptacleObject Pencil_bar_1 Mug_bar_1)
    (inReceptacle Pencil_bar_1 Cabinet_bar_1) (objectAtLocation Pencil_bar_1 loc_bar_1)
    (objectType DeskLamp_bar_1 DeskLampType) (toggleable DeskLamp_bar_1)
    (inReceptacle DeskLamp_bar_1 Shelf_bar_1) (objectAtLocation DeskLamp_bar_1 loc_bar_2)
    (objectType Window_bar_1 WindowType) (objectAtLocation Window_bar_1 loc_bar_7)
    (canContain CabinetType MugType) (canContain CounterTopType AppleType) (canContain CounterTopType KnifeType)
    (canContain CounterTopType EggType) (canContain ShelfType MugType) (canContain SinkBasinType KnifeType)
    (canContain FridgeType AppleType) (canContain FridgeType EggType) (canContain MicrowaveType EggType)
)
(:goal GOAL)
)
"""

PUT_MUG = (
    "(and (exists (?r - receptacle) (exists (?o - object) (and (inReceptacle ?o ?r) (objectType ?o MugType)"
    " (receptacleType ?r ShelfType)))))"
)
LOOK_AT_APPLE = (
    "(and (exists (?ot - object ?r - receptacle ?a - agent ?l - location) (and (objectType ?ot DeskLampType) (toggleable ?ot)"
    " (isToggled ?ot) (receptacleAtLocation ?r ?l) (atLocation ?a ?l) (inReceptacle ?ot ?r)))"
    " (exists (?o - object ?a - agent) (and (objectType ?o AppleType) (holds ?a ?o))))"
)


def kitchen(goal: str = PUT_MUG) -> str:
    """The household's PDDL problem with a goal."""
    return KITCHEN.replace("GOAL", goal)
