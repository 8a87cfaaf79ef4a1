"""Generate the encyclopedia: passages and questions, written to a folder in the file formats of any other data set.

Rules:
    - The files are determined by (version, size, seed), byte for byte, on every machine.
    - Each part has its own random generator, so a change to one part does not affect the others.
    - Passage ids are shuffled numbers; neither ids nor addresses reveal a passage's group or kind.
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
"""Raised whenever a passage or a question could change."""
SPLITS: tuple[WorldSplit, ...] = ("train", "test", "ood")
MIN_SIZE = 200


def _generator(size: int, seed: int, part: str) -> random.Random:
    return random.Random(f"empg-encyclopedia/{VERSION}/{size}/{seed}/{part}")


def count(split: WorldSplit, size: int) -> int:
    """Return the maximum number of questions in a split: the number of passages in train, a quarter of it in the others."""
    return size if split == "train" else size // 4


def generate(size: int, seed: int) -> tuple[list[dict[str, str]], list[Question]]:
    """Return passages `{"id", "title", "text", "contents", "url"}` and the questions of all splits.

    Raises:
        ConfigError: `size` is below 200, too few passages for four-hop questions in every split.
    """
    if size < MIN_SIZE:
        raise ConfigError(f"the embedded encyclopedia needs at least {MIN_SIZE} passages, not {size}")
    things = populate(_generator(size, seed, "things"), size)
    rng = _generator(size, seed, "prose")
    passages = []
    for thing in things:
        text = passage(rng, thing, things)
        url = f"https://encyclopedia.local/{quote(thing.name.replace(' ', '_'))}"
        passages.append({"id": str(thing.number), "title": thing.name, "text": text, "contents": f'"{thing.name}"\n{text}', "url": url})
    questions = [question for split in SPLITS for question in Asker(things, split, _generator(size, seed, split)).ask(count(split, size))]
    return passages, questions


def write(folder: Path, size: int, seed: int) -> None:
    """Write `corpus.jsonl` and `questions.jsonl` into `folder`."""
    passages, questions = generate(size, seed)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(record) + "\n" for record in passages))
    (folder / "questions.jsonl").write_text("".join(json.dumps(record) + "\n" for record in _question_records(questions)))


def _question_records(questions: list[Question]) -> Iterator[dict[str, object]]:
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
