"""The section about the study of methods."""

from __future__ import annotations

import statistics
from typing import Any

from empg_gym.study.chart import Series
from result_sections.pictures import picture
from result_sections.shared import Json, load, machine, percent, points, table

STABILITY_PICTURES = {
    "stability-success.svg": ("Success in training", "train/success"),
    "stability-kl.svg": ("KL divergence of an update", "loss/kl_old"),
}
"""File name to title and metric."""


def study_methods() -> str:
    """Methods, paired by seed, warm start and tasks."""
    record = load("study_methods")
    parts = [
        "Success in % on held-out tasks and in training, mean over seeds. Per seed, the methods of an environment share one warm start, "
        "one stream of tasks and one evaluation; a difference to the first method is paired by seed and task, with its 95 % interval over "
        "seeds (Student's t). The area is the mean success of all training episodes. "
        f"Steps: the median of the step at which the mean of five steps reaches {100 * record['threshold']:.0f} %, and in how many runs it "
        "does. The late drop is how far a run ends below its best five steps, the KL the largest of an update. The intervals are not "
        "corrected for the number of comparisons: with eleven methods, two measures and two worlds, about two exclude 0 by chance.",
        *_state(record),
        _methods_conclusion(record),
        *_environments(record),
    ]
    return "\n\n".join(parts)


def study_stability() -> str:
    """EMPG against GRPO over a whole training, and at a rate that is too high."""
    record = load("study_stability")
    parts = [
        "EMPG over GRPO, without another base, against GRPO, from the demo's warm starts: as the demo trains, with fewer steps, and in a "
        f"training that is meant to be unstable ({_unstable(record)}). The columns are those of the study above.",
        *_state(record),
        _stability_conclusion(record),
        *_environments(record),
        *(f"![{title}, at too high a rate](assets/{file})" for file, (title, _) in STABILITY_PICTURES.items()),
    ]
    return "\n\n".join(parts)


def _methods_conclusion(record: Json) -> str:
    found = [part for environment in record["environments"] for part in _compared(environment)]
    return (
        f"{' '.join(found)} The area, a mean over all episodes, is the more precise measure. Seeds, and so warm starts, differ more than "
        "methods do.\n\n"
        "What follows for a user: where the environment has exact states, `graph_gpo` is the first to try. It learns faster than GRPO "
        "in both worlds and costs no more; GiGPO and G2PO do in ALFWorld. Dynamic sampling does there too, more so with EMPG, in a third "
        "more CPU time. EMPG over GRPO, filtered or not, and its two parts by themselves have no clearly larger area in trainings this "
        "short, and EMPG ends a little below GRPO in WebShop; longer and rougher trainings are in the next section."
    )


def _compared(environment: Json) -> list[str]:
    """Return a sentence about which methods are above or below the reference in an environment, beyond chance of a single comparison."""
    methods = [method for method in environment["methods"] if len(method["seeds"]) > 1]
    if not methods:
        return []
    split = environment["splits"][0]
    ends = sorted(method["after"][split]["mean"] for method in methods)
    clear = {
        "area": _clear({method["method"]: method["area_difference"] for method in methods}),
        "success after training": _clear({method["method"]: method["difference"].get(split) for method in methods}),
    }
    named = "; ".join(f"{what}: {', '.join(names) or 'none'}" for what, names in clear.items())
    return [
        f"In {environment['environment']} all methods end at {100 * ends[0]:.0f} to {100 * ends[-1]:.0f} %, from "
        f"{100 * methods[0]['before'][split]['mean']:.0f}; of the differences to {methods[0]['method']} these exclude 0: {named}."
    ]


def _clear(differences: dict[str, Json | None]) -> list[str]:
    """Return the methods whose difference excludes 0, with a remark where it is negative."""
    found = [(name, item) for name, item in differences.items() if item is not None and len(item["values"]) > 1]
    return [name if item["mean"] > 0 else f"{name} (lower)" for name, item in found if not item["interval"][0] <= 0 <= item["interval"][1]]


