"""The documentation holds: the site builds strictly, every link leads somewhere, and every code block runs.

Blocks marked `python` and `bash` of a page run in order, in one empty folder, as a reader would type them. A block with another mark
(`text`, `toml`, `json`) is something to look at.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(python|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script_of(page: Path) -> str:
    """Return a shell script that runs the page's blocks; Python blocks of a page share their names."""
    python_so_far = ""
    parts = ["set -euo pipefail"]
    for number, (language, code) in enumerate(BLOCK.findall(page.read_text()), 1):
        if language == "bash":
            parts.append(code)
        else:
            python_so_far += code
            parts.append(f"cat > block{number}.py <<'END_OF_BLOCK'\n{python_so_far}END_OF_BLOCK")
            parts.append(f"python block{number}.py")
    return "\n".join(parts)


@pytest.fixture
def reader_environment(tmp_path, chat_server):
    """What a reader has: the package installed, an API key, and no reference data."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "OPENAI_API_KEY": "key-of-the-reader",
        "OPENAI_BASE_URL": chat_server,
        "OMP_NUM_THREADS": "1",
        "TERM": "dumb",
    }


@pytest.mark.parametrize("page", [page for page in PAGES if BLOCK.search(page.read_text())], ids=lambda page: page.stem)
def test_every_block_runs(page, tmp_path, reader_environment):
    done = subprocess.run(
        ["bash", "-c", script_of(page)], cwd=tmp_path, env=reader_environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{page.name}:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_the_site_builds_strictly(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "site" / "index.html").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_to_files_lead_somewhere(page):
    prose = re.sub(r"`[^`\n]*`", "", page.read_text())
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", prose):
        if not re.match(r"[a-z]+:", target):
            assert (page.parent / target).exists() or (page.resolve().parent / target).exists(), f"{page.name} links to {target}"


def test_numbers_in_the_pages_come_from_the_result_files():
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "results_page.py", "--check"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
