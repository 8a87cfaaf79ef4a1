"""The backend `vllm-server`: vLLM's OpenAI server, started here or running already.

Rules:
    - A prompt is a list of token ids, and the reply has ids and log-probabilities (`return_token_ids`); a server that answers to other ids
      than it was sent is refused.
    - Weights go through a folder that both sides see: a safetensors file with the names of the Hugging Face model, complete before it has
      its name. The server then reloads it (`reload_weights` through `/collective_rpc`, in vLLM's development mode) and resets its cache.
    - A server that has ended, or whose engine has, is a `TrainingError`, which ends the run; a request that fails while the server is
      healthy is a failed episode, which is retried.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
import torch
from safetensors.torch import save_file
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from empg_gym.children import make_folder, remove_folder
from empg_gym.errors import AgentError, ConfigError, TrainingError
from empg_gym.net.json_client import JSONClient, RejectedRequest, UnreadableReply
from empg_gym.net.retry import RetryPolicy
from empg_gym.trainers.generate.base import GenerationSettings
from empg_gym.trainers.generate.vllm_common import VLLMGenerator, dtype_name, write_config
from empg_gym.trainers.generate.vllm_launch import ServerProcess, default_python, is_healthy

_NAME = "policy"
"""Name under which a server that is started here serves the model."""
_FAILING = 5.0
"""Seconds in which a server whose engine has died reports it."""


class VLLMServerGenerator(VLLMGenerator):
    """A `Generator` on vLLM's OpenAI server.

    Args:
        model: a causal language model of a type that vLLM has.
        tokenizer: with a chat template.
        settings: sampling and limits.
        url: address of a running server, "http://127.0.0.1:8000"; None starts one. A running server needs `VLLM_SERVER_DEV_MODE=1`,
            `--logprobs-mode processed_logprobs`, and access to `folder`.
        python: interpreter of an environment with vLLM for a server that is started here; None uses this one.
        folder: where weights are exchanged and the server's log is; None makes a temporary folder.
        dtype: number type of vLLM's weights; None uses that of `settings`, or the model's.
        gpu_memory: share of the GPU's memory for vLLM, weights included.
        kv_cache_gib: size of the key-value cache; None derives it from `gpu_memory`, and uses 1 GiB on the CPU.
        enforce_eager: run without CUDA graphs and compilation, for a faster start; None does so on the CPU only.
        server_options: additional command-line options of the server, `{"tensor-parallel-size": 2}`; true is an option without a value.
        start_seconds: time limit for the start.
        timeout: time limit of a response and of a weight update, in seconds.

    Raises:
        ConfigError: the server does not start, is not reachable, or lacks a call that weight updates need.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        settings: GenerationSettings,
        *,
        url: str | None = None,
        python: str | None = None,
        folder: str | None = None,
        dtype: str | None = None,
        gpu_memory: float = 0.4,
        kv_cache_gib: float | None = None,
        enforce_eager: bool | None = None,
        server_options: Mapping[str, Any] | None = None,
        start_seconds: float = 600.0,
        timeout: float = 600.0,
    ) -> None:
        super().__init__(model, tokenizer, settings, dtype=dtype)
        if url is not None and (python or server_options):
            raise ConfigError("backend_options: python and server_options are for a server that is started here; leave them or url out")
        self._model = model
        self.url = "" if url is None else url.rstrip("/").removesuffix("/v1")
        self._name = _NAME if url is None else self._served_name()
        self._folder = Path(make_folder("empg-vllm-") if folder is None else folder).resolve()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._temporary, self._failed = folder is None, False
        self._timeout = timeout
        self._process: ServerProcess | None = None
        if url is None:
            cpu = model.device.type == "cpu"
            options: dict[str, Any] = {
                "model": str(self._write_model(tokenizer)),
                "served-model-name": _NAME,
                "dtype": dtype_name(self.dtype),
                "max-model-len": self.max_row_tokens,
                "max-num-seqs": settings.max_batch,
                "logprobs-mode": "processed_logprobs",
                "generation-config": "vllm",
                "worker-extension-cls": "empg_vllm_worker.Unpacked",
                "gpu-memory-utilization": gpu_memory,
                "kv-cache-memory-bytes": int((kv_cache_gib or 1.0) * 2**30) if cpu or kv_cache_gib else None,
                "enforce-eager": cpu if enforce_eager is None else enforce_eager,
                **(server_options or {}),
            }
            # Beside a temporary folder, which holds a copy of the model, so that a failure leaves the log alone.
            log = self._folder.with_suffix(".log") if self._temporary else self._folder / "server.log"
            self._process = ServerProcess(python or default_python(), _flags(options), self._folder, log, start_seconds)
            self.url = self._process.url
        self._client = JSONClient(
            self.url,
            timeout=timeout,
            retry=RetryPolicy(retries=1),
            concurrency=settings.max_batch,
            timeout_setting="rollout.backend_options.timeout",
        )

    async def _generate(self, ids: list[int], parameters: dict[str, Any]) -> tuple[list[int], list[float]]:
        def read(reply: dict[str, Any]) -> tuple[list[int], list[float]]:
            try:
                choice = reply["choices"][0]
                given, read_ids, logprobs = choice["token_ids"], choice["prompt_token_ids"], choice["logprobs"]["token_logprobs"]
            except (KeyError, IndexError, TypeError) as error:
                raise UnreadableReply(f"no token ids or log-probabilities ({error!r})") from None
            if not given or len(given) != len(logprobs):
                raise UnreadableReply(f"{len(given or ())} token ids with {len(logprobs)} log-probabilities")
            if read_ids != ids:
                raise ConfigError(f"the server at {self.url} read other token ids than it was sent; start it without prompt processing")
            return given, logprobs

        began = time.perf_counter()
        try:
            return await self._client.post(
                "/v1/completions", {"model": self._name, "prompt": ids, "return_token_ids": True, **parameters}, read
            )
        except RejectedRequest:
            raise  # by a server that is healthy
        except AgentError as error:
            await self._check_health(error)
            raise
        finally:
            self.usage.seconds += time.perf_counter() - began

    def _load(self, named_tensors: Iterable[tuple[str, torch.Tensor]], version: int) -> None:
        folder = self._write_weights(named_tensors, f"weights-{version}")
        try:
            self._call("/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": str(folder)}})
            reply = self._call("/reset_prefix_cache?reset_running_requests=true", None)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if reply.get("success") is False:
            raise TrainingError(f"the server at {self.url} kept keys and values of the old weights; start the run again with --resume")

    def close(self) -> None:
        """End a server that was started here, for the siblings too, and remove the temporary folder; the log of one that failed stays."""
        if self._process is not None:
            self._process.close()
            if self._temporary and not self._failed:
                self._process.log.unlink(missing_ok=True)
        if self._temporary:
            remove_folder(str(self._folder))

    # The server

    def _call(self, path: str, payload: dict[str, Any] | None) -> dict[str, Any]:
        """Send a request that controls the server, and return its reply."""
        try:
            response = httpx.post(self.url + path, json=payload, timeout=self._timeout)
        except httpx.HTTPError as error:
            raise self._ended(f"{type(error).__name__}: {error}") from error
        if response.status_code == 404:
            raise ConfigError(f"the server at {self.url} lacks {path.split('?')[0]}; start it with VLLM_SERVER_DEV_MODE=1")
        if response.status_code >= 300:
            reason = " ".join(response.text.split())[:300]
            raise TrainingError(f"the server at {self.url} refused {path.split('?')[0]} with status {response.status_code} ({reason})")
        return dict(response.json()) if response.content else {}

    async def _check_health(self, error: Exception) -> None:
        """Raise if the server or its engine has ended."""
        deadline = time.monotonic() + _FAILING
        while time.monotonic() < deadline:
            state = "" if self._process is None else self._process.state()
            if state or not await asyncio.to_thread(is_healthy, self.url):
                raise self._ended(state or str(error)) from error
            await asyncio.sleep(0.5)

    def _ended(self, reason: str) -> TrainingError:
        log = "" if self._process is None else f"; its log is {self._process.log}"
        self._failed = True
        return TrainingError(
            f"vLLM's server at {self.url} has failed ({reason}){log}; start the run again with --resume, which keeps the finished episodes"
        )

    def _served_name(self) -> str:
        try:
            response = httpx.get(f"{self.url}/v1/models", timeout=30)
            return str(response.json()["data"][0]["id"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise ConfigError(f"no vLLM server answers at {self.url} ({type(error).__name__}); start it there, or leave url out") from None

    # Files

    def _write_model(self, tokenizer: PreTrainedTokenizerBase) -> Path:
        """Write the folder that the server starts with; adapters are left out, since the first update brings the merged weights."""
        folder = self._folder / "model"
        shutil.rmtree(folder, ignore_errors=True)
        named = self._model.named_parameters()
        plain = ((name.replace(".base_layer.", "."), tensor) for name, tensor in named if ".lora_" not in name)
        self._write_weights(plain, "model")
        tokenizer.save_pretrained(folder)
        return folder

    def _write_weights(self, named_tensors: Iterable[tuple[str, torch.Tensor]], name: str) -> Path:
        """Write weights in the server's number type, with the model's configuration, and return their folder."""
        folder, partial = self._folder / name, self._folder / f"{name}.tmp"
        for old in (folder, partial):
            shutil.rmtree(old, ignore_errors=True)
        partial.mkdir()
        write_config(self._model, partial)
        tensors = {key: tensor.detach().to("cpu", self.dtype).contiguous() for key, tensor in named_tensors}
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        return partial.rename(folder)


def _flags(options: Mapping[str, Any]) -> list[str]:
    """Return command-line arguments; None and false leave an option out, true gives it without a value."""
    flags: list[str] = []
    for name, value in options.items():
        if value is not None and value is not False:
            flags += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    return flags
