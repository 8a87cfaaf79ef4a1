"""Write docs/results.md, the marked blocks of README.md and its picture from the committed files in benchmarks/results.

python scripts/results_page.py            write
python scripts/results_page.py --check    exit 1 if a page is not up to date with the result files
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from empg_gym.scoring.intervals import mean, mean_interval
from empg_gym.study.chart import HEIGHT, WIDTH, Series, line_chart

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURE_COLOURS = ("#1f6feb", "#d97706", "#6b7280")
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
    """Return a number as text: whole and grouped if large, else with three digits."""
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
            f"Published transcripts (ReAct, Reflexion): of {scripts['distinct']} episodes {scripts['identified_by_intro_and_goal']} name a "
            f"known game by opening and goal, and {scripts['all_observations_equal']} replay with every observation equal; "
            f"{scripts['note']}.",
            machine(record),
            "`python -m benchmarks.alfworld_proof`",
        ]
    )


def alfworld_speed() -> str:
    """ALFWorld's speed next to TextWorld's."""
    record = load("alfworld_speed")
    side = record["side_by_side"]
    rows = [
        ("steps a second, with admissible actions", number(record["steps"]["steps_per_second"])),
        ("the same next to TextWorld, same games and actions", number(side["ours_steps_per_second"])),
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
    """BM25 next to bm25s and tantivy."""
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


def retrieval_recall() -> str:
    """Recall of gold passages next to the specification's."""
    record = load("retrieval_recall")
    ranks = record["recall_at"]
    rows = [
        (name, who, part["questions"], *(f"{value:.3f}" for value in part["recall"]))
        for name, sides in record["sets"].items()
        for who, part in sides.items()
    ]
    head = ("questions of", "", "number", *(f"recall at {rank}" for rank in ranks))
    return "\n\n".join([table(head, rows), record["notes"], machine(record), "`python -m benchmarks.retrieval_recall`"])


def retrieval_lucene() -> str:
    """Our ranking next to Lucene's on the reference corpus."""
    record = load("retrieval_lucene")
    rows = [
        (name, f"{part['queries']:,}", f"{part['same_first']:,}", f"{part['identical_10']:,}", f"{part['identical_50']:,}")
        for name, part in record["sets"].items()
    ]
    head = ("queries of", "number", "same first passage", "same list of 10", "same list of 50")
    text = f"Lists of ids compared with those of Lucene ({record['lucene']}) on the reference corpus of {record['passages']:,} passages:"
    return "\n\n".join([text, table(head, rows), machine(record), "`python -m benchmarks.retrieval_lucene JAR`"])


def deepsearch_speed() -> str:
    """Deep Search's steps a second."""
    record = load("deepsearch_speed")
    rows = []
    for name in ("embedded", "reference"):
        part = record[name]
        rows.append((f"{name}, {part['passages']:,} passages", *(number(value) for value in part["steps_per_second"].values())))
    head = ("steps a second (CPU time)", *record["embedded"]["steps_per_second"])
    return "\n\n".join([table(head, rows), machine(record), "`python -m benchmarks.deepsearch_speed --data ../shared/data/deepsearch`"])


def webshop_speed() -> str:
    """WebShop's steps a second in every mode."""
    record = load("webshop_speed")
    rows = [
        (
            mode,
            number(part["steps_per_s"]),
            number(part["clicks_per_s"]),
            number(part["clicks_without_purchases_per_s"]),
            number(part["searches_per_s"]),
            f"{part['reset_ms']:.3f} ms",
        )
        for mode, part in record.items()
        if isinstance(part, dict) and "steps_per_s" in part and mode != "targets"
    ]
    head = ("observation", "random valid steps/s", "clicks/s", "clicks/s without purchases", "searches/s", "reset")
    return "\n\n".join([f"{record['catalogue'].capitalize()}.", table(head, rows), machine(record), "`python -m benchmarks.webshop_speed`"])


def webshop_scale() -> str:
    """WebShop with a million products."""
    record = load("webshop_scale")
    build, use, memory = record["build"], record["use"], record["memory"]
    rows = [
        ("build, all of it", f"{build['total_s']:,.0f} s, {build['peak_memory_mb']:,.0f} MB at most"),
        ("open", f"{1000 * use['open_s']:.0f} ms"),
        ("search, p50 / p95", f"{use['search_p50_ms']:.1f} / {use['search_p95_ms']:.1f} ms"),
        ("first process (PSS)", f"{memory['first_process_alone_mb']:,.0f} MB"),
        ("added to the sum of PSS by each further worker", f"{memory['added_by_a_further_worker_mb']:.1f} MB"),
        (f"PSS of a worker among {memory['workers'] + 1}", f"{memory['each_further_worker_mb']:.1f} MB at most"),
    ]
    head = (f"{record['products']:,} generated products", "")
    return "\n\n".join([table(head, rows), machine(record), f"`python -m benchmarks.webshop_scale --products {record['products']}`"])


