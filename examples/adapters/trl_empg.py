"""Train a model on a benchmark with TRL's GRPOTrainer and EMPG's advantages; actions are tool calls.

    pip install 'empg-gym[trl]'
    python examples/adapters/trl_empg.py --env alfworld --model Qwen/Qwen3-0.6B --steps 10

Prints the mean reward and EMPG's statistics of each step.
"""

import argparse

from empg_gym.adapters.trl import ALFWorldTools, DeepSearchTools, EMPGTrainer, WebShopTools, tool_rows

# The adapter, imported first, says which package is missing.
# isort: split
from datasets import Dataset
from trl import GRPOConfig

ENVIRONMENTS = {"alfworld": ALFWorldTools, "webshop": WebShopTools, "deepsearch": DeepSearchTools}


def main() -> None:
    """Train, and print the logged values."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=ENVIRONMENTS, default="alfworld")
    parser.add_argument("--model", default="Qwen/Qwen3-0.6B", help="name on the Hugging Face hub, or a folder")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--tasks", type=int, default=4, help="tasks per step")
    parser.add_argument("--repeats", type=int, default=8, help="episodes per task")
    parser.add_argument("--max-tokens", type=int, default=4096, help="tokens of an episode after its prompt, observations included")
    parser.add_argument("--out", default="runs/trl")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()

    environment = ENVIRONMENTS[args.env]
    trainer = EMPGTrainer(
        model=args.model,
        args=GRPOConfig(
            output_dir=args.out,
            max_steps=args.steps,
            per_device_train_batch_size=args.repeats,
            gradient_accumulation_steps=args.tasks,
            num_generations=args.repeats,
            max_completion_length=args.max_tokens,
            use_cpu=args.cpu,
            bf16=not args.cpu,
            logging_steps=1,
            report_to="none",
        ),
        train_dataset=Dataset.from_list(tool_rows(environment)),
        environment_factory=environment,
        empg={"k": 1.0, "k_future": 1.0, "zeta": 0.1},
    )
    trainer.train()
    for step, entry in enumerate(item for item in trainer.state.log_history if "reward" in item):
        shown = ", ".join(f"{name} {entry[name]:.3f}" for name in ("reward", "empg/entropy_min", "empg/entropy_max", "empg/sign_flips"))
        print(f"step {step}: {shown}")


if __name__ == "__main__":
    main()
