"""Readers of question files: each format on records in its published shape (written here, not copied)."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from empg_gym.envs.deepsearch.env import DeepSearchEnv
from empg_gym.envs.deepsearch.questions import Question
from empg_gym.envs.deepsearch.sources.load import collect, load_file, load_folder, set_name
from empg_gym.errors import DataError
from tests.deepsearch.helpers import CORPUS, write_lines

HOTPOT = {
    "_id": "5a",
    "question": "Where was the mayor of Velden born?",
    "answer": "Harrow Bay",
    "type": "bridge",
    "level": "hard",
    "supporting_facts": [["Velden", 0], ["Tila Brook", 7]],  # sentence 7 does not exist: a known defect
    "context": [
        ["Velden", ["Velden is a town.", " Its mayor is Tila Brook."]],
        ["Tila Brook", ["Born in Harrow Bay."]],
        ["Orm", ["A river."]],
    ],
}
HOTPOT_HF = {
    **{name: HOTPOT[name] for name in ("question", "answer", "type", "level")},
    "id": "5b",
    "supporting_facts": {"title": ["Velden", "Tila Brook"], "sent_id": [0, 0]},
    "context": {
        "title": ["Velden", "Tila Brook"],
        "sentences": [["Velden is a town.", " Its mayor is Tila Brook."], ["Born in Harrow Bay."]],
    },
}
TWO_WIKI = {**HOTPOT, "_id": "2w", "type": "compositional", "evidences": [["Velden", "mayor", "Tila Brook"]], "entity_ids": "Q1_Q2"}
MUSIQUE = {
    "id": "2hop__1_2",
    "paragraphs": [
        {"idx": 0, "title": "Tila Brook", "paragraph_text": "Born in Harrow Bay.", "is_supporting": True},
        {"idx": 1, "title": "Orm", "paragraph_text": "A river.", "is_supporting": False},
        {"idx": 2, "title": "Velden", "paragraph_text": "Its mayor is Tila Brook.", "is_supporting": True},
    ],
    "question": "Where was the mayor of Velden born?",
    "question_decomposition": [
        {"id": 1, "question": "Velden >> mayor", "answer": "Tila Brook", "paragraph_support_idx": 2},
        {"id": 2, "question": "Where was #1 born?", "answer": "Harrow Bay", "paragraph_support_idx": 0},
    ],
    "answer": "Harrow Bay",
    "answer_aliases": ["Harrow", "Harrow Bay"],
    "answerable": True,
}

CASES: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    (
        "dev.jsonl",
        [{"id": "test_0", "question": "q?", "golden_answers": ["a", "b", "a"], "metadata": {"dataset": "HotpotQA", "type": "bridge"}}],
        {"id": "test_0", "golden_answers": ("a", "b"), "dataset": "hotpotqa", "split": "test", "kind": "bridge"},
    ),
    (
        "hotpotqa/dev.jsonl",  # FlashRAG keeps the passages in the metadata
        [
            {
                "id": "dev_0",
                "question": "q?",
                "golden_answers": ["a"],
                "metadata": {name: HOTPOT_HF[name] for name in ("type", "supporting_facts", "context")},
            }
        ],
        {"support_titles": ("Velden", "Tila Brook"), "kind": "bridge", "dataset": "hotpotqa"},
    ),
    (
        "nq/train.jsonl",
        [{"id": "train_0", "question": "q?", "golden_answers": ["a"]}],
        {"dataset": "nq", "split": "train", "id": "train_0"},
    ),
    (
        "hotpot_dev_distractor_v1.json",
        [HOTPOT],
        {"id": "5a", "dataset": "hotpotqa", "split": "test", "support_titles": ("Velden", "Tila Brook")},
    ),
    ("hotpot_train_v1.1.json", [HOTPOT], {"split": "train", "kind": "bridge"}),
    ("hf_validation.jsonl", [HOTPOT_HF], {"id": "5b", "dataset": "hotpotqa", "split": "test", "support_titles": ("Velden", "Tila Brook")}),
    ("2wiki/dev.json", [TWO_WIKI], {"id": "2w", "dataset": "2wikimultihopqa", "kind": "compositional", "split": "test"}),
    (
        "musique_ans_v1.0_dev.jsonl",
        [MUSIQUE],
        {"golden_answers": ("Harrow Bay", "Harrow"), "kind": "2hop", "support_titles": ("Velden", "Tila Brook"), "dataset": "musique"},
    ),
    (
        "b.csv",
        [{"Question": "q?", "": "", "Answer": "a", "Answer 2": "b"}],
        {"golden_answers": ("a", "b"), "dataset": "bamboogle", "split": "test"},
    ),
    ("NQ-open.train.jsonl", [{"question": "q?", "answer": ["a", "b"]}], {"id": "train_0", "golden_answers": ("a", "b"), "dataset": "nq"}),
    (
        "wikipedia-train.json",
        [
            {
                "Question": "q?",
                "QuestionId": "tc_1",
                "Answer": {"Value": "A", "Aliases": ["a", "A"], "NormalizedAliases": ["x"]},
                "EntityPages": [],
            }
        ],
        {"id": "tc_1", "golden_answers": ("A", "a"), "dataset": "triviaqa", "split": "train"},
    ),
    (
        "hf_test.jsonl",
        [{"question": "q?", "question_id": "tc_2", "answer": {"value": "A", "aliases": ["a"], "normalized_aliases": ["a"]}}],
        {"id": "tc_2", "golden_answers": ("A", "a"), "dataset": "triviaqa"},
    ),
    (
        "popqa.tsv",
        [{"id": "7", "subj": "s", "prop": "capital", "obj": "o", "question": "q?", "possible_answers": '["A", "B"]'}],
        {"id": "7", "golden_answers": ("A", "B"), "kind": "capital", "split": "test", "dataset": "popqa"},
    ),
    (
        "main.jsonl",
        [
            {
                "question": "q?",
                "answer": "A long answer.",
                "root_url": "https://a.b",
                "info": {"type": "multi_source", "golden_path": ["root->x"]},
            }
        ],
        {"golden_answers": ("A long answer.",), "kind": "multi_source", "dataset": "webwalkerqa", "split": "test"},
    ),
    ("silver.jsonl", [{"Question": "q?", "answer": "A", "root_url": "https://a.b", "golden_path": ["root"]}], {"split": "train"}),
    (
        "gaia.jsonl",
        [{"task_id": "g1", "Question": "q?", "Level": 2, "Final answer": "17", "file_name": "", "Annotator Metadata": {"Steps": "1."}}],
        {"id": "g1", "golden_answers": ("17",), "kind": "level 2", "dataset": "gaia", "split": "test"},
    ),
    (
        "copy.jsonl",
        [{"id": "h1", "question": "q?", "answer": "A", "answer_type": "exactMatch", "rationale": "r", "image": ""}],
        {"id": "h1", "kind": "exactMatch", "dataset": "hle", "split": "test"},
    ),
    (
        "frames_test.tsv",
        [{"": "0", "Prompt": "q?", "Answer": "A", "wikipedia_link_1": "https://x", "reasoning_types": "Tabular"}],
        {"id": "0", "golden_answers": ("A",), "kind": "Tabular", "dataset": "frames", "split": "test"},
    ),
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jsonl":
        return write_lines(path, rows)
    if path.suffix == ".json":
        path.write_text(json.dumps({"Data": rows} if "QuestionId" in rows[0] else rows))
        return path
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writeheader()
        writer.writerows(rows)
    return path


def one(path: Path) -> Question:
    rows, skipped = load_file(path)
    assert not skipped
    (row,) = rows
    return row.question


@pytest.mark.parametrize(("name", "rows", "wanted"), CASES, ids=[case[0] for case in CASES])
def test_formats(tmp_path: Path, name: str, rows: list[dict[str, Any]], wanted: dict[str, Any]) -> None:
    question = one(write(tmp_path / name, rows))
    assert question.text in ("q?", "Where was the mayor of Velden born?")
    assert {member: getattr(question, member) for member in wanted} == wanted


@pytest.mark.parametrize("truth", ["a", ["a"], {"target": ["a"]}, {"target": "a"}])
def test_search_r1_parquet(tmp_path: Path, truth: Any) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    prompt = [{"role": "user", "content": "Answer the given question. <answer> Beijing </answer>. Question: who is it?\n"}]
    row = {
        "data_source": "nq",
        "prompt": prompt,
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": truth},
        "extra_info": {"split": "train", "index": 3},
    }
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "x.parquet")
    question = one(tmp_path / "x.parquet")
    assert (question.text, question.golden_answers) == ("who is it?", ("a",))
    assert (question.id, question.dataset, question.split) == ("train_3", "nq", "train")


def test_arpo_parquet_takes_its_question_from_extra_info(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    row = {
        "data_source": "webdancer",
        "prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q?"}],
        "reward_model": {"ground_truth": "a"},
        "extra_info": {"index": 1, "question": "q?", "split": "train"},
        "metadata": None,
    }
    parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "hard_search_1k.parquet")
    assert one(tmp_path / "hard_search_1k.parquet").text == "q?"


def test_gzip(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "nq_train.jsonl.gz", "wt") as handle:
        handle.write(json.dumps({"question": "q?", "answer": ["a"]}) + "\n")
    assert one(tmp_path / "nq_train.jsonl.gz").id == "train_0"


def test_rows_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    gaia = {"task_id": "g", "Question": "q?", "Level": 1, "Final answer": "1", "file_name": "x.png"}
    rows, skipped = load_file(
        write_lines(tmp_path / "g.jsonl", [gaia, {**gaia, "file_name": "", "task_id": "h"}, {**gaia, "file_name": "", "Final answer": "?"}])
    )
    assert [entry.question.id for entry in rows] == ["h"]
    assert dict(skipped) == {"needs an attached file": 1, "answer not published": 1}
    rows, skipped = load_file(write_lines(tmp_path / "m.jsonl", [MUSIQUE, {**MUSIQUE, "id": "x", "answerable": False}]))
    assert dict(skipped) == {"not answerable": 1}
    with pytest.raises(DataError, match=r"no usable question.*1 with needs an image"):
        load_file(write_lines(tmp_path / "h.jsonl", [{"id": "h", "question": "q", "answer": "a", "answer_type": "x", "image": "data:"}]))
    with pytest.raises(DataError, match="1 with no answer"):
        load_file(write_lines(tmp_path / "t.jsonl", [{**HOTPOT, "answer": None}]))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("x.jsonl", "", "it is empty"),
        ("x.jsonl", "{", "line 1: not JSON"),
        ("x.jsonl", '{"question": "q", "golden_answers": ["a"]}\n[1]', "line 2: expected a JSON object"),
        (
            "x.jsonl",
            '{"question": "q", "golden_answers": ["a"]}\n{"question": "r"}',
            "record 2 is damaged: it does not match the format flashrag",
        ),
        ("x.jsonl", '{"text": "x", "label": 1}', "members label, text, which match none of the known formats"),
        ("x.jsonl", '{"id": "1", "contents": "x"}', "looks like a corpus"),
        ("x.json", '"text"', "expected a list"),
        ("x.json", "[1", "not JSON"),
        ("x.txt", "x", "the name of a question file must end in"),
        ("x.parquet", "x", "not a Parquet file"),
        ("x.jsonl.gz", "x", "can't be read"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str, content: str, says: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=says) as error:
        load_file(tmp_path / name)
    assert name in str(error.value)
    assert str(tmp_path) not in str(error.value)


def test_train_and_held_out_questions_are_kept_apart(tmp_path: Path) -> None:
    row = {"question": "Who is it?", "golden_answers": ["a"]}
    write_lines(tmp_path / "nq" / "train.jsonl", [{"id": "train_0", **row}, {"id": "train_1", **row, "question": "Who else?"}])
    write_lines(tmp_path / "nq" / "dev.jsonl", [{"id": "dev_0", **row, "question": "who is  it"}])
    questions = collect(*load_folder(tmp_path))
    assert [entry.question.id for entry in questions.entries] == ["nq/dev_0", "nq/train_1"]
    assert dict(questions.skipped) == {"a train question that is also held out": 1}


def test_an_id_may_occur_once_only(tmp_path: Path) -> None:
    row = {"id": "x", "question": "Who?", "golden_answers": ["a"]}
    rows, skipped = load_file(write_lines(tmp_path / "x.jsonl", [row, {**row, "question": "Whom?"}]))
    with pytest.raises(DataError, match="'x' occurs twice"):
        collect(rows, skipped)


def test_a_folder_leaves_corpora_aside(tmp_path: Path) -> None:
    write_lines(tmp_path / "corpus.jsonl", CORPUS)
    write_lines(tmp_path / "questions.jsonl", [{"id": "1", "question": "q?", "golden_answers": ["a"]}])
    assert [entry.question.id for entry in load_folder(tmp_path)[0]] == ["questions/1"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="has no question files"):
        load_folder(tmp_path / "empty")


@pytest.mark.parametrize(
    ("name", "rows"),
    [("hotpot_train.json", [HOTPOT]), ("hf_train.json", [HOTPOT_HF]), ("musique_train.jsonl", [MUSIQUE]), ("2wiki_train.json", [TWO_WIKI])],
)
def test_passages_that_come_with_questions_are_searched_as_one_corpus(tmp_path: Path, name: str, rows: list[dict[str, Any]]) -> None:
    other = {**rows[0], ("id" if "id" in rows[0] else "_id"): "other", "question": "Which river?"}
    env = DeepSearchEnv(data=write(tmp_path / name, [*rows, other]), protocol="plain")
    assert env.num_tasks == 2
    env.reset(options={"task": 0})
    actions = []
    while (action := env.expert()) is not None:
        actions.append(action)
        reward = env.step(action)[1]
    assert actions[-1] == "answer[Harrow Bay]" and reward == 1.0
    assert len(actions) >= 2


def test_set_names() -> None:
    assert set_name("2Wiki") == "2wikimultihopqa"
    assert set_name("own set") == "own set"
