"""The lint that keeps listed phrases out of the repository."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "check_english.py"

CASES = [
    ("A text that is no JSON ends the call.", "A text that is not JSON ends the call."),
    ("Names that are no nouns.", "Names that are not nouns. There are no nouns. It is no longer read. Is there no text?"),
    ("The row has no token that can be trained.", "The row lacks trainable tokens; it has no tokens."),
    ("The text behind the last step.", "The text after the last step; the motive behind a test."),
    ("A response is cut behind this many tokens.", "A response is cut after this many tokens."),
    ("The key stands in the header.", "The key is in the header. An empty path stands for the default and stands in for a name."),
    ("The reward stands\n    # at the end.", "The reward comes at the end."),
    ("The trainer besides.", "Plus the trainer, beside the model."),
    ("A killed run goes on where it stopped.", "A killed run resumes where it stopped. The goal is on the list."),
    ("They went\n    on with the next one.", "They continued with the next one."),
    ("Reads the file anew.", "Reads the file again, from scratch. A newer one."),
    ("The caller is told of a retry.", "The caller is notified of a retry. The told story."),
    ("Mend the file and retry.", "Fix the file and retry. A recommended amendment."),
    ("On the processor it takes a second.", "On the CPU it takes a second. On two processor cores."),
    ("5 updates running without a gain.", "Five consecutive updates without a gain. Steps running on a GPU."),
    ("The pool gives back the worker.", "The pool returns the worker."),
    ("What came of them is recorded.", "The results are recorded. What comes next."),
    ("Return a report of all episodes and what becomes of it.", "Return a report of all episodes."),
    ("Integers of NumPy are welcome.", "NumPy integers are accepted. A welcome message."),
    ("What a protocol makes of a text.", "The action that a protocol parses from a text; a list made of words."),
    ("It takes what a model writes.", "It accepts the text that a model writes."),
    ("Further runs of an episode that failed.", "Retries per failed episode."),
    ("How the trainer keeps its word.", "What the trainer guarantees."),
    ("Plays like that run in all that no option changes.", "Uses that run's settings unless overridden."),
    ("The default where nobody says otherwise.", "The default."),
    ("Whoever calls it closes the file.", "The caller closes the file."),
    ("Read by no one else than the owner.", "Read only by the owner."),
]
"""A sentence to find, and sentences to let pass."""


@pytest.fixture(scope="module")
def lint() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_english", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("bad", "good"), CASES)
def test_each_phrase_is_found_and_its_replacement_passes(lint: ModuleType, bad: str, good: str) -> None:
    assert len(lint.finds(bad)) == 1
    assert lint.finds(good) == []


def test_every_pattern_has_a_case(lint: ModuleType) -> None:
    found = {lint.finds(bad)[0].replacement for bad, _ in CASES}
    assert found == set(lint.PHRASES.values())


def test_a_find_names_file_line_phrase_and_replacement(lint: ModuleType) -> None:
    assert list(lint.check("a.py", "one = 1\n# Read it\n# anew.\n")) == ["a.py:3: 'anew' -> again, from scratch"]


def test_an_allowed_place_passes_and_an_unused_allowance_is_reported(lint: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lint, "ALLOWED", {"a.md": (("the show goes on", "a quotation"),)})
    assert list(lint.check("a.md", "They say the show\ngoes on.")) == []
    assert len(list(lint.check("a.md", "They say the show goes on. The run goes on."))) == 1
    (message,) = lint.check("a.md", "Nothing here.")
    assert "remove the entry" in message


def test_the_command_fails_on_a_find(
    tmp_path: Path, lint: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lint, "ROOT", tmp_path)
    (tmp_path / "page.md").write_text("Reads it anew.\n")
    (tmp_path / "plain.md").write_text("Reads it again.\n")
    assert lint.main([str(tmp_path / "page.md")]) == 1
    assert capsys.readouterr().out == "page.md:1: 'anew' -> again, from scratch\n"
    assert lint.main([str(tmp_path / "plain.md")]) == 0