def webshop_agents() -> str:
    """WebShop's expert and random agents on every split."""
    record = load("webshop_agents")
    rows = [
        (world, name, part["goals"], part["without_a_way"], f"{part['score']:.3f}", percent(part["success"]), part["steps"])
        for world in ("embedded", "official")
        for name, part in record.get(world, {}).items()
    ]
    head = ("catalogue", "goals, split, agent", "goals", "of them without a solution", "score", "success", "steps")
    return "\n\n".join([table(head, rows), machine(record), "`python -m benchmarks.webshop_agents`"])


def webshop_ratio() -> str:
    """The decisions of the fast token_set_ratio."""
    record = load("webshop_ratio")
    rows = [(name, f"{part['pairs']:,}", f"{part['matches']:,}", part["disagreements"]) for name, part in record["decisions"].items()]
    text = (
        f"Every pair of the reference data, decided by ours and by {record['full_ratio']}; ours is {record['speed_up']:.1f} times as fast."
    )
    return "\n\n".join(
        [text, table(("pairs of", "number", "matches", "disagreements"), rows), machine(record), "`python -m benchmarks.webshop_ratio`"]
    )


def over_seeds(seeds: list[int]) -> str:
    """Return the seeds, and what a cell of the table is."""
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}; mean over seeds ± half of the 95 % interval"


def own_states(warm: Json) -> str:
    """Return the part of the warm start that is played by the policy."""
    steps = round(warm.get("dagger", 0) * warm["steps"])
    return f", the last {steps} of which are on new episodes that the policy plays together with the expert" if steps else ""


def mean_over(values: list[float]) -> Json:
    """Return the mean over seeds and half of its 95 % interval, for `spread`."""
    bounds = mean_interval([[value] for value in values])
    return {"mean": mean([values]), "half_width_95": None if bounds is None else (bounds.high - bounds.low) / 2}


def demo_alfworld() -> str:
    """The demo over seeds."""
    record = load("demo_alfworld")
    warm, rl = record["config"]["warmstart"], record["config"]["rl"]
    parts = [
        f"{record['parameters']:,} parameters, {over_seeds(record['seeds'])}. "
        f"The warm start: {warm['steps']:,} supervised steps of {warm['episodes_per_step']} episodes{own_states(warm)}; "
        f"reinforcement: {record.get('steps', rl['steps'])} steps of {rl['tasks_per_step']} x {rl['repeats']} episodes."
    ]
    for method, splits in record["methods"].items():
        rows = [
            (split, part["games"], spread(part["before"], 100), spread(part["after"], 100), spread(part["points_gained"], 1))
            for split, part in splits.items()
        ]
        parts.append(table((method.upper(), "games", "success % after the warm start", "after reinforcement", "points gained"), rows))
    if len(record["methods"]) > 1:
        parts.append(
            "The methods start from the same checkpoints, with the same seeds, tasks and budget. Differences between them that are smaller "
            "than the intervals are not significant."
        )
    runs = record["runs"]["empg"]
    if "steps" in record:
        lowest = [f"{name} {100 * part['success']:.0f} %" for name, part in sorted(runs[0]["after"][0]["by_type"].items())]
        parts.append(
            f"One run, interrupted after {record['steps']} of {rl['steps']} steps of reinforcement. By task type on "
            f"{runs[0]['after'][0]['split']}: {', '.join(lowest)}. Weights after the warm start: `{runs[0]['start_weights']}`."
        )
        parts += [machine(record), "`python -m benchmarks.demo_alfworld --checkpoint RUN/checkpoints/rl-NNNNNN`"]
        return "\n\n".join(parts)
    names = sorted(runs[0]["after"][0]["by_type"])
    for place, title in ((0, runs[0]["after"][0]["split"]), (1, runs[0]["after"][1]["split"])):
        rows = [
            (
                name,
                *(spread(mean_over([run[when][place]["by_type"][name]["success"] for run in runs]), 100) for when in ("before", "after")),
            )
            for name in names
        ]
        parts.append(table((f"EMPG by task type on {title}", "after the warm start", "after reinforcement"), rows))
    seconds = ", ".join(f"{item['cpu_seconds']:.0f} ({item['threads'] or 'all'})" for item in runs)
    parts += [
        f"CPU seconds of training and evaluation, threads in brackets: {seconds}.",
        machine(record),
        f"`python -m benchmarks.demo_alfworld --methods {' '.join(record['methods'])}`",
    ]
    return "\n\n".join(parts)