def _stability_conclusion(record: Json) -> str:
    usual, unstable = (environment["methods"][1] for environment in record["environments"])
    (after,), (rough,) = (method["difference"].values() for method in (usual, unstable))
    return (
        "What follows for a user: with settings that suit, EMPG and GRPO learn as fast as each other and end within a few points (EMPG "
        f"minus GRPO: {_against(after)}); either will do. With a rate that is too high, success in training falls with both, with GRPO "
        f"sooner and further: the difference is {_against(unstable['area_difference'])} points over the training and {_against(rough)} "
        "points at its end. The largest KL divergence of an update and the late drop don't differ clearly. So EMPG makes a training more "
        "forgiving of a rate that is too high, as the paper claims; a collapse that comes only late, as the paper shows of its baseline, "
        "doesn't occur here."
    )


def _unstable(record: Json) -> str:
    usual, high = (record["config"][name]["rl"] for name in ("demo", "high-rate"))
    times = high["optimizer"]["lr"] / usual["optimizer"]["lr"]
    return (
        f"{times:.1f} times the learning rate, {high['optimizer']['schedule']}; gradients of a norm of up to "
        f"{high['optimizer']['max_grad_norm']:g} instead of {usual['optimizer']['max_grad_norm']:g}; half of the episodes; no filter"
    )


def stability_pictures() -> dict[str, str]:
    """Return the pictures of the study at too high a rate: file name to SVG."""
    environment = load("study_stability")["environments"][-1]
    pictures: dict[str, str] = {}
    if not all(method["seeds"] for method in environment["methods"]):
        return {}
    for file, (title, metric) in STABILITY_PICTURES.items():
        series = [Series(method["method"], method["curves"][metric], place) for place, method in enumerate(environment["methods"])]
        pictures[file] = picture(title, series, percent=metric == "train/success", legend_below=40)
    return pictures


def _state(record: Json) -> list[str]:
    if record["finished"] == record["planned"]:
        return []
    return [f"{record['finished']} of {record['planned']} runs are finished; the study resumes where it stopped."]


def _environments(record: Json) -> list[str]:
    parts: list[str] = []
    for environment in record["environments"]:
        if any(method["seeds"] for method in environment["methods"]):
            parts += _environment(environment, record["config"][environment["environment"]])
    return [*parts, machine(record), f"`python -m benchmarks.study examples/studies/{record['title']}.toml`"]


def _environment(environment: Json, config: Json) -> list[str]:
    warm, rl = config["warmstart"], config["rl"]
    split = environment["splits"][0]
    methods = [method for method in environment["methods"] if method["seeds"]]
    before = statistics.fmean(value for method in methods[:1] for value in method["before"][split]["values"].values())
    intro = (
        f"### {environment['environment']}\n\n"
        f"{environment['tasks'][split]:,} tasks of {split}; {percent(before)} after the warm start ({warm['steps']:,} steps of "
        f"{warm['episodes_per_step']} episodes). Reinforcement: {rl['steps']} steps of {rl['tasks_per_step']} x {rl['repeats']} episodes."
    )
    head = ("method", "seeds", "after", "points against the first", "area", "points of area", "steps", "late drop", "KL", "CPU s a run")
    return [intro, table(head, [_row(method, split) for method in methods])]


def _row(method: Json, split: str) -> tuple[Any, ...]:
    difference = method["difference"].get(split)
    reached = [step for step in method["steps_to_threshold"].values() if step is not None]
    runs = len(method["steps_to_threshold"])
    return (
        method["method"],
        len(method["seeds"]),
        f"{100 * method['after'][split]['mean']:.1f}",
        _against(difference),
        f"{100 * method['area']['mean']:.1f}",
        _against(method["area_difference"]),
        f"{statistics.median(reached):.0f} ({len(reached)} of {runs})" if reached else f"(0 of {runs})",
        f"{100 * method['late_drop']['mean']:.1f}",
        f"{method['kl_max']['mean']:.1e}",
        f"{method['cpu_seconds']['mean']:.0f}",
    )


def _against(difference: Json | None) -> str:
    return points(difference["mean"], difference["interval"]) if difference and len(difference["values"]) > 1 else ""
