"""A report of 10,000 episodes: seconds to write, size, and response times in headless Chromium.

Run as `python -m benchmarks.report_scale`. Episodes are those of `tests.report.samples`: 20 steps of 40 tokens with entropies and
log-probabilities, and observations of 30 random words, which compress worse than real ones.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine
from empg_gym.report import write_report
from tests.report.browser import chromium
from tests.report.samples import evaluation_run

EPISODES = 10_000
REPEATS = 5
_TIMED = """
const [address, condition, done] = arguments;
const met = new Function('return ' + condition);
const began = performance.now();
location.hash = address;
const look = () => met() ? done(performance.now() - began) : requestAnimationFrame(look);
look();
"""
_ACTIONS = {
    "list": ("#/episodes", "document.querySelectorAll('.episodes tbody tr').length === 50"),
    "sort_by_entropy": ("#/episodes?sort=-entropy", "document.querySelector('[aria-sort=descending] [data-sort=entropy]') !== null"),
    "search": ("#/episodes?q=number+777", "document.getElementById('episodes-status').textContent.includes('filtered from 10,000')"),
    "search_in_transcripts": (
        "#/episodes?q=fridge+%22go+to+desk%22&in=transcripts",
        "document.getElementById('search-in').checked && !document.getElementById('episodes-status').textContent.includes('Searching')",
    ),
    "open_episode": ("#/episode/7777", "location.hash === '#/episode/7777' && document.querySelector('#step-1 .token') !== null"),
}


def measure(folder: Path) -> dict[str, object]:
    """Write the report and time typical actions; times are medians over fresh page loads, in milliseconds."""
    run = evaluation_run(folder / "run", EPISODES, steps=20, tokens=40)
    began = time.perf_counter()
    page = write_report(run)
    written = time.perf_counter() - began
    loads: list[float] = []
    actions: dict[str, list[float]] = {name: [] for name in _ACTIONS}
    with chromium(folder / "profile") as driver:
        driver.set_script_timeout(120)
        for _ in range(REPEATS):
            driver.get("about:blank")
            began = time.perf_counter()
            driver.get(page.as_uri())
            while driver.execute_script("return document.documentElement.dataset.ready") is None:
                time.sleep(0.01)
            loads.append(1000 * (time.perf_counter() - began))
            for name, (address, condition) in _ACTIONS.items():
                actions[name].append(driver.execute_async_script(_TIMED, address, condition))
    return {
        "trajectories_mb": round((run / "trajectories.jsonl").stat().st_size / 1e6, 1),
        "page_mb": round(page.stat().st_size / 1e6, 1),
        "write_seconds": round(written, 1),
        "load_ms": round(statistics.median(loads)),
        "action_ms": {name: round(statistics.median(times)) for name, times in actions.items()},
    }


def main() -> None:
    """Measure and write the result file."""
    with tempfile.TemporaryDirectory() as folder:
        result = {"episodes": EPISODES, "repeats": REPEATS, **measure(Path(folder)), "machine": machine("selenium", "jinja2", "numpy")}
    target = Path(__file__).parent / "results" / "report_scale.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
