"""Branch an episode with snapshots: one prefix, several continuations, and how each of them ends.

    python examples/branching.py --branches 50

At each step of the expert's path, random continuations start from the same snapshot: their success rate is an estimate of how much the
steps so far have achieved, which is what branching rollouts (AEPO) and step-level methods (GiGPO, GraphGPO) build on.
"""

import argparse

import gymnasium as gym
import numpy as np

import empg_gym  # noqa: F401 (registers the ids)
from empg_gym.env import State, TextEnv


def expert_continuation(env: TextEnv, state: State) -> tuple[bool, int]:
    """Follow the expert from a snapshot to the end; return success and the number of steps."""
    _, info = env.restore(state)
    ended, first = False, info["step"]
    while not ended and (action := env.expert()) is not None:
        _, _, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
    return info["success"], info["step"] - first


def random_continuation(env: TextEnv, state: State, rng: np.random.Generator, steps: int) -> bool:
    """Take random admissible actions from a snapshot, `steps` at most; return success."""
    _, info = env.restore(state)
    for _ in range(steps):
        _, _, terminated, truncated, info = env.step(str(rng.choice(info["admissible_actions"])))
        if terminated or truncated:
            break
    return info["success"]


def main() -> None:
    """Print a line per step of the expert's path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--branches", type=int, default=50, help="random continuations of each step")
    parser.add_argument("--steps", type=int, default=15, help="actions of a random continuation")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    env = gym.make("EMPG/ALFWorld-v0", size="small").unwrapped
    _, info = env.reset(seed=args.seed)
    rng = np.random.default_rng(args.seed)
    print(f"task: {info['instruction']}")
    while (action := env.expert()) is not None:
        state = env.snapshot()
        solved = sum(random_continuation(env, state, rng, args.steps) for _ in range(args.branches))
        success, steps = expert_continuation(env, state)
        print(f"step {state.step}: random {solved}/{args.branches} solved, expert {'solves' if success else 'fails'} in {steps}: {action}")
        env.restore(state)
        env.step(action)


if __name__ == "__main__":
    main()
