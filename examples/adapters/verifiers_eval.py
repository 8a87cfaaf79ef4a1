"""Evaluate a model with verifiers' own command on a benchmark, and print reward and success of each episode.

    pip install 'empg-gym[verifiers]' examples/adapters/empg_gym_v1
    python examples/adapters/verifiers_eval.py --env webshop --model my-model --base-url http://127.0.0.1:8000/v1

`vf-eval` reads the API key from OPENAI_API_KEY; nothing is uploaded.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Run the command, and read the traces that it wrote."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="alfworld")
    parser.add_argument("--split", default="train")
    parser.add_argument("--model", required=True)
    parser.add_argument("--base-url", required=True, help="OpenAI-compatible server")
    parser.add_argument("--tasks", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("runs/verifiers"))
    args = parser.parse_args()

    options = {
        "-n": args.tasks,
        "-m": args.model,
        "-o": args.out,
        "--client.base-url": args.base_url,
        "--client.api-key-var": "OPENAI_API_KEY",
        "--env.taskset.env-id": args.env,
        "--env.taskset.split": args.split,
    }
    command = Path(sys.executable).with_name("vf-eval")
    subprocess.run(
        [command, "empg-gym-v1", "--no-push", "--no-rich", *(str(part) for option in options.items() for part in option)], check=True
    )

    newest = max(args.out.rglob("traces.jsonl"), key=lambda path: path.stat().st_mtime)
    for line in newest.read_text().splitlines():
        for trace in json.loads(line)["traces"]:
            episode, metrics = trace["info"]["empg_gym"], trace["metrics"]
            print(
                f"{episode['task']}: reward {sum(episode['rewards']):.2f}, success {metrics['success']:.0f}, {metrics['steps']:.0f} steps"
            )


if __name__ == "__main__":
    main()
