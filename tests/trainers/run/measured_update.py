"""Run one update of a configuration's model in this process, and print the memory that it added at its peak, in bytes.

Usage: python measured_update.py CONFIG.json

Only anonymous memory counts: the kernel may drop the pages of a library at any time, and reads them again later.
"""

import json
import sys
import threading
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trainers.policy.lora import add_adapter
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.run.memory_estimate import describe_model


def anonymous():
    """Return the anonymous resident memory of this process, in bytes."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


class Peak(threading.Thread):
    """Samples the memory of this process until it is stopped."""

    def __init__(self):
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.bytes = anonymous()

    def run(self):
        while not self.ended.wait(0.001):
            self.bytes = max(self.bytes, anonymous())

    def stop(self):
        self.ended.set()
        self.join()
        return self.bytes


def run(config, model, compute, rows):
    policy = Policy(
        model,
        chunk=config.rl.logit_chunk,
        token_budget=config.rl.token_budget,
        compute_dtype=compute,
        recompute_layers=config.run.gradient_checkpointing,
    )
    optimizer = Optimizer(policy, config.rl.optimizer, 2)
    for _ in range(2):  # the first update creates the optimizer's states
        batches = policy.micro_batches(rows, config.rl.token_budget)
        optimizer.update(batches, lambda _, scores: -scores.logprobs.mean())


def make_rows(tokens, length):
    ids = torch.randint(0, 200, (2 * tokens // length, length), generator=torch.Generator().manual_seed(0))
    generated = torch.arange(length) > 0
    return [TokenRow(ids=row, generated=generated, step=torch.zeros_like(row), trajectory=index) for index, row in enumerate(ids)]


def main():
    torch.set_num_threads(1)
    config = parse_config(json.loads(Path(sys.argv[1]).read_text()))
    described, lora = describe_model(config), config.model.lora
    compute = torch.float32 if config.run.dtype == "auto" else getattr(torch, config.run.dtype)
    weights = torch.float32 if lora is None else compute

    def build(layers, width):
        """Return a model, with adapters where the configuration has them."""
        described.num_hidden_layers, described.hidden_size = layers, width
        model = AutoModelForCausalLM.from_config(described, attn_implementation="sdpa", dtype=weights)
        return model if lora is None else add_adapter(model, lora)

    shape = described.num_hidden_layers, described.hidden_size
    run(config, build(1, 64), compute, make_rows(64, 32))  # libraries load their code at the first use
    before, peak = anonymous(), Peak()
    peak.start()
    run(config, build(*shape), compute, make_rows(config.rl.token_budget, config.rollout.max_row_tokens))
    print(peak.stop() - before)


if __name__ == "__main__":
    main()