def method_variants() -> str:
    """Variants of EMPG and of state grouping against GRPO."""
    record = load("method_variants")
    runs, against = record["runs"], record["against_grpo"]
    rows = []
    for name, seeds in runs.items():
        for seed, run in seeds.items():
            paired = against.get(name, {}).get("per_seed", {}).get(seed)
            shift = run["means_over_steps"].get("empg/shift_failed")
            rows.append(
                (
                    name,
                    seed,
                    f"{100 * run['before']:.1f}",
                    f"{100 * run['after']:.1f}",
                    "" if paired is None else points(paired["difference"], paired["interval_95"]),
                    f"{100 * run['train_success_last']:.1f}",
                    "" if shift is None else f"{shift:+.3f}",
                    f"{100 * run['means_over_steps'].get('advantage/failed_groups_share', 0.0):.0f}",
                )
            )
    head = (
        "variant",
        "seed",
        "before, %",
        "after, %",
        "points against GRPO",
        f"training tasks, last {record['last_steps']} steps, %",
        "`empg/shift_failed`",
        "steps in all-fail groups, %",
    )
    config = record["config"]
    rl, warm = config["rl"], config["warmstart"]
    seconds = [run["cpu_seconds"] for seeds in runs.values() for run in seeds.values()]
    return "\n\n".join(
        [
            f"Success on {record['games']} games of {record['split']} before and after reinforcement ({rl['steps']} steps of "
            f"{rl['tasks_per_step']} x {rl['repeats']} episodes) from one warm start per seed ({warm['steps']} steps, detours "
            f"{warm['detours']}), the same tasks and seeds for all variants. Differences are paired by game, with 95 % intervals for this "
            "pair of policies. One seed says little about the methods: another seed may turn a difference around.",
            table(head, rows),
            f"{min(seconds):,.0f} to {max(seconds):,.0f} CPU seconds a run, one thread.",
            machine(record),
            "`python -m benchmarks.method_variants`",
        ]
    )


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


def points(difference: float, interval: list[float]) -> str:
    """Return a difference of shares in points, with its interval."""
    return f"{100 * difference:+.1f} ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"


def spread(values: Json, scale: float) -> str:
    """Return mean ± half width."""
    half = values["half_width_95"]
    return f"{scale * values['mean']:.1f}" + ("" if half is None else f" ± {scale * half:.1f}")


def tiny_runs() -> str:
    """The other tiny configurations, one seed each."""
    rows, commands = [], []
    for name, world, command in TINY_RUNS:
        record = load(name)
        summary = record["summary"]
        commands.append(f"`{command}` ({summary['seconds'] / 60:.0f} minutes on one core)")
        for before, after in zip(summary["before"], summary["after"], strict=True):
            shares = percent(before["success"]), percent(after["success"])
            rows.append((world, before["split"], before["tasks"], *shares, f"{before['score']:.3f}", f"{after['score']:.3f}"))
    head = ("world", "split", "tasks", "success after the warm start", "after EMPG", "score before", "after")
    text = (
        "One seed each. The warm start teaches to copy: names, ASINs, product options. A difference of less than ten "
        "points on a hundred tasks may be chance; the reinforcement is kept to minutes on a CPU."
    )
    return "\n\n".join([text, table(head, rows), machine(record), ", ".join(commands)])


def demo_speed() -> str:
    """The demo's reinforcement step in an earlier revision and now."""
    record = load("demo_speed")
    measured = [*(("the earlier one", size) for size in record["sizes"]), ("each its own", record["own_demo"])]
    rows = [
        (demo, size["episodes_per_step"], phase, *(f"{part[key]:.2f}" for key in keys), ", ".join(map(str, part["ratios"])))
        for demo, size in measured
        for phase, part in size["phases"].items()
        for keys in [("earlier_cpu_s", "now_cpu_s", "ratio")]
    ]
    head = ("demo", "episodes", "phase", f"CPU seconds at {record['earlier_revision']}", "now", "ratio", "ratio of each round")
    passes = " and ".join(
        f"{size['forward_passes']['now'] / size['forward_passes']['earlier']:.2f} with {size['episodes_per_step']} episodes"
        for size in record["sizes"]
    )
    same = all(size["same_responses_in_the_first_round"] for size in record["sizes"])
    text = (
        f"One thread, both revisions in turns on a machine that many others used (load {record['load_before']:g} to "
        f"{record['load_after']:g}; now is {record['revision']}): the CPU seconds of a phase vary by a factor of two. With the earlier "
        "demo both revisions have its configuration and model; the last rows compare the demos themselves: rows are shorter, "
        "and groups whose episodes end alike are left out. "
        f"The generator's forward passes fell to {passes}. The first round's responses are {'the same' if same else 'different'} in both "
        "revisions; later ones follow weights that differ in the order of float sums."
    )
    command = "`python -m benchmarks.demo_speed --earlier TREE --earlier-model CHECKPOINT --model CHECKPOINT`"
    return "\n\n".join([text, table(head, rows), machine(record), command])


