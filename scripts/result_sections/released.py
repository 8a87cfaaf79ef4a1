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
    warm = config["warmstart"]
    minutes = summary["cpu_seconds"] / 60
    tokens = record["warm_start"]["losses"][-1]["tokens"]
    dagger = round(warm["dagger"] * warm["steps"])
    last = "after" if "after" in sampled else "before"
    results, final = sampled[last], summary[last][0]
    seeds = len({item["seed"] for item in results})
    parts = [
        f"{summary['parameters']:,} parameters from scratch, one seed, {minutes:.0f} CPU minutes on one core, evaluation included: "
        f"{warm['steps']:,} supervised steps of {warm['episodes_per_step']} episodes of the `search` expert on games of `train`, "
        f"{tokens / 1e6:.1f} million tokens; the last {dagger} steps are on episodes that the policy plays together with the expert. "
        f"{reinforcement(config)} Success in % on all games of a split, mean over {seeds} seeds of sampling (lowest to highest), and by "
        "type of task:",
        table(
            ("split", "games", "success", *sorted(final["by_type"])),
            [
                (
                    item["split"],
                    item["tasks"],
                    shares(results, item["split"]),
                    *(f"{of_type(results, item['split'], name):.0f}" for name in sorted(item["by_type"])),
                )
                for item in summary[last]
            ],
        ),
        f"The run's own evaluation: {percent(final['success'])} of the {final['tasks']} games of {final['split']} (95 % interval "
        f"{percent(final['success_low'])} to {percent(final['success_high'])}), in {final['steps']:.1f} steps on average, "
        f"{percent(final['valid_action'])} of them valid. `valid_unseen` is not in our reference data; a run evaluates it where the data "
        "has it. The loss over the supervised steps (mean of the last 200; what the model reads counts "
        f"{warm['observation_weight']:g} times as much as what it writes):",
        table(
            ("step", "tokens, millions", "loss"),
            [(point["step"], f"{point['tokens'] / 1e6:.1f}", f"{point['loss']:.3f}") for point in record["warm_start"]["losses"]],
        ),
        "Next to published agents. They differ in more than the method: the language models begin with pretrained weights and learn from "
        "reinforcement alone, choosing among admissible actions that the prompt lists; the preset begins from random weights, learns from "
        "an expert, and has to write its actions from what it has read.",
        table(
            ("agent", "model", "training", "time", "protocol", "valid_seen", "valid_unseen"),
            [
                (
                    "`configs/alfworld-released.toml`",
                    f"{summary['parameters'] / 1e6:.1f} million parameters",
                    f"{warm['episodes']:,} episodes of a rule-based expert, and "
                    f"{dagger * warm['episodes_per_step']:,} that it shares with the policy",
                    f"{minutes:.0f} minutes on one core",
                    f"text games, goals from templates, {config['env']['max_steps']} steps; the whole episode and no admissible actions "
                    f"in the prompt; all games, temperature {config['eval']['temperature']}; one seed",
                    *(shares(results, split).split(" ")[0] for split in ("valid_seen", "valid_unseen")),
                ),
                *PUBLISHED,
            ],
        ),
        machine(record),
        "`python -m benchmarks.train_released DATA`",
    ]
    return "\n\n".join(parts)


def reinforcement(config: Json) -> str:
    """Return the extent of reinforcement in one sentence."""
    rl = config["rl"]
    if not rl["steps"]:
        return "Without reinforcement (the preset says why)."
    return f"Reinforcement: {rl['steps']} steps of {rl['tasks_per_step']} x {rl['repeats']} episodes."


def of_type(results: list[Json], split: str, name: str) -> float:
    """Return the mean success in % of a task type over seeds of sampling."""
    found = [item["by_type"][name]["success"] for item in results if item["split"] == split]
    return 100 * float(sum(found)) / len(found)
