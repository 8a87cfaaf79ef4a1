"""Write docs/results.md and the marked blocks of README.md from the committed files in benchmarks/results.

python scripts/results_page.py            write
python scripts/results_page.py --check    exit 1 if a page is not what the result files say
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
Json = dict[str, Any]


def load(name: str) -> Json:
    """Return a result file."""
    record: Json = json.loads((RESULTS / f"{name}.json").read_text())
    return record


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *[[str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def percent(value: float) -> str:
    """Return a share as percent."""
    return f"{100 * value:.1f} %"


def number(value: float) -> str:
    """Return a number as people read it: whole and grouped when large, three digits else."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine(record: Json) -> str:
    """Return the machine of a result file in one sentence."""
    of = record["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in of["packages"].items())
    return f"Measured on {of['cpu']}, {of['cores']} cores, Python {of['python']} ({packages})."


def alfworld_proof() -> str:
    """ALFWorld against upstream's engine."""
    record = load("alfworld_proof")
    walks = [
        (kind, part["games"], part["steps"], part["inadmissible_texts"], len(part["differences"]))
        for kind, part in (("official", record["official_walks"]), ("generated", record["generated_walks"]))
    ]
    experts = [(name, part["games"], part["won"], part["mean_steps"]) for name, part in record["experts"].items()]
    scripts = record["transcripts"]
    return "\n\n".join(
        [
            "Random walks, each step compared with TextWorld: feedback, admissible actions, won (both wordings).",
            table(("games", "number", "steps", "of them inadmissible texts", "differences"), walks),
            "The expert on every game:",
            table(("games", "number", "won", "mean steps"), experts),
            f"Published transcripts (ReAct, Reflexion): of {scripts['distinct']} episodes {scripts['identified_by_intro_and_goal']} name a known "
            f"game by opening and goal, and {scripts['all_observations_equal']} replay with every observation equal; {scripts['note']}.",
            machine(record),
            "`python -m benchmarks.alfworld_proof`",
        ]
    )


def alfworld_speed() -> str:
    """ALFWorld's speed beside TextWorld's."""
    record = load("alfworld_speed")
    side = record["side_by_side"]
    rows = [
        ("steps a second, with admissible actions", number(record["steps"]["steps_per_second"])),
        ("the same beside TextWorld, same games and actions", number(side["ours_steps_per_second"])),
        ("TextWorld's own engine", number(side["textworld_steps_per_second"])),
        ('`engine="textworld"` (TextWorld with its parses kept)', number(side["engine_textworld_steps_per_second"])),
        ("ratio, ours to TextWorld", number(side["ours_to_textworld"])),
        ("compiling a game, mean", f"{record['compile']['mean_ms']:.2f} ms"),
        ("reset, mean", f"{record['reset']['mean_ms']:.3f} ms"),
        ("TextWorld's load and reset, mean", f"{side['textworld_load_and_reset']['mean_ms']:,.0f} ms"),
    ]
    return "\n\n".join([table(("one core, official games", ""), rows), machine(record), "`python -m benchmarks.alfworld_speed`"])


def deepsearch_agents() -> str:
    """Deep Search's agents on every split and on the reference corpus."""
    record = load("deepsearch_agents")
    parts = [(f"embedded, {name}", part) for name, part in record["embedded"].items() if isinstance(part, dict)]
    parts += list(record["reference"].items())
    rows = []
    for name, part in parts:
        agents = part["agents"]
        rows.append(
            (name, agents["expert"]["episodes"], *(percent(agents[who]["success_rate"]) for who in ("expert", "one-shot", "random")))
        )
    head = ("questions", "episodes", "expert", "one-shot searcher", "random")
    return "\n\n".join([table(head, rows), machine(record), "`python -m benchmarks.deepsearch_agents`"])


def retrieval_speed() -> str:
    """BM25 beside bm25s and tantivy."""
    record = load("retrieval_speed")
    rows = []
    for size, engines in record["sizes"].items():
        for name, part in engines.items():
            if "query" not in part:
                continue
            query = part["query"]["retriever"]
            rows.append(
                (
                    f"{int(size):,}",
                    {"bm25": "ours"}.get(name, name),
                    f"{query['warm_p50_ms']:.2f} ms",
                    f"{query['warm_p99_ms']:.1f} ms",
                    f"{part['build']['seconds']:,.0f} s",
                    f"{part['memory']['further_worker_pss_mb']:.0f} MB",
                )
            )
    lucene = record["lucene"]
    same = [
        ({"bm25": "ours"}.get(name, name), f"{lucene[name]['overlap_at_10']:.3f}", f"{lucene[name]['identical_50']:.3f}")
        for name in ("bm25", "bm25s", "tantivy")
    ]
    return "\n\n".join(
        [
            table(("passages", "engine", "query p50", "p99", "build", "a further worker (PSS)"), rows),
            f"The ranking of Lucene on {lucene['queries']} reference queries:",
            table(("engine", "overlap of the first 10", "identical lists of 50"), same),
            str(record["notes"]),
            machine(record),
            "`python -m benchmarks.retrieval_speed`",
        ]
    )


SECTIONS: dict[str, tuple[str, Callable[[], str]]] = {
    "alfworld_proof": ("ALFWorld: equal to upstream", alfworld_proof),
    "alfworld_speed": ("ALFWorld: speed", alfworld_speed),
    "deepsearch_agents": ("Deep Search: agents", deepsearch_agents),
    "retrieval_speed": ("Retrieval: speed and fidelity", retrieval_speed),
}
"""Result file to heading and what renders it, in the order of the page."""


def results_page() -> str:
    """Return docs/results.md."""
    parts = [
        "# Reference results",
        "Written by `python scripts/results_page.py` from the files in `benchmarks/results`; the command that made each stands below it. "
        "The machines are small and shared: read ratios before absolute numbers.",
    ]
    parts += [f"## {heading}\n\n{render()}" for heading, render in SECTIONS.values()]
    return "\n\n".join(parts) + "\n"


def readme() -> str:
    """Return README.md with its marked blocks filled in."""
    text = (ROOT / "README.md").read_text()
    for name, render in BLOCKS.items():
        block = re.compile(rf"(<!-- results: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text = block.sub(lambda found, render=render: f"{found[1]}{render()}\n{found[2]}", text)
    return text


BLOCKS: dict[str, Callable[[], str]] = {}
"""Name of a marked block of the README to what renders it."""


def main() -> int:
    """Write or check both pages."""
    pages = {ROOT / "docs" / "results.md": results_page(), ROOT / "README.md": readme()}
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"not what the result files say: {', '.join(stale)}; run: python scripts/results_page.py", file=sys.stderr)
        return int(bool(stale))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
