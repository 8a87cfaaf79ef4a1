"""Write docs/results.md, the marked blocks of README.md and their pictures from the committed files in benchmarks/results.

python scripts/results_page.py            write
python scripts/results_page.py --check    exit 1 if a page is not up to date with the result files
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable

from result_sections import environments, learning, machine_room, operation, released, studies
from result_sections.shared import ROOT

SECTIONS: dict[str, tuple[str, Callable[[], str]]] = {
    "alfworld_tiny": ("The demo: EMPG on the embedded ALFWorld", learning.alfworld_tiny),
    "alfworld_released": ("The released ALFWorld games", released.alfworld_released),
    "deepsearch_tiny": ("Deep Search with a model of this size", learning.deepsearch_tiny),
    "webshop_tiny": ("WebShop with a model of this size", learning.webshop_tiny),
    "study_methods": ("Methods: the study", studies.study_methods),
    "study_stability": ("EMPG and GRPO: a whole training, and too high a rate", studies.study_stability),
    "state_groups": ("GiGPO: groups by state and by observation", learning.state_groups),
    "alfworld_proof": ("ALFWorld: equal to upstream", environments.alfworld_proof),
    "alfworld_speed": ("ALFWorld: speed", environments.alfworld_speed),
    "deepsearch_agents": ("Deep Search: agents", environments.deepsearch_agents),
    "deepsearch_speed": ("Deep Search: speed", environments.deepsearch_speed),
    "webshop_agents": ("WebShop: agents", environments.webshop_agents),
    "webshop_speed": ("WebShop: speed", environments.webshop_speed),
    "webshop_scale": ("WebShop: a million products", environments.webshop_scale),
    "webshop_ratio": ("WebShop: option and attribute matching", environments.webshop_ratio),
    "retrieval_speed": ("Retrieval: speed and fidelity", environments.retrieval_speed),
    "retrieval_recall": ("Retrieval: recall of gold passages", environments.retrieval_recall),
    "retrieval_lucene": ("Retrieval: Lucene and ours on the reference corpus", environments.retrieval_lucene),
    "demo_speed": ("Trainer: a step of the demo", machine_room.demo_speed),
    "generation": ("Trainer: generation over many steps", machine_room.generation),
    "head": ("Trainer: the output layer", machine_room.head),
    "gpu": ("Trainer: on a GPU", machine_room.gpu),
    "generation_engines": ("Trainer: generation next to continuous batching and vLLM", machine_room.generation_engines),
    "trl": ("Trainer: multi-step GRPO next to TRL", machine_room.trl),
    "estimators": ("Trainer: cost of the estimators", machine_room.estimators),
    "report_scale": ("Report: ten thousand episodes", operation.report_scale),
    "serve_load": ("Serving", operation.serve_load),
    "identity": ("Identical episodes", operation.identity),
    "serve_container": ("Containers", operation.serve_container),
    "soak": ("Attacks and faults", operation.soak),
}
"""Result file to heading and renderer, in the order of the page."""

BLOCKS: dict[str, Callable[[], str]] = {"demo": learning.readme_demo, "proof": environments.readme_proof}
"""Name of a marked block of the README to its renderer."""


def results_page() -> str:
    """Return the text of docs/results.md."""
    parts = [
        "# Reference results",
        "Written by `python scripts/results_page.py` from the files in `benchmarks/results`; each section ends with the command that "
        "produced it. The machines are small and shared: ratios mean more than absolute numbers.",
    ]
    parts += [f"## {heading}\n\n{render()}" for heading, render in SECTIONS.values()]
    return "\n\n".join(parts) + "\n"


def readme() -> str:
    """Return README.md with its marked blocks filled in."""
    text = (ROOT / "README.md").read_text()
    for name, render in BLOCKS.items():
        block = re.compile(rf"(<!-- results: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        text, count = block.subn(lambda found, render=render: f"{found[1]}{render()}\n{found[2]}", text)
        if count != 1:
            raise SystemExit(f"README.md has {count} blocks '<!-- results: {name} -->', expected 1")
    return text


def main() -> int:
    """Write or check both pages and the pictures."""
    pictures = {"demo-curve.svg": learning.demo_picture(), **studies.stability_pictures()}
    pages = {ROOT / "docs" / "results.md": results_page(), ROOT / "README.md": readme()}
    pages |= {ROOT / "docs" / "assets" / name: text for name, text in pictures.items()}
    if "--check" in sys.argv[1:]:
        stale = [path.name for path, text in pages.items() if not path.exists() or path.read_text() != text]
        if stale:
            print(f"not up to date with the result files: {', '.join(stale)}; run: python scripts/results_page.py", file=sys.stderr)
        return int(bool(stale))
    for path, text in pages.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