def generation() -> str:
    """Generation over many steps, next to a plain loop over `model.generate`."""
    record = load("generation")
    rows = [
        (
            name,
            f"{part['parameters']:,}",
            part["episodes"],
            number(part["HFGenerator"]["tokens_per_s"]),
            number(part["model.generate each turn"]["tokens_per_s"]),
            f"{part['ratio_tokens_per_s']:.1f}",
        )
        for name, part in record["models"].items()
    ]
    head = ("layers x width", "parameters", "episodes", "tokens/s, one cache for all steps", "`model.generate` every step", "ratio")
    return "\n\n".join([table(head, rows), machine(record), "`python -m benchmarks.generation`"])


def head() -> str:
    """The output layer next to the pass that keeps all logits."""
    record = load("head")
    rows = []
    for name, part in record["cases"].items():
        naive, ours = part["naive"], part["ours"]
        rows.append(
            (
                name,
                f"{part['tokens']:,} x {part['vocabulary']:,}",
                part["width"],
                f"{naive['cpu_s']:.1f} s, {naive['peak_mb']:,} MB",
                f"{ours['cpu_s']:.1f} s, {ours['peak_mb']:,} MB",
                f"{part['time_ratio']:.2f}",
                f"1/{1 / part['memory_ratio']:.1f}",
            )
        )
    text = (
        "Forward and backward of log-probabilities from hidden states, float32, one core: CPU time, peak memory above that of the inputs. "
        "Naive keeps all logits; ours keeps one number per token and recomputes blocks of logits. The weight's gradient is part of both "
        "(156 MB at width 256, 545 MB at 896). Targets at full size: 1.2x the time, 1/8 of the memory."
    )
    table_head = ("", "tokens x words", "width", "naive", "ours", "time", "memory")
    return "\n\n".join([text, table(table_head, rows), machine(record), "`python -m benchmarks.head`"])


def gpu() -> str:
    """Training on a GPU, or that nobody has measured it yet."""
    command = "`python -m benchmarks.gpu`"
    if not (RESULTS / "gpu.json").is_file():
        return (
            f"No GPU figure exists yet: no CUDA device was at hand. {command} measures tokens/s, model FLOP utilisation and peak memory "
            "of Qwen-shaped models (0.6B and 1.5B in full, 4B and 7B with LoRA) at rows of 4k and 16k tokens, the output layer, and "
            "whole iterations of 128 ALFWorld episodes, on any CUDA device with torch and transformers alone. A test runs the same "
            "script on a CPU (`--device cpu --size tiny`). To compare with: prime-rl on one H100 reaches 11.1 % and 11,900 tokens/s at "
            "0.6B and rows of 16k, and 21.7 % for 4B with LoRA; the targets here are 25 % and 40 %."
        )
    record = load("gpu")
    rows = []
    for name, cases in record["updates"].items():
        for case in cases if isinstance(cases, list) else []:
            if "failure" in case:
                rows.append((name, f"{case['row_tokens']:,}", case["failure"], "", "", ""))
                continue
            shares = (case["utilisation_peak"], case["utilisation_matmul"])
            memory = "" if case["peak_gb"] is None else f"{case['peak_gb']:.1f} GB"
            rows.append(
                (
                    name,
                    f"{case['row_tokens']:,}",
                    number(case["tokens_per_s"]),
                    " / ".join("unknown" if share is None else percent(share) for share in shares),
                    memory,
                    "yes" if case["recompute_layers"] else "no",
                )
            )
    heading = (
        "model",
        "row tokens",
        "tokens/s",
        "utilisation (of the card's peak / of a matrix product)",
        "peak memory",
        "layers recomputed",
    )
    sides = [
        (name, part if isinstance(part, str) else f"{1000 * part['seconds']:.1f} ms", "" if isinstance(part, str) else part["peak_gb"])
        for name, part in record["head"].items()
        if name in ("naive", "ours")
    ]
    runs = [
        (name, part["episodes"], f"{part['episodes_per_s']:.2f}", number(part["speed/rollout_s"]), number(part["speed/update_s"]))
        for name, part in record["iterations"].items()
    ]
    return "\n\n".join(
        [
            f"On {record['device']}, {record['dtype']}.",
            table(heading, rows),
            table(("output layer", "time", "peak memory, GB"), sides),
            table(("iteration", "episodes", "episodes/s", "rollout, s", "update, s"), runs),
            machine(record),
            command,
        ]
    )


