"""Write what a verl run on a benchmark needs: rows for training and validation, and the agent loop's configuration.

    pip install 'empg-gym[verl]'
    python examples/adapters/verl_data.py --env alfworld --out data/verl

Prints the command that trains with EMPG's advantages; it needs a GPU and an inference engine (`verl[vllm]`).
"""

import argparse
import json
from pathlib import Path

from empg_gym.adapters.verl import verl_rows

# The adapter, imported first, says which package is missing.
# isort: split
import pyarrow
import pyarrow.parquet

SPLITS = {"alfworld": ("train", "valid_seen"), "webshop": ("train", "valid"), "deepsearch": ("train", "test")}
COMMAND = """python -m verl.trainer.main_ppo \\
  data.train_files={out}/train.parquet data.val_files={out}/valid.parquet data.return_raw_chat=True \\
  actor_rollout_ref.model.path=Qwen/Qwen2.5-1.5B-Instruct actor_rollout_ref.rollout.mode=async actor_rollout_ref.rollout.n=8 \\
  actor_rollout_ref.rollout.agent.agent_loop_config_path={out}/agent.yaml actor_rollout_ref.rollout.agent.default_agent_loop=empg \\
  algorithm.adv_estimator=grpo trainer.v1.trainer_mode=empg_sync +algorithm.empg.zeta=0.1"""


def main() -> None:
    """Write the files and print the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", choices=SPLITS, default="alfworld")
    parser.add_argument("--out", type=Path, default=Path("data/verl"))
    parser.add_argument("--limit", type=int, default=None, help="tasks of each split; all by default")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    for name, split in zip(("train", "valid"), SPLITS[args.env], strict=True):
        rows = verl_rows(args.env, split=split, limit=args.limit)
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), args.out / f"{name}.parquet")
        print(f"{len(rows)} rows of {split}: {args.out / name}.parquet")
    loop = [{"name": "empg", "_target_": "empg_gym.adapters.verl.EMPGAgentLoop", "env_kwargs": {}}]
    (args.out / "agent.yaml").write_text(json.dumps(loop))  # YAML includes JSON
    print("export VERL_USE_EXTERNAL_MODULES=empg_gym.adapters.verl.trainer\n" + COMMAND.format(out=args.out))


if __name__ == "__main__":
    main()
