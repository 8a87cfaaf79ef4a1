"""Sections about what training reaches, and the demo's block and picture in the README."""

from __future__ import annotations

import statistics

from empg_gym.study.chart import Series
from result_sections.pictures import picture
from result_sections.shared import Json, load, machine, mean_over, number, over_seeds, percent, spread, table

NAMES = {"gigpo": "GiGPO", "grpo": "GRPO"}
STATE_KEYS = (("state", "the exact state"), ("observation", "the observation text"))


def own_states(warm: Json) -> str:
    """Return the part of the warm start that is played by the policy."""
    steps = round(warm.get("dagger", 0) * warm["steps"])
    return f", the last {steps} of which are on new episodes that the policy plays together with the expert" if steps else ""


def alfworld_tiny() -> str:
    """The demo over seeds."""
    return preset_over_seeds("alfworld_tiny", by_type=True)


def deepsearch_tiny() -> str:
    """Deep Search over seeds."""
    return preset_over_seeds("deepsearch_tiny")


def webshop_tiny() -> str:
    """WebShop over seeds."""
    return preset_over_seeds("webshop_tiny")


def preset_over_seeds(name: str, *, by_type: bool = False) -> str:
    """Return the section of a preset that was run with several seeds (`benchmarks.train_seeds`).

    Args:
        name: the result file.
        by_type: whether to list EMPG's success by task type.
    """
    record = load(name)
    warm, rl = record["config"]["warmstart"], record["config"]["rl"]
    parts = [
        f"{record['parameters']:,} parameters, {over_seeds(record['seeds'])}. "
        f"The warm start: {warm['steps']:,} supervised steps of {warm['episodes_per_step']} episodes{own_states(warm)}; "
        f"reinforcement: {rl['steps']} steps of {rl['tasks_per_step']} x {rl['repeats']} episodes. The expert that the warm start imitates "
        f"succeeds in {' and '.join(f'{percent(value)} of {split}' for split, value in record['expert'].items())}."
    ]
    for method, splits in record["methods"].items():
        rows = [
            (split, part["tasks"], spread(part["before"], 100), spread(part["after"], 100), spread(part["points_gained"], 1))
            for split, part in splits.items()
        ]
        parts.append(table((method.upper(), "tasks", "success % after the warm start", "after reinforcement", "points gained"), rows))
    if len(record["methods"]) > 1:
        parts.append(
            "The methods start from the same checkpoints, with the same seeds, tasks and budget. Differences between them that are smaller "
            "than the intervals are not significant."
        )
    runs = record["runs"]["empg"]
    parts += success_by_type(runs) if by_type else []
    seconds = ", ".join(f"{item['cpu_seconds']:.0f} ({item['threads'] or 'all'})" for item in runs)
    parts += [
        f"CPU seconds of training and evaluation, threads in brackets: {seconds}.",
        machine(record),
        f"`python -m benchmarks.train_seeds configs/{name.replace('_', '-')}.toml --seeds {' '.join(map(str, record['seeds']))}"
        f"{'' if list(record['methods']) == ['empg'] else ' --methods ' + ' '.join(record['methods'])}`",
    ]
    return "\n\n".join(parts)


def success_by_type(runs: list[Json]) -> list[str]:
    """Return a table for each split: success by task type before and after reinforcement, over the runs."""
    tables = []
    for place, result in enumerate(runs[0]["after"]):
        rows = [
            (
                name,
                *(spread(mean_over([run[when][place]["by_type"][name]["success"] for run in runs]), 100) for when in ("before", "after")),
            )
            for name in sorted(result["by_type"])
        ]
        tables.append(table((f"EMPG by task type on {result['split']}", "after the warm start", "after reinforcement"), rows))
    return tables