def generation_engines() -> str:
    """Generation over many steps, next to other engines."""
    record = load("generation_engines")
    rows, wins = [], []
    for name, part in record["models"].items():
        engines = part["engines"]
        own = engines["hf"]["tokens_per_cpu_s"]
        for engine, one in engines.items():
            label = {"hf": "`hf` (this package)", "continuous batching": "transformers, continuous batching", "vllm": "vLLM on the CPU"}[
                engine
            ]
            rate = one["tokens_per_cpu_s"]
            rows.append((name, f"{part['parameters']:,}", label, number(rate), f"{rate / own:.2f}", f"{one['peak_mb']:,.0f} MB"))
        missing = [engine for engine in ("hf", "continuous batching", "vllm") if engine not in engines]
        best = max(engines, key=lambda engine: engines[engine]["tokens_per_cpu_s"])
        wins.append(f"{best} for the {name} model" + (f" ({', '.join(missing)} not measured)" if missing else ""))
    head = ("model", "parameters", "engine", "tokens per CPU second", "relative to `hf`", "peak memory")
    text = (
        "Scripted episodes of many steps with responses of random length, one thread. All engines return the log-probability of every "
        f"token, `hf` its entropy too. The fastest: {'; '.join(wins)}."
    )
    return "\n\n".join([text, table(head, rows), machine(record), "`python -m benchmarks.generation_engines`"])


def trl() -> str:
    """Multi-step GRPO next to TRL."""
    record = load("trl")
    ours, episodes, update = (record[name] for name in ("ours", "trl_environment_factory", "trl_same_rows"))
    ratios, targets = record["ratios"], record["targets"]
    met = {name: "yes" if value else "no" for name, value in record["met"].items()}
    rows = [
        ("rollout, generated tokens per CPU second", *_pair(ours, episodes, "generated_tokens_per_s"), ratios["rollout"]),
        ("update, row tokens per CPU second", *_pair(ours, update, "update_tokens_per_s"), ratios["update"]),
        ("peak memory of the process, MB", *_pair(ours, episodes, "peak_mb"), ratios["memory"]),
        ("its growth after loading, MB", *_pair(ours, episodes, "growth_mb"), ratios["memory_growth"]),
    ]
    goals = (f"at least {targets['rollout']:g}", f"at least {targets['update']:g}", *[f"at most {targets['memory']:g}"] * 2)
    verdicts = (met["rollout"], met["update"], *(("no", "yes")[ratios[name] <= targets["memory"]] for name in ("memory", "memory_growth")))
    repeats = record["repeats"]
    runs = f"medians of {repeats} interleaved runs" if repeats > 1 else "one run of each side"
    text = (
        f"{record['model']}; {record['episodes_per_iteration']} ALFWorld episodes of up to 20 steps per iteration, one thread, {runs}. "
        "TRL plays through `environment_factory`; both update on the same rows, TRL in its fastest micro-batch."
    )
    head = ("", "ours", "TRL", "ratio", "target", "met")
    lines = [(*row, goal, verdict) for row, goal, verdict in zip(rows, goals, verdicts, strict=True)]
    return "\n\n".join([text, table(head, lines), machine(record), "`python -m benchmarks.trl --venv DIR`"])


def _pair(ours: Json, theirs: Json, name: str) -> tuple[str, str]:
    return number(ours[name]), number(theirs[name])


def estimators() -> str:
    """The cost of the advantage estimators."""
    record = load("estimators")
    batch, demo, anchor = record["batch"], record["demo"], record["anchor"]
    rows = [
        (
            f"`{name}`",
            f"{1000 * part['seconds']:.2f} ms",
            f"{100 * part['share_of_anchor']:.4f} %",
            f"{1000 * part['demo_seconds']:.2f} ms",
            f"{100 * part['share_of_demo']:.3f} %",
        )
        for name, part in record["estimators"].items()
    ]
    head = ("advantage", f"{batch['trajectories']} trajectories x 50 steps", "share of 291 s", "the demo's batch", "share of its iteration")
    text = (
        f"CPU time on one thread, median of {record['repeats']} calls. The batch of {batch['trajectories']} trajectories has "
        f"{batch['steps']:,} steps in {batch['states']:,} states; numbering the states, once for all methods, takes "
        f"{1000 * batch['prepare_s']:.0f} ms. {anchor['iteration_s']:.0f} s is the iteration that GraphGPO's authors report, of which "
        f"their estimator took {anchor['estimator_s']} s (0.046 %); the target here is {100 * anchor['target_share']:.2f} %, "
        f"{1000 * anchor['target_s']:.0f} ms. The demo's iteration takes {demo['iteration_s']:.1f} s of CPU time for "
        f"{demo['trajectories']} trajectories with {demo['steps']:,} steps."
    )
    return "\n\n".join([text, table(head, rows), machine(record), "`python -m benchmarks.estimators`"])


