"""Generated run folders: the files of a trainer and an evaluator, some with hostile texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from empg_gym.trajectory import Step, StopReason, Trajectory, write_trajectories

HOSTILE = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1"> & “quotes” \x07 \u2028 {{ 7*7 }}'
WORDS = ("you", "are", "in", "the", "a", "room", "mug", "desk", "lamp", "drawer", "fridge", "go", "to", "open", "take", "move", "shelf")
KINDS = ("pick_and_place_simple", "look_at_obj_in_light", "pick_heat_then_place_in_recep")


def trajectory(rng: np.random.Generator, number: int, *, training: bool = False, steps: int | None = None, tokens: int = 24) -> Trajectory:
    """Return an episode with realistic values."""
    count = int(rng.integers(2, 12)) if steps is None else steps
    success = bool(rng.random() < 0.6)
    made = []
    for index in range(count):
        ids = rng.integers(0, len(WORDS), tokens).astype(np.int32)
        entropies = np.clip(rng.gamma(0.7, 0.6, tokens), 0, 6).astype(np.float32)
        action = f"go to {WORDS[int(ids[-1])]} 1"
        advantage = float(rng.normal())
        diagnostics = (
            {"advantage": advantage, "advantage_modulated": advantage * float(rng.uniform(0.6, 1.4)), "scaling": 1.1} if training else {}
        )
        made.append(
            Step(
                observation=" ".join(rng.choice(WORDS, 30)) + ".",
                response=f"<think>{' '.join(rng.choice(WORDS, 12))}</think><action>{action}</action>",
                thought=" ".join(rng.choice(WORDS, 12)),
                action=action,
                valid_action=bool(rng.random() < 0.9),
                reward=float(success and index == count - 1),
                admissible_actions=tuple(f"go to {word} 1" for word in WORDS[:8]),
                prompt_token_ids=ids,
                response_token_ids=ids,
                logprobs=-entropies,
                entropies=entropies,
                entropy=float(entropies.mean()),
                model_seconds=0.2,
                env_seconds=0.0004,
                diagnostics=diagnostics,
            )
        )
    return Trajectory(
        env_id="EMPG/ALFWorld-v0",
        env_version="1",
        data_fingerprint="abc123",
        split="valid_unseen" if number % 3 == 0 else "valid_seen",
        task=f"valid/{number}",
        instruction=f"Put a {WORDS[number % len(WORDS)]} number {number} on the desk.",
        task_type=KINDS[number % 3],
        seed=number,
        agent="checkpoint:tiny",
        dialogue="think-action",
        system_prompt="You play a household.",
        steps=made,
        final_observation="You won!" if success else "Nothing happens.",
        total_reward=float(success),
        score=float(success),
        success=success,
        stop_reason=StopReason.TERMINATED if success else StopReason.STEP_LIMIT,
    )


def hostile_trajectory() -> Trajectory:
    """Return an episode in which every text tries to break out of the page, with values that strict JSON can't represent."""
    step = Step(
        observation=HOSTILE,
        response=HOSTILE,
        thought=HOSTILE,
        action=HOSTILE,
        valid_action=False,
        reward=float("nan"),
        admissible_actions=(HOSTILE,),
        entropies=np.array([np.nan, 0.5], np.float32),
        entropy=0.5,
        entropy_is_bound=True,
        error=HOSTILE,
        diagnostics={HOSTILE: 1.0, "advantage": float("inf")},
    )
    return Trajectory(
        env_id=HOSTILE,
        env_version=HOSTILE,
        data_fingerprint=HOSTILE,
        split=HOSTILE,
        task=HOSTILE,
        instruction=HOSTILE + " \ud800",
        task_type=HOSTILE,
        agent=HOSTILE,
        steps=[step, Step(observation="o", response="r", thought="", action="", valid_action=False, reward=0.0, malformed=True)],
        stop_reason=StopReason.ERROR,
        error=HOSTILE,
        info={HOSTILE: HOSTILE, "traceback": HOSTILE},
    )


def metrics_lines(steps: int = 60, seed: int = 0) -> list[str]:
    """Return metrics of a warm start and of `steps` reinforcement steps."""
    rng = np.random.default_rng(seed)
    lines = [{"phase": "warmstart", "step": i, "seconds": i * 0.5, "warmstart/loss": 3 * np.exp(-i / 20) + 0.2} for i in range(0, 60, 2)]
    for i in range(1, steps + 1):
        success = 0.35 + 0.4 * (1 - np.exp(-i / 25)) + rng.normal(0, 0.03)
        line = {
            "phase": "rl",
            "step": i,
            "seconds": 30 + i * 5.0,
            "train/success": success,
            "train/score": success,
            "train/valid_action": min(1, 0.8 + i / 300),
            "entropy/step_mean": 0.6 * np.exp(-i / 60),
            "entropy/step_q10": 0.2 * np.exp(-i / 60),
            "entropy/step_q50": 0.5 * np.exp(-i / 60),
            "entropy/step_q90": 1.2 * np.exp(-i / 60),
            "empg/scaling_min": 0.5,
            "empg/scaling_mean": 1.0,
            "empg/scaling_max": 1.6,
            "empg/bonus_mean": 0.07,
            "empg/sign_flips": 0.03,
            "loss/policy": rng.normal(0, 0.01),
            "loss/clip_share": 0.02,
            "loss/kl_old": 0.002,
            "loss/grad_norm": rng.gamma(2, 0.3),
            "speed/tokens_per_s": 22000 + rng.normal(0, 500),
            "speed/rollout_s": 3.2,
            "speed/env_s": 0.3,
            "speed/update_s": 1.4,
            "custom/unheard_of": i,
        }
        if i % 10 == 0 or i == 1:
            line |= {"eval/valid_seen/success": success - 0.02, "eval/valid_unseen/success": success - 0.08}
        lines.append(line)
    return [json.dumps({key: float(value) if isinstance(value, np.floating) else value for key, value in line.items()}) for line in lines]


