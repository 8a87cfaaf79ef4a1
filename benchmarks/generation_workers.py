"""One engine of `benchmarks.generation_engines` in a process of its own. See that module; this one imports nothing else of this repository
at its top, as vLLM's environment has other versions of the same packages."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import Callable
from pathlib import Path

REPEATS = 2
Plays = list[list[list[int]]]
"""Ids of each observation of each episode, the first with the system prompt."""
Counts = tuple[int, int]
"""(responses, generated tokens)"""


def measure(run: Callable[[Plays], Counts], plays: Plays) -> dict[str, float]:
    """Return the CPU time and the tokens of the fastest of `REPEATS` runs, after a short one."""
    run([play[:2] for play in plays[:2]])
    best: dict[str, float] = {}
    for _ in range(REPEATS):
        before, began = _cpu(), time.perf_counter()
        responses, tokens = run(plays)
        used, seconds = _cpu() - before, time.perf_counter() - began
        if not best or tokens / used > best["tokens_per_cpu_s"]:
            best = {"cpu_s": used, "seconds": seconds, "responses": responses, "tokens": tokens, "tokens_per_cpu_s": tokens / used}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {name: round(value, 3) for name, value in best.items()} | {"peak_mb": round(peak)}


def hf(folder: Path, plays: Plays, max_response: int, stops: list[int]) -> dict[str, float]:
    """Run this package's `hf` engine: log-probability and entropy of every token."""
    import numpy as np

    from empg_gym.trainers.generate.hf import HFGenerator
    from empg_gym.trainers.generate.session import Prompt
    from empg_gym.trainers.policy.models import load_model

    model, tokenizer = load_model(str(folder))
    assert model.generation_config is not None
    model.generation_config.eos_token_id = stops
    generator = HFGenerator(model, tokenizer, max_response_tokens=max_response)

    async def episode(seed: int, play: list[list[int]]) -> Counts:
        place, rng, row = generator.open_row([]), np.random.default_rng(seed), list[int]()
        tokens = 0
        for step, ids in enumerate(play):
            row += ids
            prompt = Prompt(row_ids=row, new_ids=ids, new_row=step == 0, limit=max_response, rng=rng)
            response = (await generator.respond(place, prompt)).ids.tolist()
            row, tokens = row + response, tokens + len(response)
        generator.release(place)
        return len(play), tokens

    async def all_episodes(plays: Plays) -> Counts:
        counts = await asyncio.gather(*(episode(seed, play) for seed, play in enumerate(plays)))
        return sum(count for count, _ in counts), sum(count for _, count in counts)

    return measure(lambda plays: asyncio.run(all_episodes(plays)), plays)


def continuous_batching(folder: Path, plays: Plays, max_response: int, stops: list[int]) -> dict[str, float]:
    """Run transformers' continuous batching: log-probability of every token, blocks shared between steps."""
    import torch
    from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    settings = GenerationConfig(max_new_tokens=max_response, do_sample=True, top_k=0, eos_token_id=stops, pad_token_id=stops[0])
    longest = max(sum(len(ids) + max_response for ids in play) for play in plays)
    cache = ContinuousBatchingConfig(
        page_size=32,
        num_blocks=len(plays) * (longest // 32 + 2),
        max_batch_tokens=2048,
        return_logprobs=True,
        use_cuda_graph=False,
        seed=0,
    )
    manager = model.init_continuous_batching(generation_config=settings, continuous_batching_config=cache)
    manager.start()

    def run(plays: Plays) -> Counts:
        rows = {f"{index}": list(play[0]) for index, play in enumerate(plays)}
        steps = dict.fromkeys(rows, 0)
        names = {manager.add_request(row, request_id=f"{name}-0-{time.monotonic_ns()}", max_new_tokens=max_response): name
                 for name, row in rows.items()}  # fmt: skip
        responses = tokens = 0
        while names:
            result = manager.get_result(timeout=1)
            if result is None or not result.is_finished():
                continue
            if result.error:
                raise RuntimeError(result.error)
            name = names.pop(result.request_id)
            responses, tokens = responses + 1, tokens + len(result.generated_tokens)
            steps[name] += 1
            play = plays[int(name)]
            if steps[name] < len(play):
                rows[name] += [*result.generated_tokens, *play[steps[name]]]
                request = f"{name}-{steps[name]}-{time.monotonic_ns()}"
                names[manager.add_request(rows[name], request_id=request, max_new_tokens=max_response)] = name
        return responses, tokens

    try:
        return measure(run, plays)
    finally:
        manager.stop(block=True)


def vllm(folder: Path, plays: Plays, max_response: int, stops: list[int]) -> dict[str, float]:
    """Run vLLM's engine in this process: log-probability of every token, prefixes cached between steps."""
    import os

    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
    from vllm import LLM, SamplingParams

    engine = LLM(
        str(folder), skip_tokenizer_init=True, enforce_eager=True, dtype="float32", enable_prefix_caching=True,
        max_model_len=2048, max_num_seqs=len(plays), max_num_batched_tokens=4096, block_size=32, seed=0,
    ).llm_engine  # fmt: skip
    sampling = SamplingParams(
        max_tokens=max_response, temperature=1.0, stop_token_ids=stops, logprobs=0, detokenize=False, ignore_eos=True, flat_logprobs=True
    )

    def run(plays: Plays) -> Counts:
        rows = [list(play[0]) for play in plays]
        steps = [0] * len(plays)
        for index, row in enumerate(rows):
            engine.add_request(f"{index}", {"prompt_token_ids": row}, sampling)
        responses = tokens = 0
        while engine.has_unfinished_requests():
            for output in engine.step():
                if not output.finished:
                    continue
                index = int(output.request_id.split("-")[0])
                ids = list(output.outputs[0].token_ids)
                responses, tokens = responses + 1, tokens + len(ids)
                steps[index] += 1
                if steps[index] < len(plays[index]):
                    rows[index] += [*ids, *plays[index][steps[index]]]
                    engine.add_request(f"{index}", {"prompt_token_ids": rows[index]}, sampling)
        return responses, tokens

    return measure(run, plays)


ENGINES = {"hf": hf, "continuous batching": continuous_batching, "vllm": vllm}


def main(engine: str, folder: str, target: str) -> None:
    """Run an engine on the episodes in a folder and write the result."""
    import torch

    torch.set_num_threads(1)
    given = json.loads((Path(folder) / "plays.json").read_text())
    Path(target).write_text(json.dumps(ENGINES[engine](Path(folder), given["plays"], given["max_response"], given["stops"])))


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