def report_scale() -> str:
    """The report of ten thousand episodes in headless Chromium."""
    record = load("report_scale")
    actions = record["action_ms"]
    rows = [
        ("size of the page", f"{record['page_mb']:.0f} MB (trajectories: {record['trajectories_mb']:.0f} MB)"),
        ("writing it", f"{record['write_seconds']:.0f} s"),
        ("opening it", f"{record['load_ms']} ms"),
        *((name.replace("_", " "), f"{value} ms") for name, value in actions.items()),
    ]
    return "\n\n".join([table((f"{record['episodes']:,} episodes", ""), rows), machine(record), "`python -m benchmarks.report_scale`"])


def soak() -> str:
    """Return attacks and faults with the counts that were tried and held."""
    record = load("soak")
    episodes, found = record["soak"]["episodes"], record["soak"]
    attacks = [[row["attack"], f"{row['tried']:,}", f"{row['held']:,}", row["remark"]] for row in record["attacks"]]
    faults = [
        [where, name, f"{count['tried']:,}", f"{count['held']:,}"]
        for where, key in (("the command", "faults_of_the_command"), ("agents and environments", "faults_of_agents_and_environments"))
        for name, count in found[key].items()
    ]
    long = [
        [
            name.replace("-long", "").replace("-", ", "),
            f"{run['episodes']:,}",
            f"{run['mb'][0]:.0f} to {run['mb'][-1]:.0f}",
            "{slope:+.2f} [{low:+.2f}, {high:+.2f}]".format_map(run["mb_per_1000_episodes"]),
            f"{run['records_mb_per_1000_episodes']:.2f}",
            f"{run['open_files_per_1000_episodes']['slope']:+.1f}",
            run["open_files_most"],
            run["open_sockets_most"],
        ]
        for name, run in found["memory"].items()
    ]
    return "\n\n".join(
        [
            table(["attack", "tried", "held", "measured"], attacks),
            f"Soak: {episodes['planned']:,} episodes in the three embedded worlds, through {found['attempts']} starts of `empg-gym eval`, "
            f"{found['attempts_in_background']} of them with SIGINT ignored as in background jobs; "
            f"{found['episodes_through_faults_of_the_command']:,} of the episodes went through faults of the command. "
            f"In the run folders are {episodes['episodes']:,} episodes, {episodes['missing']} missing and {episodes['twice']} twice; "
            f"{episodes['retried']:,} were retried within a run, {episodes['errors']} are recorded as errors. A fault holds if no process "
            "of the command is left, its output has no traceback, and the resumed run has every episode once. A full disk is a limit on "
            "the size of the command's files.",
            table(["fault of", "fault", "tried", "held"], faults),
            f"Processes left: {found['processes_left']}. Tracebacks: {found['tracebacks']}. Unexpected files: {found['other_files']}.",
            "Memory of the commands that ran longest, in MB, after a garbage collection every 100 episodes: from the first sample to the "
            "last, and the growth per 1,000 episodes after the first quarter of them [95 %]. The records of the episodes, from which the "
            "summary is computed, are a part of it; the rest are caches of bounded size that fill.",
            table(["run", "episodes", "MB", "growth", "of it records", "open files per 1,000", "at most", "sockets at most"], long),
            machine(record),
            "`python -m benchmarks.soak`",
        ]
    )


def readme_demo() -> str:
    """The demo's result in three lines."""
    record = load("demo_alfworld")
    splits = record["methods"]["empg"]
    rows = [(split, spread(part["before"], 100), spread(part["after"], 100)) for split, part in splits.items()]
    games = next(iter(splits.values()))["games"]
    seeds, steps, planned = len(record["seeds"]), record.get("steps"), record["config"]["rl"]["steps"]
    over = f"mean of {seeds} seeds ± half of the 95 % interval" if seeds > 1 else f"seed {record['seeds'][0]}"
    over += "" if steps is None else f", after {steps} of {planned} steps of reinforcement"
    return "\n\n".join(
        [
            f"The result of `make demo` with {record['parameters']:,} parameters from scratch{cpu_minutes(record['runs']['empg'])}: "
            f"success in % on {games:,} held-out games of each split ({over}; [more](docs/results.md)):",
            table(("", "after the warm start", "after EMPG"), rows),
            f"The curve over the steps of reinforcement (evaluations in between of {record['config']['eval']['curve_tasks']} games; "
            "training: mean of five steps of 128 episodes, at temperature 1):",
            "![Success in training and on held-out games, by step](docs/assets/demo-curve.svg)",
        ]
    )


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
    record = load("demo_alfworld")
    points = mean_curve(record["runs"]["empg"])
    names = {name: None for point in points for name in point if name != "step"}
    series = [
        Series(name, [(point["step"], *[point[name]] * 3) for point in points if name in point], place) for place, name in enumerate(names)
    ]
    lines = [(name, PICTURE_COLOURS[place]) for place, name in enumerate(names)]
    style = "".join(f".c{place}{{stroke:{colour}}}" for place, (_, colour) in enumerate(lines))
    legend = "".join(
        f'<text x="{540}" y="{190 - 16 * place}" text-anchor="end" style="fill:{colour}">{name}</text>'
        for place, (name, colour) in enumerate(lines)
    )
    start = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" '
    inside = (
        "<style>text{font:12px sans-serif;fill:#555}.grid{stroke:#ddd}.curve{fill:none;stroke-width:2}.band{fill:none}"
        f'{style}</style><rect width="100%" height="100%" fill="#fff"/>'
    )
    head, mark, rest = str(line_chart("Success", series, percent=True)).partition(">")
    return head.replace("<svg ", start, 1) + mark + inside + rest.replace("</svg>", legend + "</svg>") + "\n"