GROUP = 4
"""Episodes per group of a sampled training batch."""


def training_samples(count: int, seed: int = 1) -> Iterator[Trajectory]:
    """Yield the samples of a training run: an evaluation, then groups and evaluations by turns."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        block, place = divmod(number, GROUP)
        made = trajectory(rng, block if block % 2 else place, training=block % 2 == 1)
        made.info = {"phase": "rl", "step": 10 * (block // 2) + block % 2, "kind": "training" if block % 2 else "evaluation"}
        if block % 2:
            made.split, made.group, made.repeat = "train", 0, place
            made.info["training_reward"] = made.score
        yield made


def training_run(folder: Path, episodes: int = 24) -> Path:
    """Write the files of a training run: by default three evaluations of four samples and three whole groups."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("\n".join(metrics_lines()) + "\n", encoding="utf-8")
    config = {
        "env": {"id": "EMPG/ALFWorld-v0"},
        "algorithm": {"advantage": "empg", "k": 1.0},
        "rl": {"steps": 60, "repeats": GROUP},
        "run": {"seed": 0},
    }
    (folder / "config.json").write_text(json.dumps(config))
    types = {kind: {"tasks": 32, "errors": 0, "success": 0.5} for kind in KINDS}
    record = {"tasks": 96, "errors": 0, "success_low": 0.2, "success_high": 0.5, "by_type": types}
    before = [{"split": split, "success": 0.349, **record} for split in ("valid_unseen", "valid_seen")]
    after = [{"split": split, "success": 0.651, **record} for split in ("valid_unseen", "valid_seen")]
    summary = {"algorithm": {"advantage": "empg"}, "parameters": 407424, "device": "cpu", "before": before, "after": after}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "outcomes.jsonl").write_text("".join(outcome_lines()), encoding="utf-8")
    write_trajectories(folder / "trajectories.jsonl", training_samples(episodes))
    return folder


def outcome_lines() -> Iterator[str]:
    """Yield the outcomes of the evaluations before and after training: a third of the tasks is solved before, two thirds are after."""
    for step, solved in ((0, 1), (60, 2)):
        for split in ("valid_unseen", "valid_seen"):
            success = [int(number % 3 < solved) for number in range(96)]
            names = {"tasks": [f"{split}/{n}" for n in range(96)], "types": [KINDS[n // 32] for n in range(96)]}
            yield json.dumps({"phase": "rl", "step": step, "split": split, **names, "success": success, "score": success}) + "\n"


def evaluation_run(folder: Path, episodes: int = 120, *, seed: int = 2, **shape: int) -> Path:
    """Write the files of an evaluation run."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    entry = {
        "episodes": episodes,
        "errors": 0,
        "success_rate": 0.61,
        "success_interval": [0.52, 0.69],
        "score_mean": 0.61,
        "score_interval": [0.52, 0.69],
        "by_task_type": {kind: {"episodes": 40, "success_rate": 0.5} for kind in KINDS},
    }
    (folder / "summary.json").write_text(json.dumps({"results": {"EMPG/ALFWorld-v0": entry}, "seed": 0}))
    (folder / "config.json").write_text(json.dumps({"agent": "openai", "concurrency": 8}))
    write_trajectories(folder / "trajectories.jsonl", (trajectory(rng, i, **shape) for i in range(episodes)))
    return folder


def hostile_run(folder: Path) -> Path:
    """Write a run with one hostile episode, in ASCII JSON, where a lone surrogate can reach a file."""
    folder.mkdir(parents=True, exist_ok=True)
    line = json.dumps(json.loads(hostile_trajectory().to_json()))
    (folder / "trajectories.jsonl").write_text(line + "\n", encoding="ascii")
    (folder / "config.json").write_text(json.dumps({HOSTILE: HOSTILE}))
    (folder / "summary.json").write_text(json.dumps({"results": {HOSTILE: {HOSTILE: HOSTILE, "episodes": 1}}, HOSTILE: [HOSTILE]}))
    (folder / "metrics.jsonl").write_text(
        json.dumps({"phase": HOSTILE, "step": 1, HOSTILE: 1.0, "loss/policy": float("nan"), f"eval/{HOSTILE}/success": 0.5}) + "\n"
    )
    return folder