def state_groups() -> str:
    """GiGPO's groups by exact state and by observation text."""
    record = load("state_groups")
    mean = record["mean"]
    rows = [(name, percent(mean[f"{key}_alone"]), f"{mean[f'{key}_group_size']:.1f}") for key, name in STATE_KEYS]
    return "\n\n".join(
        [
            f"The same episodes, grouped in two ways ({record['batches']} batches of {record['episodes_per_batch']}, "
            f"{number(mean['steps'])} steps each):",
            table(("steps are compared if they share", "steps alone", "mean size of a step's group"), rows),
            f"Of the pairs of steps with the same text, {percent(mean['observation_pairs_in_different_states'])} are in different states "
            '(such as "Nothing happens."); of the pairs in the same state, '
            f"{percent(mean['state_pairs_with_different_observations'])} read different texts. The advantages have a cosine of "
            f"{mean['cosine_of_advantages']:.3f}; {percent(mean['sign_differs'])} of the steps change their sign.",
            machine(record),
            "`python -m benchmarks.state_groups CHECKPOINT`",
        ]
    )


def readme_demo() -> str:
    """The demo's result in three lines."""
    record = load("alfworld_tiny")
    splits = record["methods"]["empg"]
    rows = [row for place, (split, part) in enumerate(splits.items()) for row in split_and_hardest(split, part, place, record)]
    games = next(iter(splits.values()))["tasks"]
    seeds = len(record["seeds"])
    over = f"mean of {seeds} seeds ± half of the 95 % interval" if seeds > 1 else f"seed {record['seeds'][0]}"
    harder = ", more of them of the hard types" if record["config"]["algorithm"]["task_source"] == "weighted" else ""
    expert = statistics.fmean(record["expert"].values())
    base = record["config"]["algorithm"]["advantage_options"]["base"]
    return "\n\n".join(
        [
            f"The result of `make demo` with {record['parameters']:,} parameters from scratch{cpu_minutes(record['runs']['empg'])}: "
            f"success in % on {games:,} held-out games of each split, generated small households of at most "
            f"{record['config']['env']['max_steps']} steps ({over}; [more](docs/results.md), the released games included):",
            table(("", "after the warm start", f"after EMPG over {NAMES[base]}"), rows),
            f"The expert that the warm start imitates forgets parts of the goals on purpose and wins {100 * expert:.0f} % of these games; "
            "reinforcement sees only whether an episode was won. How low the start is depends on how much the expert forgets. What EMPG "
            "adds to other methods is the question of the [studies](docs/results.md#methods-the-study).",
            f"The curve over the steps of reinforcement (evaluations in between of {record['config']['eval']['curve_tasks']} games; "
            f"training: mean of five steps of 128 episodes, at temperature 1{harder}):",
            "![Success in training and on held-out games, by step](docs/assets/demo-curve.svg)",
        ]
    )


def split_and_hardest(split: str, part: Json, place: int, record: Json) -> list[tuple[str, str, str]]:
    """Return the row of a split, and that of the type of task with the lowest success in the end."""
    runs = record["runs"]["empg"]
    before, after = (
        {name: mean_over([run[when][place]["by_type"][name]["success"] for run in runs]) for name in runs[0][when][place]["by_type"]}
        for when in ("before", "after")
    )
    hardest = min(after, key=lambda name: after[name]["mean"])
    return [
        (split, spread(part["before"], 100), spread(part["after"], 100)),
        (f"`{hardest}`, its lowest type in the end", spread(before[hardest], 100), spread(after[hardest], 100)),
    ]


def cpu_minutes(runs: list[Json]) -> str:
    """Return the mean CPU time of the runs; nothing where it was not recorded."""
    if any("cpu_seconds" not in run for run in runs):
        return ""
    return f", in {sum(run['cpu_seconds'] for run in runs) / len(runs) / 60:.0f} CPU minutes for training and evaluation"


def mean_curve(runs: list[Json]) -> list[Json]:
    """Return the mean learning curve of runs that were evaluated after the same steps."""
    curves = [run.get("curve", []) for run in runs]
    return [{name: sum(point[name] for point in points) / len(points) for name in points[0]} for points in zip(*curves, strict=True)]


def demo_picture() -> str:
    """Return the learning curve of the demo as SVG; README.md shows it."""
    record = load("alfworld_tiny")
    points = mean_curve(record["runs"]["empg"])
    names = {name: None for point in points for name in point if name != "step"}
    series = [
        Series(name, [(point["step"], *[point[name]] * 3) for point in points if name in point], place) for place, name in enumerate(names)
    ]
    return picture("Success", series, percent=True)
