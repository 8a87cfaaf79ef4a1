"""The whole encyclopedia: passages and questions, written once to a folder as the files that any other data set would be.

Rules:
    - Everything follows from (version, size, seed): the same three give the same bytes on every machine.
    - Each part draws from a generator of its own, so that a change to one leaves the others as they are.
    - Passage ids are numbers without order; neither ids nor addresses say anything about a passage's group or kind.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from empg_gym.envs.deepsearch.questions import Question
from empg_gym.envs.deepsearch.world.asking import Asker, WorldSplit
from empg_gym.envs.deepsearch.world.facts import populate
from empg_gym.envs.deepsearch.world.prose import passage
from empg_gym.errors import ConfigError

VERSION = "2"
"""Changes whenever a passage or a question could come out differently."""
SPLITS: tuple[WorldSplit, ...] = ("train", "test", "ood")
MIN_SIZE = 200


def _generator(size: int, seed: int, part: str) -> random.Random:
    return random.Random(f"empg-encyclopedia/{VERSION}/{size}/{seed}/{part}")


def count(split: WorldSplit, size: int) -> int:
    """Return how many questions a split of a world of this size has at most: as many as passages in train, a quarter in the others."""
    return size if split == "train" else size // 4


def generate(size: int, seed: int) -> tuple[list[dict[str, str]], list[Question]]:
    """Return passages `{"id", "title", "text", "contents", "url"}` and the questions of all splits.

    Raises:
        ConfigError: fewer than 200 passages, which are too few for questions of four hops in every split.
    """
    if size < MIN_SIZE:
        raise ConfigError(f"the embedded encyclopedia needs at least {MIN_SIZE} passages, not {size}")
    things = populate(_generator(size, seed, "things"), size)
    rng = _generator(size, seed, "prose")
    rows = []
    for thing in things:
        text = passage(rng, thing, things)
        url = f"https://encyclopedia.local/{quote(thing.name.replace(' ', '_'))}"
        rows.append({"id": str(thing.number), "title": thing.name, "text": text, "contents": f'"{thing.name}"\n{text}', "url": url})
    questions = [question for split in SPLITS for question in Asker(things, split, _generator(size, seed, split)).ask(count(split, size))]
    return rows, questions


def write(folder: Path, size: int, seed: int) -> None:
    """Write `corpus.jsonl` and `questions.jsonl` into `folder`."""
    rows, questions = generate(size, seed)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _question_rows(questions)))


def _question_rows(questions: list[Question]) -> Iterator[dict[str, object]]:
    for question in questions:
        metadata = {
            "dataset": question.dataset,
            "split": question.split,
            "domain": question.domain,
            "type": question.kind,
            "pattern": question.pattern,
            "supporting_doc_ids": list(question.support),
        }
        yield {"id": question.id, "question": question.text, "golden_answers": list(question.golden_answers), "metadata": metadata}
