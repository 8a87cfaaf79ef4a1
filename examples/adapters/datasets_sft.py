"""Fine-tune a model with TRL on exported episodes: evaluation run -> parquet -> datasets -> SFTTrainer.

    pip install 'empg-gym[trl,parquet]'
    empg-gym eval alfworld --agent expert --episodes 100 --out runs/expert
    empg-gym export runs/expert --format parquet --out data/episodes
    python examples/adapters/datasets_sft.py --data data/episodes --model Qwen/Qwen3-0.6B

Only solved episodes are trained on, and of them only the responses.
"""

import argparse
from pathlib import Path

try:
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer
except ModuleNotFoundError as error:
    raise SystemExit(f"this example needs {error.name}: pip install 'empg-gym[trl,parquet]'") from None


def main() -> None:
    """Train, and print the loss of each step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder that empg-gym export --format parquet wrote, or a dataset on the hub")
    parser.add_argument("--model", default="Qwen/Qwen3-0.6B")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", default="runs/sft")
    parser.add_argument("--cpu", action="store_true")
    args = parser.parse_args()

    mode = "force_redownload" if Path(args.data).is_dir() else None  # datasets caches a folder by its name
    episodes = load_dataset(args.data, split="train", download_mode=mode)
    episodes = episodes.filter(lambda row: row["success"]).select_columns(["messages"])
    print(f"{len(episodes)} solved episodes")
    trainer = SFTTrainer(
        model=args.model,
        args=SFTConfig(
            output_dir=args.out,
            max_steps=args.steps,
            per_device_train_batch_size=args.batch,
            assistant_only_loss=True,
            max_length=8192,
            use_cpu=args.cpu,
            bf16=not args.cpu,
            logging_steps=1,
            report_to="none",
        ),
        train_dataset=episodes,
    )
    trainer.train()
    for entry in trainer.state.log_history:
        if "loss" in entry:
            print(f"step {entry['step']}: loss {entry['loss']:.3f}")


if __name__ == "__main__":
    main()
