"""Play a benchmark through SkyRL-gym's registry, as SkyRL's generator does, with the expert in place of the model.

    pip install 'empg-gym[skyrl]'
    python examples/adapters/skyrl_episodes.py --env alfworld --tasks 3

Prints the metrics of each episode and their aggregate. In a training run, `register()` is called in the entry point's Ray task.
"""

import argparse

from empg_gym.adapters.skyrl import EMPGTextEnv, register, skyrl_rows

# The adapter, imported first, says which package is missing.
# isort: split
import skyrl_gym


def main() -> None:
    """Play the first tasks of a split."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="alfworld")
    parser.add_argument("--split", default="train")
    parser.add_argument("--tasks", type=int, default=3)
    args = parser.parse_args()

    register()
    metrics = []
    for row in skyrl_rows(args.env, split=args.split, limit=args.tasks):
        extras = {name: value for name, value in row.items() if name not in ("prompt", "env_class")}
        env = skyrl_gym.make(row["env_class"], env_config={}, extras={**extras, "max_turns": 50})
        messages, _ = env.init(row["prompt"])
        done = False
        while not done:
            inner = env.session.env  # the model would answer `messages` here
            output = env.step(inner.dialogue.render("as the expert does", inner.text_env.expert() or ""))
            messages, done = messages + output["observations"], output["done"]
        metrics.append(env.get_metrics())
        print(f"{row['task']}: {metrics[-1]}")
        env.close()
    print(f"all: {EMPGTextEnv.aggregate_metrics(metrics)}")


if __name__ == "__main__":
    main()
