"""Shows that our ALFWorld equals upstream's: `python -m benchmarks.alfworld_proof [--data ../shared/data/alfworld]`.

Writes `benchmarks/results/alfworld_proof.json` and exits with an error if anything differs:
    1. random walks on released games in both wordings against TextWorld with upstream's domain and grammar;
    2. random walks on generated games in both wordings against TextWorld with the game files that we write;
    3. the expert on all released games and on generated games of every split and size;
    4. the published transcripts of ReAct and Reflexion.
Requires the reference data and the packages `textworld[pddl]` and `alfworld` (installed with --no-deps).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from benchmarks.alfworld_reference import (
    Case,
    Walk,
    compare,
    generated_case,
    index_intros,
    official_case,
    pick_games,
    replay,
    transcripts,
    upstream_agrees,
)
from benchmarks.machine import machine
from empg_gym.envs.alfworld.env import ALFWorldEnv
from empg_gym.envs.alfworld.problem import write_problem
from empg_gym.envs.alfworld.world.household import SIZES, SPLIT_SIZES, generate

OUT = Path(__file__).parent / "results" / "alfworld_proof.json"


def walks(cases: list[Case], steps: int) -> dict[str, object]:
    """Compare each case on a walk and return the totals."""
    total = Walk()
    for seed, case in enumerate(cases):
        walk = compare(case, steps, seed)
        total.steps += walk.steps
        total.odd += walk.odd
        total.won += walk.won
        total.verbs |= walk.verbs
        total.differences += walk.differences
        print(f"{case.name} [{case.wording}]: {walk.steps} steps, {len(walk.differences)} differences", flush=True)
    return {
        "games": len({case.name for case in cases}),
        "walks": len(cases),
        "steps": total.steps,
        "steps_by_wording": Counter({w: steps * sum(case.wording == w for case in cases) for w in ("new", "old")}),
        "inadmissible_texts": total.odd,
        "states_won": total.won,
        "commands": sorted(total.verbs),
        "differences": list(total.differences),
    }


def experts(data: Path, per_world: int) -> dict[str, object]:
    """Run the expert on all released games and on the first `per_world` games of each embedded world."""
    results: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for split in ("train", "valid_seen"):
            release = Path(folder) / "json_2.1.1"
            subprocess.run([sys.executable, data / "export.py", release, "--split", split], check=True, stdout=subprocess.DEVNULL)
            for wording in ("new", "old"):
                env = ALFWorldEnv(split, data=folder, wording=wording)
                results[f"official {split} [{wording}]"] = _play(env, env.num_tasks)
    for size in SIZES:
        for split in SPLIT_SIZES:
            results[f"generated {split} {size}"] = _play(ALFWorldEnv(split, size=size), per_world)
    return results


def _play(env: ALFWorldEnv, count: int) -> dict[str, object]:
    lost, lengths, solved_at_start = [], [], 0
    for index in range(count):
        _, info = env.reset(seed=0, options={"task": index})
        solved_at_start += info["success"]
        over = False
        while not over:
            action = env.expert()
            _, _, terminated, truncated, info = env.step(action or "")
            over = terminated or truncated
        lengths.append(info["step"])
        if not info["success"]:
            lost.append(info["task"])
    return {
        "games": count,
        "won": count - len(lost),
        "won_at_start": solved_at_start,
        "mean_steps": round(sum(lengths) / count, 2),
        "most_steps": max(lengths),
        "lost": lost[:10],
    }


def replays(data: Path) -> dict[str, object]:
    """Replay every distinct transcript in the games with the same intro and goal, and keep the best match."""
    index = index_intros(data)
    unidentified, equal, deviating = [], [], []
    for transcript in transcripts(data):
        games = index.get(transcript.intro, [])
        if not games:
            unidentified.append(transcript.names[0])
            continue
        differing, game = min(((replay(transcript, game), game) for game in games), key=lambda pair: len(pair[0]))
        if not differing:
            equal.append({"transcript": transcript.names[0], "game": game["id"], "turns": len(transcript.steps)})
            continue
        deviating.append(
            {
                "transcript": transcript.names[0],
                "game": game["id"],
                "turns": len(transcript.steps),
                "textworld_answers_as_we_do": upstream_agrees(data, transcript, game),
                "differing": [{"action": a, "recorded": seen, "ours": ours} for a, seen, ours in differing],
            }
        )
    return {
        "distinct": len(unidentified) + len(equal) + len(deviating),
        "identified_by_intro_and_goal": len(equal) + len(deviating),
        "all_observations_equal": len(equal),
        "turns_equal": sum(int(entry["turns"]) for entry in equal),
        "note": "where a recorded text differs, it was edited by its authors or comes from another trial of the same room and goal: "
        "upstream's own engine on the identified game answers as ours does",
        "unidentified": unidentified,
        "equal": equal,
        "deviating": deviating,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data" / "alfworld")
    parser.add_argument("--steps", type=int, default=36, help="steps of each walk")
    args = parser.parse_args()

    games = pick_games(args.data, "train", 4) + pick_games(args.data, "valid_seen", 2)
    official = [official_case(args.data, game, wording) for game in games for wording in ("new", "old")]
    households = [generate(split, size, index) for split in SPLIT_SIZES for size in SIZES for index in range(6)]
    generated = [generated_case(h, write_problem(h.problem), wording) for h in households for wording in ("new", "old")]
    result = {
        "machine": machine("textworld", "fast_downward_textworld", "alfworld", "gymnasium"),
        "experts": experts(args.data, per_world=1000),
        "transcripts": replays(args.data),
        "official_walks": walks(official, args.steps),
        "generated_walks": walks(generated, args.steps),
    }
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    failures = [name for name, played in result["experts"].items() if played["won"] != played["games"] or played["won_at_start"]]  # type: ignore[attr-defined]
    failures += [name for name in ("official_walks", "generated_walks") if result[name]["differences"]]  # type: ignore[index]
    failures += [entry["transcript"] for entry in result["transcripts"]["deviating"] if not entry["textworld_answers_as_we_do"]]  # type: ignore[index]
    if failures:
        sys.exit("differs: " + ", ".join(failures))
    print(f"0 differences; written to {OUT.relative_to(Path.cwd()) if OUT.is_relative_to(Path.cwd()) else OUT.name}")


if __name__ == "__main__":
    main()
