"""The backend `vllm`: vLLM's engine in this process, for one device.

Rules:
    - The device is the first one that the process sees (`CUDA_VISIBLE_DEVICES`), which is the trainer's.
    - The engine runs in a task of the event loop, one pass at a time, as `hf` does; between passes the episodes take their steps.
    - It starts with random weights. `update_weights` passes the trained ones, by the names of the Hugging Face model, to the loader of
      vLLM's model, which fuses and converts them in place (no copy on disk).
    - On the CPU, vLLM packs the weights of linear layers for oneDNN when it starts and reads only the packed ones afterwards: loading then
      fails, or silently leaves a tied output layer behind. Packing is therefore off.
    - An engine that has failed stays so: the sessions that wait, and all later ones, raise a `TrainingError`, which ends the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from empg_gym.errors import ConfigError, TrainingError, require
from empg_gym.trainers.generate.base import GenerationSettings, Usage
from empg_gym.trainers.generate.vllm_common import VLLMGenerator, dtype_name, write_config

_SETTLE = 5
"""Iterations of the event loop after which the episodes have submitted their next prompt (unless they wait for I/O)."""
_CPU_CACHE_GIB = 1.0
"""Default size of the key-value cache on the CPU; vLLM's own default is a large part of the machine's memory."""
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_NO_USAGE_STATS": "1",
}
"""Settings that vLLM reads from the environment only."""


class VLLMEngineGenerator(VLLMGenerator):
    """A `Generator` on vLLM's engine in this process.

    Args:
        model: a causal language model of a type that vLLM has.
        tokenizer: with a chat template.
        settings: sampling and limits.
        dtype: number type of vLLM's weights; None uses that of `settings`, or the model's.
        gpu_memory: share of the GPU's memory for vLLM, weights included; the trainer needs the rest.
        kv_cache_gib: size of the key-value cache; None derives it from `gpu_memory`, and uses 1 GiB on the CPU.
        enforce_eager: run without CUDA graphs and compilation, for a faster start; None does so on the CPU only.
        engine_options: additional keyword arguments of vLLM's `EngineArgs`.

    Raises:
        MissingDependencyError: vLLM is not installed.
        ConfigError: vLLM can't run this model with these options.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: GenerationSettings,
        *,
        dtype: str | None = None,
        gpu_memory: float = 0.4,
        kv_cache_gib: float | None = None,
        enforce_eager: bool | None = None,
        engine_options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(model, tokenizer, settings, dtype=dtype)
        if model.device.type not in ("cpu", "cuda") or model.device.index:
            raise ConfigError(
                f'rollout.backend = "vllm" needs run.device = "cpu" or the first CUDA device, not {str(model.device)!r}; choose a device '
                "with CUDA_VISIBLE_DEVICES"
            )
        cpu = model.device.type == "cpu"
        gib = _CPU_CACHE_GIB if cpu and kv_cache_gib is None else kv_cache_gib
        arguments: dict[str, Any] = {
            "skip_tokenizer_init": True,
            "load_format": "dummy",
            "dtype": dtype_name(self.dtype),
            "max_model_len": self.max_row_tokens,
            "max_num_seqs": settings.max_batch,
            "logprobs_mode": "processed_logprobs",
            "generation_config": "vllm",
            "enable_prefix_caching": True,
            "enforce_eager": cpu if enforce_eager is None else enforce_eager,
            "gpu_memory_utilization": gpu_memory,
            "kv_cache_memory_bytes": None if gib is None else int(gib * 2**30),
            "disable_log_stats": True,
        }
        self._driver = _Driver(model, arguments | (engine_options or {}), self.usage)

    async def _generate(self, ids: list[int], parameters: dict[str, Any]) -> tuple[list[int], list[float]]:
        return await self._driver.generate(ids, parameters)

    def _load(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        self._driver.load(named_tensors)

    def close(self) -> None:
        """Shut the engine down, for the siblings too."""
        self._driver.close()


class _Driver:
    """The engine and the requests that wait for it.

    Args:
        model: the model whose configuration vLLM reads.
        arguments: of vLLM's `EngineArgs`.
        usage: counts passes and seconds.
    """

    def __init__(self, model: PreTrainedModel, arguments: dict[str, Any], usage: Usage) -> None:
        with _environment():
            self._vllm: Any = require("vllm", "vllm", 'the generator backend "vllm"')
            self._engine = _start(model, arguments)
        self._usage = usage
        self._waiting: dict[str, asyncio.Future[tuple[list[int], list[float]]]] = {}
        self._names = map(str, count())
        self._task: asyncio.Task[None] | None = None
        self._failure = ""
        self._closed = False

    async def generate(self, ids: list[int], parameters: dict[str, Any]) -> tuple[list[int], list[float]]:
        """Return the ids and log-probabilities of a response."""
        self._check()
        final_only = self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY
        sampling = self._vllm.SamplingParams(**parameters, detokenize=False, flat_logprobs=True, output_kind=final_only)
        loop, name = asyncio.get_running_loop(), next(self._names)
        future: asyncio.Future[tuple[list[int], list[float]]] = loop.create_future()
        self._engine.add_request(name, {"type": "token", "prompt_token_ids": list(ids)}, sampling)
        self._waiting[name] = future
        if self._task is None or self._task.done() or self._task.get_loop() is not loop:
            self._task = loop.create_task(self._drive())
        try:
            return await future
        finally:
            if self._waiting.pop(name, None) is not None and not self._failure:
                self._engine.abort_request([name])

    def load(self, named_tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Pass weights to vLLM's model, and drop the keys and values of the old ones."""
        self._check()
        try:
            self._engine.apply_model(lambda model: model.load_weights(named_tensors))
            dropped = self._engine.reset_prefix_cache(reset_running_requests=self._engine.has_unfinished_requests())
        except (KeyError, ValueError) as error:
            raise ConfigError(
                f"vLLM's model can't load these weights ({type(error).__name__}: {error}); use another rollout.backend"
            ) from error
        except Exception as error:
            raise self._failed(error) from error
        if not dropped:
            raise self._failed(RuntimeError("it kept keys and values of the old weights"))

    def close(self) -> None:
        """Shut the engine down."""
        if self._closed:
            return
        from vllm.distributed import cleanup_dist_env_and_memory

        self._closed = True
        # An engine that has failed may fail again here; the error that the user sees is the first one.
        with contextlib.suppress(Exception) if self._failure else contextlib.nullcontext():
            self._engine.engine_core.shutdown()
            cleanup_dist_env_and_memory()
        self._failure = self._failure or "it was closed"

    async def _drive(self) -> None:
        """Run the engine until no session waits. Between passes the event loop runs, so that episodes with a response take their step."""
        iterations = _SETTLE
        try:
            while True:
                for _ in range(iterations):
                    await asyncio.sleep(0)
                if not self._waiting:
                    return
                iterations = _SETTLE if self._step() else 1
        except Exception as error:
            failure = self._failed(error)
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(failure)
        except BaseException:
            for future in self._waiting.values():
                future.cancel()
            raise

    def _step(self) -> int:
        """Run one pass of the engine and return the number of responses that it completed."""
        began = time.perf_counter()
        outputs = self._engine.step()
        self._usage.seconds += time.perf_counter() - began
        self._usage.forwards += 1
        for output in outputs:
            future = self._waiting.pop(output.request_id, None)
            if future is not None and not future.done():
                response = output.outputs[0]
                future.set_result((list(response.token_ids), list(response.logprobs.logprobs)))
        return len(outputs)

    def _check(self) -> None:
        if self._failure:
            raise TrainingError(f"vLLM's engine has failed ({self._failure}); start the run again with --resume")

    def _failed(self, error: BaseException) -> TrainingError:
        self._failure = self._failure or f"{type(error).__name__}: {error}"
        memory = isinstance(error, torch.OutOfMemoryError)
        hint = "lower backend_options.gpu_memory or rl.token_budget, and " if memory else ""
        return TrainingError(
            f"vLLM's engine has failed ({self._failure}); {hint}start the run again with --resume, which keeps the finished episodes"
        )


def _start(model: PreTrainedModel, arguments: dict[str, Any]) -> Any:
    """Return an engine with random weights."""
    from vllm.engine.arg_utils import EngineArgs
    from vllm.v1.engine.llm_engine import LLMEngine

    if model.device.type == "cpu":
        _keep_weights_unpacked()
    set_num_threads = torch.set_num_threads  # the worker on the CPU replaces it by a function that does nothing
    try:
        with tempfile.TemporaryDirectory(prefix="empg-vllm-") as folder:
            write_config(model, Path(folder))
            return LLMEngine.from_engine_args(EngineArgs(model=folder, **arguments))
    except (TypeError, ValueError, NotImplementedError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:500]
        raise ConfigError(f"vLLM can't run this model with these rollout.backend_options ({type(error).__name__}: {reason})") from error
    finally:
        torch.set_num_threads = set_num_threads


def _keep_weights_unpacked() -> None:
    from vllm import _custom_ops
    from vllm.model_executor.layers import utils

    _custom_ops._supports_onednn = False
    if hasattr(utils, "check_cpu_sgl_kernel"):
        utils.check_cpu_sgl_kernel = lambda *_: False


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Set what vLLM reads from the environment while it is imported and started; values that the user has set stay, except the first."""
    before = dict(os.environ)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    try:
        yield
    finally:
        for name in _ENVIRONMENT:
            os.environ.pop(name)
            if name in before:
                os.environ[name] = before[name]
