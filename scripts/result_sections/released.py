"""The section about the preset for the released ALFWorld games, next to published agents."""

from __future__ import annotations

from result_sections.shared import Json, load, machine, percent, table

VERL = "verl-agent: the admissible actions and the last two steps in the prompt, 50 steps, 128 games, temperature 0.4, 3 seeds"
RL = "150 steps of 16 x 8 episodes, no expert"
PUBLISHED = (
    (
        "BUTLER::BRAIN (Shridhar et al. 2021, Table 2)",
        "a sequence-to-sequence network",
        "DAgger on a rule-based expert, 50,000 episodes",
        "not stated",
        "text games, goals from templates, 50 steps; the best agent",
        "40",
        "35",
    ),
    ("GRPO + EMPG", "Qwen2.5-1.5B / 7B", RL, "4 / 8 A100; hours not stated", VERL, "73.7 / 78.5", ""),
    (
        "GiGPO",
        "Qwen2.5-1.5B / 7B",
        RL,
        "14 hours on 4 GPUs (1.5B, a reproduction)",
        VERL,
        "86.7 / 90.8",
        "84.8 (1.5B, repeated by HGPO)",
    ),
    (
        "GraphGPO",
        "Qwen2.5-1.5B / 7B",
        RL,
        "11 hours (1.5B: 258 s a step)",
        VERL + "; the prompt also describes the state",
        "95.0 / 96.9 (repeated by others: 91.0-92.7 / 94.1-95.3)",
        "",
    ),
)
"""Agent, model, training, time, protocol, success % on valid_seen and on valid_unseen, as published."""


def shares(results: list[Json], split: str) -> str:
    """Return the mean success over seeds of sampling on a split, with the lowest and the highest."""
    found = [100 * item["success"] for item in results if item["split"] == split]
    return f"{sum(found) / len(found):.1f} ({min(found):.1f} to {max(found):.1f})" if found else ""


def alfworld_released() -> str:
    """The released games: steps, parameters and time beside published agents, with the protocol of each."""
    record = load("alfworld_released")
    summary, config, sampled = record["summary"], record["config"], record["sampled"]
    warm, rl = config["warmstart"], config["rl"]
    total, start = record["cpu_seconds"] / 60, record["warm_start"]["cpu_seconds"] / 60
    tokens = record["warm_start"]["losses"][-1]["tokens"]
    dagger = round(warm["dagger"] * warm["steps"])
    splits = [item["split"] for item in summary["after"]]
    parts = [
        f"{summary['parameters']:,} parameters from scratch, one seed, {total:.0f} CPU minutes on one core, evaluations included. "
        f"The warm start ({start:.0f} minutes): {warm['steps']:,} supervised steps of {warm['episodes_per_step']} episodes of the `search` "
        f"expert on games of `train`, {tokens / 1e6:.1f} million tokens; the last {dagger} on episodes that the policy plays together with "
        f"the expert. Reinforcement: {rl['steps']} steps of {rl['tasks_per_step']} x {rl['repeats']} episodes of at most "
        f"{config['env']['max_steps']} steps. Success in % on all games of a split, mean over {len(sampled['after']) // len(splits)} seeds "
        "of sampling (lowest to highest):",
        table(
            ("split", "games", "after the warm start", "after EMPG"),
            [
                (item["split"], item["tasks"], shares(sampled["before"], item["split"]), shares(sampled["after"], item["split"]))
                for item in summary["after"]
            ],
        ),
        "`valid_unseen` is not in our reference data; a run evaluates it where the data has it. By task type, "
        f"with the 95 % interval of the {summary['after'][0]['tasks']} games of the run's own evaluation: "
        f"{percent(summary['after'][0]['success_low'])} to {percent(summary['after'][0]['success_high'])}.",
        table(
            ("type", "games", "after the warm start, %", "after EMPG, %"),
            [
                (name, part["tasks"], *(f"{of_type(sampled[when], splits[0], name):.0f}" for when in ("before", "after")))
                for name, part in sorted(summary["after"][0]["by_type"].items())
            ],
        ),
        "The learning curve, evaluated on the same games:",
        table(
            ("step of reinforcement", "training (mean of five steps), %", *(f"{split}, %" for split in splits)),
            [
                (
                    point["step"],
                    f"{100 * point['training']:.1f}" if "training" in point else "",
                    *(f"{100 * point[split]:.1f}" for split in splits),
                )
                for point in record["curve"]
                if splits[0] in point
            ],
        ),
        "Next to published agents. They differ in more than the method: the language models begin with pretrained weights and learn from "
        "reinforcement alone, choosing among admissible actions that the prompt lists; the preset begins from random weights, learns from "
        "an expert first, and has to write its actions from what it has read.",
        table(
            ("agent", "model", "training", "time", "protocol", "valid_seen", "valid_unseen"),
            [
                (
                    "`configs/alfworld-released.toml`",
                    f"{summary['parameters'] / 1e6:.1f} million parameters, from scratch",
                    f"{warm['steps'] * warm['episodes_per_step']:,} expert episodes, then {rl['steps']} steps of {rl['tasks_per_step']} x "
                    f"{rl['repeats']} episodes",
                    f"{total:.0f} minutes on one core",
                    f"text games, goals from templates, {config['env']['max_steps']} steps; the whole episode and no admissible actions "
                    f"in the prompt; all games, temperature {config['eval']['temperature']}; one seed",
                    *(shares(sampled["after"], split).split(" ")[0] for split in ("valid_seen", "valid_unseen")),
                ),
                *PUBLISHED,
            ],
        ),
        machine(record),
        "`python -m benchmarks.train_released DATA`",
    ]
    return "\n\n".join(parts)


def of_type(results: list[Json], split: str, name: str) -> float:
    """Return the mean success in % of a task type over seeds of sampling."""
    found = [item["by_type"][name]["success"] for item in results if item["split"] == split]
    return 100 * float(sum(found)) / len(found)