def readme_proof() -> str:
    """The evidence that the environments match the benchmarks."""
    alfworld, speed = load("alfworld_proof"), load("alfworld_speed")
    retrieval, agents = load("retrieval_speed"), load("deepsearch_agents")
    walks = alfworld["official_walks"], alfworld["generated_walks"]
    steps, differences = sum(part["steps"] for part in walks), sum(len(part["differences"]) for part in walks)
    same, corpus = retrieval["lucene"], load("retrieval_lucene")["sets"].values()
    queries, identical = sum(part["queries"] for part in corpus), sum(part["identical_50"] for part in corpus)
    musique = agents["reference"]["musique_train60, top_k=3"]["agents"]
    lines = [
        f"ALFWorld: {steps:,} random steps compared with TextWorld, {differences} differences; the expert solves all "
        f"{alfworld['experts']['official train [new]']['won']:,} official training games; "
        f"{number(speed['steps']['steps_per_second'])} steps a second on one core, "
        f"{number(speed['side_by_side']['ours_to_textworld'])} times TextWorld's.",
        "WebShop: upstream's golden episodes replay step by step, goals and prices included; search gives Lucene's own ranking on "
        f"{percent(same['bm25']['identical_50'])} of {same['queries']} reference queries.",
        f"Deep Search: the expert answers {percent(musique['expert']['success_rate'])} of the MuSiQue questions over 9,002 passages, "
        f"a one-shot searcher {percent(musique['one-shot']['success_rate'])}; search over them gives Lucene's first 50 in their order for "
        f"{identical:,} of {queries:,} queries.",
    ]
    return "The evidence ([all results](docs/results.md)):\n\n" + "\n".join(f"- {line}" for line in lines)


TINY_RUNS = (
    (
        "alfworld_official_tiny",
        "ALFWorld, released games",
        "python -m benchmarks.train_official DATA",
    ),
    ("webshop_tiny", "WebShop", "python -m benchmarks.train_tiny configs/webshop-tiny.toml"),
    ("deepsearch_tiny", "Deep Search", "python -m benchmarks.train_tiny configs/deepsearch-tiny.toml"),
)
"""Result file, world and command."""

STATE_KEYS = (("state", "the exact state"), ("observation", "the observation text"))


def serve_load() -> str:
    """The environment server under load and faults."""
    record = load("serve_load")
    rows = []
    for key, what in (("openenv", "OpenEnv's protocol, one step a message"), ("batched", "`connect_batch`, many steps a message")):
        run = record[key]
        both = run["server_cpu_ms_per_step"] + run["client_cpu_ms_per_step"]
        rows.append(
            (
                what,
                run["sessions"],
                number(run["steps_per_second"]),
                f"{run['server_cpu_ms_per_step']:.3f} ms + {run['client_cpu_ms_per_step']:.3f} ms",
                number(2000 / both),
                number(8 * run["server_steps_per_core_second"]),
            )
        )
    single, faults = record["openenv"], record["faults"]
    kinds = [
        ("undisturbed", "nothing"),
        ("cut_connections", "100 connections cut in the middle of a call"),
        ("slow_readers", "20 clients that send and never read"),
        ("malformed_and_oversized", "200 malformed or oversized messages"),
        ("killed_worker", "a worker killed (kill -9)"),
    ]
    noticed = [(what, faults[key]["equal"], faults[key]["different"], faults[key]["failed"]) for key, what in kinds]
    head = (
        "real ALFWorld, two workers, clients on the same two cores",
        "sessions",
        "steps/s, measured",
        "CPU per step, server + clients",
        "steps/s of two idle cores",
        "steps/s of 8 cores for the server",
    )
    killed = faults["killed_worker"]
    return "\n\n".join(
        [
            table(head, rows),
            f"{single['sessions']} sessions were held, each in an episode of its own, in {number(single['memory_mb'])} MB of both "
            f"workers; all of them stepping at once, the median answer took {number(single['median_ms'])} ms and the 99th percentile "
            f"{number(single['p99_ms'])} ms. The last two columns are computed from the CPU seconds: the machine ran other jobs, and "
            "the fastest of several runs is shown. A step in this process takes "
            f"{record['local']['cpu_ms_per_step']:.3f} ms. OpenEnv reports 2,048 sessions and 932 requests per second on 8 cores with an "
            "environment that does nothing.",
            f"The same two workers held {number(record['held']['sessions'])} sessions in {number(record['held']['memory_mb'])} MB, "
            "and answered all of them.",
            f"What {faults['sessions']} other sessions notice, each step compared with the local environment:",
            table(("what happens", "steps equal", "different", "failed"), noticed),
            f"The killed worker held {killed['sessions_of_the_worker']} of these sessions, which failed once and played on after the next "
            f"reset; {killed['workers_afterwards']} workers served again afterwards.",
            machine(record),
            "`python -m benchmarks.serve_load --python .venv-openenv/bin/python`",
        ]
    )


