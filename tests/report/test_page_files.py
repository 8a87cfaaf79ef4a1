"""The page as a file: self-contained, escaped, and written atomically."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest

from empg_gym.errors import DataError
from empg_gym.report import write_comparison, write_index, write_report
from tests.report.samples import GROUP, HOSTILE, evaluation_run, hostile_run, training_run, trajectory


class Outline(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.scripts: list[list] = []
        self._in_script = False

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append([dict(attrs), ""])
            self._in_script = True

    def handle_endtag(self, tag):
        self._in_script = self._in_script and tag != "script"

    def handle_data(self, data):
        if self._in_script:
            self.scripts[-1][1] += data


def outline(path) -> Outline:
    parser = Outline()
    parser.feed(path.read_text(encoding="utf-8"))
    return parser


def blocks(path) -> dict:
    found = {}
    for attributes, body in outline(path).scripts:
        if attributes.get("type") == "text/plain":
            found[attributes["id"]] = json.loads(zlib.decompress(base64.b64decode(body)))
    return found


def test_the_page_loads_no_external_resource(tmp_path):
    for run in (training_run(tmp_path / "training"), evaluation_run(tmp_path / "evaluation", 30)):
        page = write_report(run)
        assert page == run / "report.html"
        parser = outline(page)
        for tag, attributes in parser.tags:
            assert tag not in ("img", "iframe", "object", "embed", "base", "form"), tag
            for name in ("src", "srcset", "action", "data"):
                assert name not in attributes, (tag, attributes)
            if tag == "link":
                assert attributes["href"] == "data:,"
            elif "href" in attributes:
                assert attributes["href"].startswith("#")
        text = page.read_text(encoding="utf-8")
        assert "@import" not in text and "url(" not in text
        assert set(re.findall(r"https?://[^\"' ]+", text)) == {"http://www.w3.org/2000/svg"}


def test_the_content_policy_allows_only_the_script_of_the_page(tmp_path):
    import hashlib

    parser = outline(write_report(training_run(tmp_path / "run")))
    policy = next(a["content"] for tag, a in parser.tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy and "connect-src 'none'" in policy
    code = [body for attributes, body in parser.scripts if "type" not in attributes]
    assert len(code) == 1
    digest = base64.b64encode(hashlib.sha256(code[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_no_text_of_a_run_breaks_out_of_the_page(tmp_path):
    plain = outline(write_report(training_run(tmp_path / "plain", 3)))
    page = write_report(hostile_run(tmp_path / "hostile"))
    hostile = outline(page)
    assert "window.hacked" not in "".join(body for _, body in hostile.scripts)
    assert not any("onerror" in attributes for _, attributes in hostile.tags)
    count = lambda parser: len([1 for attributes, _ in parser.scripts if "type" not in attributes])  # noqa: E731
    assert count(hostile) == count(plain) == 1
    episode = blocks(page)["data-chunk-0"][0]
    assert episode["steps"][0]["observation"] == HOSTILE
    assert episode["instruction"] == HOSTILE + " ?", "a lone surrogate can't be encoded in UTF-8"


@pytest.mark.parametrize("training", [True, False])
def test_no_text_of_several_runs_breaks_out_of_their_page(tmp_path, training):
    plain = outline(write_report(training_run(tmp_path / "plain", 3)))
    runs = [hostile_run(tmp_path / f"{name}<img src=x onerror=1>") for name in ("a", "b")]
    for number, run in enumerate(runs):
        (run / "config.json").write_text(json.dumps({HOSTILE: HOSTILE * (number + 1)}))
        if not training:
            (run / "metrics.jsonl").unlink()
    page = write_comparison(runs, tmp_path / "page.html", warnings=() if training else (HOSTILE,))
    listed = write_index(tmp_path)
    for parser in (outline(page), outline(listed)):
        assert "window.hacked" not in "".join(body for _, body in parser.scripts)
        assert not any("onerror" in attributes or tag == "img" for tag, attributes in parser.tags)
        assert len([1 for attributes, _ in parser.scripts if "type" not in attributes]) == 1
    assert len(outline(page).scripts) == len(plain.scripts)


def test_the_data_of_the_page_equals_that_of_the_run(tmp_path):
    from empg_gym.trajectory import read_trajectories

    run = evaluation_run(tmp_path / "run", 60)
    data = blocks(write_report(run))
    trajectories = list(read_trajectories(run / "trajectories.jsonl"))
    index = data["data-index"]
    assert index["count"] == len(trajectories)
    for position, record in enumerate(trajectories):
        assert index["outcomes"][index["outcome"][position]] == ("success" if record.success else "failure")
        assert index["tokens"][position] == record.num_tokens
        episode = data[f"data-chunk-{position // index['chunk']}"][position % index["chunk"]]
        assert [step["action"] for step in episode["steps"]] == [step.action for step in record.steps]
        for shown, step in zip(episode["steps"], record.steps, strict=True):
            assert shown["ids"] == step.response_token_ids.tolist()
            assert [value / 1000 for value in shown["entropies"]] == pytest.approx(step.entropies.tolist(), abs=5.1e-4)


def test_an_entropy_of_0_is_shown_and_a_missing_one_is_not(tmp_path):
    from empg_gym.report.detail import detail

    sure = trajectory(np.random.default_rng(0), 0, steps=2)
    sure.steps[0].entropy, sure.steps[1].entropy = 0.0, None
    first, second = detail(sure)["steps"]
    assert first["entropy"] == 0.0 and "entropy" not in second
    assert "malformed" not in first and (first["row"], first["valid"]) == (0, sure.steps[0].valid_action)


def test_advantages_before_and_after_modulation_reach_the_page(tmp_path):
    episode = blocks(write_report(training_run(tmp_path / "run")))["data-chunk-0"][GROUP]
    assert all({"advantage", "advantage_modulated"} <= step["diagnostics"].keys() for step in episode["steps"])


def test_token_texts_come_from_the_runs_tokenizer_and_are_ids_without_one(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed: pip install 'empg-gym[train]'")
    from tests.report.samples import WORDS

    run = training_run(tmp_path / "run", 4)
    assert blocks(write_report(run))["data-vocabulary"] == {"": {}}
    folder = run / "checkpoints" / "step-60"
    folder.mkdir(parents=True)
    words = {word: number for number, word in enumerate(WORDS)}
    tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token=WORDS[0])).save(str(folder / "tokenizer.json"))
    vocabulary = blocks(write_report(run))["data-vocabulary"][""]
    assert vocabulary and all(WORDS[int(number)] == text for number, text in vocabulary.items())
    (folder / "tokenizer.json").write_text("{}")
    assert blocks(write_report(run))["data-vocabulary"] == {"": {}}


def test_a_run_being_written_is_shown_up_to_its_last_complete_line(tmp_path):
    run = training_run(tmp_path / "run", 5)
    with (run / "trajectories.jsonl").open("a") as file:
        file.write('{"format": "empg-gym/traj')
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "rl", "st')
    assert blocks(write_report(run))["data-index"]["count"] == 5


def test_a_folder_without_a_run_is_a_one_sentence_error_and_nothing_is_written(tmp_path):
    with pytest.raises(DataError, match="no run at"):
        write_report(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="is not a run folder"):
        write_report(tmp_path / "empty")
    run = evaluation_run(tmp_path / "run", 3)
    good = write_report(run).read_bytes()
    with (run / "trajectories.jsonl").open("a") as file:
        file.write("not a trajectory\n")
    with pytest.raises(DataError, match="line 4"):
        write_report(run)
    assert (run / "report.html").read_bytes() == good
    (run / "trajectories.jsonl").unlink()
    (run / "metrics.jsonl").write_text("[1]\n")
    with pytest.raises(DataError, match=r"metrics.jsonl, line 1"):
        write_report(run)
    with pytest.raises(DataError, match="can't be written"):
        write_report(training_run(tmp_path / "other", 1), out=run)
    assert [path.name for path in run.iterdir() if path.name.startswith(".")] == []


def test_a_file_of_saved_games_has_a_report_too(tmp_path):
    run = evaluation_run(tmp_path / "run", 3)
    page = write_report(run / "trajectories.jsonl")
    assert page == run / "trajectories.html"
    assert blocks(page)["data-index"]["count"] == 3


def test_the_report_needs_no_torch(tmp_path):
    run = training_run(tmp_path / "run", 2)
    code = f"import sys; from empg_gym.report import write_report; write_report({str(run)!r}); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
