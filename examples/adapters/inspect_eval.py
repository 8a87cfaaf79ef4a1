"""Play a benchmark with a model of Inspect AI and read the log; `inspect view --log-dir runs/inspect` opens it.

    pip install 'empg-gym[inspect]'
    LOCAL_BASE_URL=http://127.0.0.1:8000/v1 LOCAL_API_KEY=x \\
      python examples/adapters/inspect_eval.py --env alfworld --model openai-api/local/my-model

The command line of Inspect does the same: `inspect eval empg_gym/alfworld --model … -T limit=10`.
"""

import argparse

from empg_gym.adapters.inspect import empg

# The adapter, imported first, says which package is missing.
# isort: split
from inspect_ai import eval as inspect_eval


def main() -> None:
    """Evaluate, and print the scores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="alfworld")
    parser.add_argument("--split", default="train")
    parser.add_argument("--model", required=True, help="any model of Inspect")
    parser.add_argument("--tasks", type=int, default=5)
    parser.add_argument("--log-dir", default="runs/inspect")
    args = parser.parse_args()

    (log,) = inspect_eval(empg(args.env, args.split, limit=args.tasks), model=args.model, log_dir=args.log_dir, display="none")
    for sample in log.samples or ():
        outcome = sample.scores["outcome"] if sample.scores else None
        print(f"{sample.id}: {'failed' if outcome is None else (outcome.value, outcome.explanation)}")
    print(f"log: {log.location}")


if __name__ == "__main__":
    main()