def serve_identity() -> str:
    """The same episodes through every door of a server."""
    record = load("serve_identity")
    names = {
        "connect": "`empg_gym.connect`",
        "connect_batch": "`empg_gym.connect_batch`",
        "mcp": "MCP, with the client of `mcp`",
        "openenv": "OpenEnv, with the client of `openenv`",
    }
    rows = [
        (names[name], door["package"], door["episodes"], number(door["steps"]), len(door["differences"]))
        for name, door in record["doors"].items()
    ]
    return "\n\n".join(
        [
            "Episodes of all three environments, expert's, random and invalid actions; observation, reward and ending of every step "
            "compared with `gymnasium.make` in the same process:",
            table(("door", "package", "episodes", "steps", "episodes that differ"), rows),
            machine(record),
            "`python -m benchmarks.serve_identity`, and once more in `.venv-openenv`",
        ]
    )


SECTIONS: dict[str, tuple[str, Callable[[], str]]] = {
    "demo_alfworld": ("The demo: EMPG on the embedded ALFWorld", demo_alfworld),
    "tiny_runs": ("The other environments with models of this size", tiny_runs),
    "method_variants": ("EMPG's variants and GiGPO against GRPO", method_variants),
    "state_groups": ("GiGPO: groups by state and by observation", state_groups),
    "alfworld_proof": ("ALFWorld: equal to upstream", alfworld_proof),
    "alfworld_speed": ("ALFWorld: speed", alfworld_speed),
    "deepsearch_agents": ("Deep Search: agents", deepsearch_agents),
    "deepsearch_speed": ("Deep Search: speed", deepsearch_speed),
    "webshop_agents": ("WebShop: agents", webshop_agents),
    "webshop_speed": ("WebShop: speed", webshop_speed),
    "webshop_scale": ("WebShop: a million products", webshop_scale),
    "webshop_ratio": ("WebShop: option and attribute matching", webshop_ratio),
    "retrieval_speed": ("Retrieval: speed and fidelity", retrieval_speed),
    "retrieval_recall": ("Retrieval: recall of gold passages", retrieval_recall),
    "retrieval_lucene": ("Retrieval: Lucene and ours on the reference corpus", retrieval_lucene),
    "demo_speed": ("Trainer: a step of the demo", demo_speed),
    "generation": ("Trainer: generation over many steps", generation),
    "head": ("Trainer: the output layer", head),
    "gpu": ("Trainer: on a GPU", gpu),
    "generation_engines": ("Trainer: generation next to continuous batching and vLLM", generation_engines),
    "trl": ("Trainer: multi-step GRPO next to TRL", trl),
    "estimators": ("Trainer: cost of the estimators", estimators),
    "report_scale": ("Report: ten thousand episodes", report_scale),
    "serve_load": ("Serving", serve_load),
    "serve_identity": ("Served episodes", serve_identity),
    "soak": ("Attacks and faults", soak),
}
"""Result file to heading and renderer, in the order of the page."""


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
        text = block.sub(lambda found, render=render: f"{found[1]}{render()}\n{found[2]}", text)
    return text


BLOCKS: dict[str, Callable[[], str]] = {"demo": readme_demo, "proof": readme_proof}
"""Name of a marked block of the README to its renderer."""


def main() -> int:
    """Write or check both pages and the picture."""
    picture = ROOT / "docs" / "assets" / "demo-curve.svg"
    pages = {ROOT / "docs" / "results.md": results_page(), ROOT / "README.md": readme(), picture: demo_picture()}
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
