"""The passages: one plain sentence for each fact about a thing, plus filler sentences without relevant facts.

Rules:
    - A fact has several wordings; each contains its value exactly as the title of that thing.
    - Filler sentences mention other things by name, so that a name alone does not identify the passage about it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from empg_gym.envs.deepsearch.world.facts import Kind, Thing

_OPENINGS: dict[Kind, str] = {
    "country": "{name} is a country",
    "city": "{name} is a city",
    "person": "{name} is remembered as a person of some note",
    "work": "{name} is a work that is still talked about",
    "company": "{name} is a company",
    "event": "The {name} was a public event",
}
_FACTS: dict[tuple[Kind, str], tuple[str, ...]] = {
    ("country", "capital"): ("Its capital is {value}.", "The seat of its government is the capital, {value}."),
    ("country", "head"): ("The head of state is {value}.", "{value} serves as head of state."),
    ("country", "currency"): ("People pay in {value}, the national currency.", "The currency is the {value}."),
    ("country", "language"): ("The official language is {value}.", "{value} is the language spoken by nearly everybody."),
    ("country", "founded"): ("The country was founded in {value}.", "It has existed as a state since {value}, when it was founded."),
    ("city", "country"): ("It lies in {value}.", "The city belongs to the country of {value}."),
    ("city", "mayor"): ("The mayor is {value}.", "{value} holds the office of mayor."),
    ("city", "twin"): ("It is twinned with {value}.", "Its twin city is {value}."),
    ("city", "river"): ("The river {value} runs through it.", "It was built on the banks of the river {value}."),
    ("city", "founded"): ("It was founded in {value}.", "The first walls were raised in {value}, the year it was founded."),
    ("person", "birthplace"): ("{name} was born in the city of {value}.", "The birthplace was {value}."),
    ("person", "spouse"): ("The spouse is {value}.", "{name} married {value}."),
    ("person", "teacher"): ("{value} was the teacher who counted most.", "{name} was a pupil of {value}, a patient teacher."),
    ("person", "employer"): ("The employer was {value}.", "{name} was employed by {value} for many years."),
    ("person", "occupation"): ("The occupation of {name} was {value}.", "Occupation: {value}."),
    ("person", "born"): ("The year of birth is {value}.", "{name} was born in {value}."),
    ("work", "creator"): ("It was created by {value}.", "Its creator is {value}."),
    ("work", "publisher"): ("{value} published it.", "The publisher was {value}."),
    ("work", "setting"): ("The story is set in {value}.", "Its setting is the city of {value}."),
    ("work", "genre"): ("Its genre is {value}.", "Critics file it under {value}."),
    ("work", "appeared"): ("It appeared in {value}.", "It was first shown to the public in {value}."),
    ("company", "founder"): ("It was founded by {value}.", "The founder was {value}."),
    ("company", "headquarters"): ("The headquarters are in {value}.", "It is run from its headquarters in {value}."),
    ("company", "owner"): ("Its parent company is {value}.", "It is owned by {value}, the parent company."),
    ("company", "product"): ("It makes {value}.", "Its workshops produce {value}."),
    ("company", "founded"): ("The company dates from {value}.", "It was set up in {value}."),
    ("event", "location"): ("It took place in {value}.", "The host city was {value}."),
    ("event", "winner"): ("The winner was {value}.", "{value} won it."),
    ("event", "sponsor"): ("{value} was the sponsor.", "It was paid for by its sponsor, {value}."),
    ("event", "held"): ("It was held in {value}.", "The year was {value}."),
}
_FILLER = (
    "An old guide mentions {other} in the same breath.",
    "Visitors often ask about {other} as well.",
    "A rumour about {other} has never been confirmed.",
    "It should not be confused with {other}.",
    "A letter kept in an archive names {other} beside it.",
    "Few records from before that time survive.",
    "Opinions about it have changed more than once.",
    "A small plaque tells the rest of the story.",
)


def passage(rng: random.Random, thing: Thing, things: Sequence[Thing]) -> str:
    """Return the text of a thing's passage, about 50 to 90 words, without its title."""
    facts = dict(thing.values) | {relation: things[number].name for relation, number in thing.things.items()}
    sentences = []
    for relation, value in facts.items():
        sentences.append(rng.choice(_FACTS[thing.kind, relation]).format(name=thing.name, value=value))
    for _ in range(rng.choice((1, 2, 3))):
        sentences.append(rng.choice(_FILLER).format(other=rng.choice(things).name))
    rng.shuffle(sentences)
    return " ".join([_OPENINGS[thing.kind].format(name=thing.name) + ".", *sentences])
