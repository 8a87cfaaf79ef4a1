"""Sections about the speed and memory of the trainer."""

from __future__ import annotations

from result_sections.shared import Json, load, machine, measured, number, percent, table


def demo_speed() -> str:
    """The demo's reinforcement step in an earlier revision and now."""
    record = load("demo_speed")
    rows = [
        (demo, part["episodes_per_step"], phase, *(f"{values[key]:.2f}" for key in keys), ", ".join(map(str, values["ratios"])))
        for demo, part in record["demos"].items()
        for phase, values in part["phases"].items()
        for keys in [("earlier_cpu_s", "now_cpu_s", "ratio")]
    ]
    head = ("demo", "episodes", "phase", f"CPU seconds at {record['earlier_revision']}", "now", "ratio", "ratio of each round")
    same = all(part["same_responses_in_the_first_round"] for part in record["demos"].values())
    first, *todays = (part["phases"]["step"] for part in record["demos"].values())
    own = sorted(first["earlier_cpu_s"] / step["now_cpu_s"] for step in todays)
    unknown = sorted({key for part in record["demos"].values() for key in part["left_out_of_the_configuration"]})
    both = record["left_out_of_both"]
    text = (
        f"One thread, both revisions in turns on a machine that many others used (load {record['load_before']:g} to "
        f"{record['load_after']:g}; now is {record['revision']}): the CPU seconds of a phase vary by a factor of two. Both revisions have "
        f"the same configuration and model: those of the earlier demo, with two layers and rows of several hundred tokens, and today's "
        "from checkpoints before and after reinforcement (the benchmark leaves out "
        f"{', '.join(f'`{key}`' for key in unknown)}, which the earlier revision does not know, and in both revisions "
        f"{', '.join(f'`{key}`' for key in both)}, whose values it does not know). "
        f"The first round's responses are {'the same' if same else 'different'} in both revisions; later ones follow weights that differ "
        "in the order of float sums: rows of equal tokens are computed once and attend in other groups. "
        f"{_bounds(first, todays)} A step of today's demo, whose rows are shorter, takes {own[0]:.1f} to {own[-1]:.1f} times less than one "
        "of the earlier demo in the earlier revision."
    )
    command = "`python -m benchmarks.demo_speed --earlier TREE --earlier-model CHECKPOINT --models CHECKPOINT … --without KEY …`"
    return "\n\n".join([text, table(head, rows), machine(record), command])


def _bounds(first: Json, todays: list[Json]) -> str:
    """Say how much faster a step is with equal configuration, and what bounds it."""
    ratios = " and ".join(f"{step['ratio']:.2f}" for step in todays)
    return (
        f"With equal configuration a step of today's demo is {ratios} times as fast, one of the earlier demo, whose rows are long, "
        f"{first['ratio']:.2f} times. Profiles show what bounds it. Updating the earlier demo (1.9 "
        "s) takes 0.6 s of matrix products, for whose shapes the core reaches 160 GFLOP/s, and 0.5 s of attention; the rest is spread over "
        "norms, rotations, products of activations and the output layer. Collecting today's demo (1.1 s, at 213ec04) takes 0.52 s of "
        "forward passes, of which attention takes 0.23 s (half of it reads keys and values, more than the core's cache holds), its masks "
        "and indices 0.04 s, matrix products 0.14 s and norms 0.04 s; sampling takes 0.05 s, the engine's other work 0.2 s, and the "
        "episodes themselves (environment, chat, checks, journal) take 0.3 s of Python, no part more than 0.05 s. Of its update (0.3 s), "
        "matrix products are 30 % and attention 24 %. The following gained 1 % at most: attending to blocks in place, "
        "smaller blocks, attention by matrix products in either phase, merged products of queries, keys and values, three or six guesses "
        "instead of four, guesses that also know the rollout before, smaller micro-batches and fused AdamW."
    )


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
    if not measured("gpu"):
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
    head = (
        "advantage",
        f"{batch['trajectories']} trajectories x 50 steps",
        "share of 291 s",
        "that demo's batch",
        "share of its iteration",
    )
    text = (
        f"CPU time on one thread, median of {record['repeats']} calls. The batch of {batch['trajectories']} trajectories has "
        f"{batch['steps']:,} steps in {batch['states']:,} states; numbering the states, once for all methods, takes "
        f"{1000 * batch['prepare_s']:.0f} ms. {anchor['iteration_s']:.0f} s is the iteration that GraphGPO's authors report, of which "
        f"their estimator took {anchor['estimator_s']} s (0.046 %); the target here is {100 * anchor['target_share']:.2f} %, "
        f"{1000 * anchor['target_s']:.0f} ms. The iteration of an earlier demo took {demo['iteration_s']:.1f} s of CPU time for "
        f"{demo['trajectories']} trajectories with {demo['steps']:,} steps; today's takes less than two, as the first section on the "
        "trainer says."
    )
    return "\n\n".join([text, table(head, rows), machine(record), "`python -m benchmarks.estimators`"])
