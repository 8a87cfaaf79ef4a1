"""The documentation is correct: the site builds strictly, links are valid, every block runs, and commands in the prose exist."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest
import typer

from empg_gym import cli
from tests.docs.changes import CHANGES, FILES
from tests.docs.pages import ADAPTERS, PAGES, ROOT, RUN, SERVING, blocks, script

RUNNING = [
    page
    for page in PAGES
    if page.parent != ADAPTERS and page != SERVING and any(block.language in RUN for block in blocks(page.read_text()))
]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNNING, ids=lambda page: page.stem)
def test_every_block_runs(page, clone, free_port, reader_environment):
    commands = script(blocks(page.read_text()))
    for change in CHANGES:
        if change.page == page.stem:
            assert change.printed in commands, f"{page.name} no longer has {change.printed!r}: fix or drop the change"
            commands = commands.replace(change.printed, change.run)
    commands = commands.replace("{port}", str(free_port)).replace("{venv}", sys.prefix)
    FILES.get(page.stem, lambda _: None)(clone)
    shell = subprocess.Popen(
        ["bash", "-c", commands], cwd=clone, env=reader_environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        output, _ = shell.communicate(timeout=600)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
    assert shell.returncode == 0, f"{page.name}:\n{output[-6000:]}"


def test_changes_and_files_belong_to_pages():
    stems = {page.stem for page in RUNNING}
    assert {change.page for change in CHANGES} | set(FILES) <= stems
    assert all(change.because for change in CHANGES)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("Type\n\n    make demo\n", "indented"),
        ("1. Type\n\n\tmake demo\n", "indented"),
        ("```\nls\n```\n", "not a fence"),
        ("```toml\na = 1\n```\n", "not a fence"),
        ("- so:\n  ```bash\n  ls\n  ```\n", "not a fence"),
        ("```bash\nls\n", "never closed"),
    ],
)
def test_code_outside_a_known_fence_is_an_error(text, complaint):
    with pytest.raises(ValueError, match=complaint):
        blocks(text)


def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_files_are_valid(page):
    prose = re.sub(r"`[^`\n]*`", "", page.read_text())
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists() or (page.resolve().parent / target).exists(), f"{page.name} links to {target}"


def _options(words: list[str]) -> set[str]:
    """Return the options of the command of `empg-gym` that the words name."""
    command = typer.main.get_command(cli.app)
    while (children := getattr(command, "commands", None)) and words:
        assert words[0] in children, f"no command {words[0]!r} among {sorted(children)}"
        command = children[words.pop(0)]
    return {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_in_the_prose_exist(page):
    cli._mount()
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for command in re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)):
        match command.split():
            case ["empg-gym", *rest] if rest:
                words = shlex.split(command)[1:]
                known = _options(words)
                for word in words:
                    assert not word.startswith("-") or word.partition("=")[0] in known, f"{page.name}: {command!r} has no option {word}"
            case ["python", "-m", module, *_]:
                assert importlib.util.find_spec(module) is not None, f"{page.name}: no module {module}"
            case ["python", path, *_]:
                assert (ROOT / path).is_file(), f"{page.name}: no file {path}"
            case ["make", target, *_]:
                assert target in targets, f"{page.name}: no target {target}"


def test_the_reference_describes_every_key_and_option(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import reference_pages

    for page in (reference_pages.config_page(), reference_pages.commands_page(), reference_pages.info_page()):
        rows = [line for line in page.splitlines() if line.startswith("| `")]
        assert len(rows) > 15 and not [row for row in rows if row.endswith("|  |")], "each key and option has a docstring or a help text"
    shown = reference_pages.config_page()
    assert "### [rl.optimizer]" in shown and "| `lr` | number > 0 | `0.001` | Learning rate. |" in shown, "defaults are the section's"
    assert "`--episodes`" in reference_pages.commands_page() and "`turns_left`" in reference_pages.info_page()


def test_numbers_in_the_pages_come_from_the_result_files():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "results_page.py", "--check"], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_picture_of_the_report_is_small_and_as_wide_as_the_page():
    stored = (ROOT / "docs" / "images" / "report.png").read_bytes()
    assert stored[:8] == b"\x89PNG\r\n\x1a\n" and len(stored) < 200_000
    assert int.from_bytes(stored[16:20], "big") == 1280, "as scripts/report_picture.py draws it"
