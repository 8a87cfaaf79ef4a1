"""Evaluate a model behind an API: OpenAI itself, vLLM, SGLang, llama.cpp, Ollama, a gateway.

    OPENAI_API_KEY=... python examples/evaluate_api_model.py --model gpt-4.1-mini --episodes 20
    python examples/evaluate_api_model.py --base-url http://127.0.0.1:8000/v1 --episodes 20

A server that lists one model needs no --model, one without keys no OPENAI_API_KEY. Killed? The same command continues where it stopped.
"""

import argparse
from pathlib import Path

from empg_gym import evaluate
from empg_gym.evaluation import EvalConfig
from empg_gym.report import write_report
from empg_gym.scoring.format import with_interval


def main() -> None:
    """Evaluate and print the results of each environment."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", nargs="+", default=["alfworld", "webshop", "deepsearch"])
    parser.add_argument("--model", help="default: the only model that the server lists")
    parser.add_argument("--base-url", help="default: OPENAI_BASE_URL, else OpenAI")
    parser.add_argument("--episodes", type=int, default=20, help="tasks of each environment")
    parser.add_argument("--max-steps", type=int, help="default: the limit of each environment")
    parser.add_argument("--temperature", type=float, default=0.6)
    parser.add_argument("--out", type=Path, default=Path("runs/api-model"))
    args = parser.parse_args()

    config = EvalConfig(
        envs=args.envs,
        agent=f"openai:{args.model}" if args.model else "openai",
        agent_options={"base_url": args.base_url, "temperature": args.temperature, "max_tokens": 1024},
        env_kwargs={} if args.max_steps is None else {"max_steps": args.max_steps},
        episodes=args.episodes,
        show_admissible=True,
        out=args.out,
    )
    summary = evaluate(config)

    for env_id, result in summary.results.items():
        success = with_interval(result["success_rate"], result["success_interval"])
        print(f"{env_id} ({result['data']}): success {success} % of {result['scored']} episodes, {result['errors']} errors")
    print(f"report: {write_report(args.out)}")


if __name__ == "__main__":
    main()
