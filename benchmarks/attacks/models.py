"""Hostile model folders: code, pickled weights, damaged files, chat templates."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.attacks.outcome import Case, Outcome, tally
from empg_gym.errors import AgentError, ConfigError
from tests.trainers.generate.hostile_templates import HOSTILE

CODE = """
from pathlib import Path
Path({marker!r}).write_text("ran")
from transformers import PretrainedConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer
class OwnConfig(Qwen2Config):
    model_type = "own"
class OwnModel(Qwen2ForCausalLM):
    config_class = OwnConfig
class OwnTokenizer(Qwen2Tokenizer):
    pass
"""
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}, {"role": "user", "content": ""}]
TEMPLATES = {
    **HOSTILE,
    "4 GB": "{% set n = messages | length * 4000000000 %}{{ 'a' * n }}",
    "a long text": "{% set x = 'a' * 40000000 %}{{ x }}",
    "3 GB of spaces": "{{ 'a' | center(3000000000) }}",
}
ESCAPES = [
    "{{ ''.__class__.__mro__ }}",
    "{{ cycler.__init__.__globals__.os.environ }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    "{{ dict.__class__.__base__.__subclasses__() }}",
    "{% set ns = namespace(__class__=1) %}{{ ns }}",
    "{{ messages.append({}) }}",
    "{{ ('%s' | format)(1).__class__ }}",
]


def write_model(folder: Path) -> None:
    """Write a small model with random weights."""
    from empg_gym.trainers.config.sections import FromScratch
    from empg_gym.trainers.policy.models import load_model

    model, tokenizer = load_model(from_scratch=FromScratch(width=32), tokenizer_texts=["a small text to look at", "go to shelf 1"])
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def code(folder: Path) -> Outcome:
    """Load folders that bring Python code of a model, of a tokenizer, and payloads in pickled weights; estimate their memory."""
    import torch

    from empg_gym.agents import make_agent
    from empg_gym.trainers.config.sections import TrainConfig
    from empg_gym.trainers.policy.models import load_model
    from empg_gym.trainers.run.memory_estimate import estimate_memory

    write_model(folder / "saved")
    marker = folder / "ran"

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return exec, (f"open({str(marker)!r}, 'w').write('ran')",)

    def holds(kind: str) -> bool:
        foreign = shutil.copytree(folder / "saved", folder / "foreign")
        (foreign / "own.py").write_text(CODE.format(marker=str(marker)))
        if kind == "tokenizer":
            _edit(foreign / "tokenizer_config.json", tokenizer_class="OwnTokenizer", auto_map={"AutoTokenizer": ["own.OwnTokenizer"] * 2})
        elif kind == "model":
            auto = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
            _edit(foreign / "config.json", model_type="own", architectures=["OwnModel"], auto_map=auto)
        elif kind == "adapter_model.bin":
            torch.save({"x": Payload()}, foreign / kind)
            adapter = {"peft_type": "LORA", "r": 1, "base_model_name_or_path": str(foreign)}
            (foreign / "adapter_config.json").write_text(json.dumps(adapter))
        else:
            (foreign / "model.safetensors").unlink()
            torch.save({"x": Payload()}, foreign / kind)
        refusals = 0
        config = TrainConfig.model_validate({"model": {"name": str(foreign)}})
        loads: list[Callable[[], object]] = [
            lambda: load_model(str(foreign)),
            lambda: make_agent(f"checkpoint:{foreign}", device="cpu"),
            lambda: estimate_memory(config),
        ]
        for load in loads:
            try:
                load()
            except ConfigError:
                refusals += 1
        shutil.rmtree(foreign)
        # A tokenizer is read by the class that transformers has for the model; an estimate reads no weights.
        return not marker.exists() and refusals == {"tokenizer": 0, "model": 3}.get(kind, 2)

    def asked(*_: object) -> str:
        raise AssertionError("asked on the terminal")

    with patch("builtins.input", asked), patch.dict(os.environ, {"HF_MODULES_CACHE": str(folder / "modules")}):
        kinds = ["model", "tokenizer", "pytorch_model.bin", "model.pt", "adapter_model.bin"]
        return tally(kinds, holds, "no code ran, and nobody was asked")


def damage(folder: Path) -> Outcome:
    """Load folders with damaged files and impossible settings: one sentence each."""
    from empg_gym.trainers.policy.models import load_model

    write_model(folder / "saved")
    files = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "generation_config.json")
    contents = (b"", b"[]", b"7", b"[" * 100_000, b"\xff\xfe\x00", b'{"a": 1e999}')
    items: list[tuple[str, bytes | dict[str, object]]] = [(name, content) for name in files for content in contents]
    items += [
        ("config.json", {"quantization_config": {"quant_method": "nothing"}}),
        ("config.json", {"quantization_config": {"quant_method": "gptq", "bits": "many"}}),
        ("config.json", {"quantization_config": 7}),
        ("config.json", {"hidden_size": "wide"}),
        ("config.json", {"num_attention_heads": 0}),
        ("config.json", {"model_type": ["qwen2"]}),
        ("config.json", {"dtype": "float7"}),
        ("tokenizer_config.json", {"tokenizer_class": 7}),
        ("tokenizer_config.json", {"chat_template": 7}),
    ]

    def holds(item: tuple[str, bytes | dict[str, object]]) -> bool:
        foreign = shutil.copytree(folder / "saved", folder / "foreign")
        name, change = item
        if isinstance(change, dict):
            _edit(foreign / name, **change)
        else:
            (foreign / name).write_bytes(change)
        try:
            load_model(str(foreign))
        except ConfigError as error:
            return "\n" not in str(error)
        finally:
            shutil.rmtree(foreign)
        return True  # a setting that transformers ignores

    return tally(items, holds, "one sentence each, or the setting is ignored")


def templates(folder: Path) -> Outcome:
    """Render templates that do not end or fill the memory: CPU seconds of the processes that render them are counted."""
    from empg_gym.trainers.generate.template_process import TemplateProcess

    longest = 0.0

    def holds(kind: str) -> bool:
        nonlocal longest
        before, ended = _children_seconds(), False
        template = TemplateProcess("{% if messages | length > 1 %}" + TEMPLATES[kind] + "{% endif %}fine", {})
        try:
            template.render(CHAT, add_generation_prompt=False)
        except (ConfigError, AgentError):
            ended = True
        works = template.render(CHAT[:1], add_generation_prompt=False) == "fine"
        template.close()
        seconds = _children_seconds() - before
        longest = max(longest, seconds)
        return ended and works and seconds < 6

    tried, held, remark = tally(TEMPLATES, holds, "")
    return tried, held, f"at most {longest:.1f} s of CPU time, with the start of the next process{remark}"


def _children_seconds() -> float:
    times = os.times()
    return times.children_user + times.children_system


def escapes(folder: Path) -> Outcome:
    """Render templates that try to leave the sandbox, with a key in the environment of this process."""
    from empg_gym.trainers.generate.template_process import TemplateProcess

    def holds(attempt: str) -> bool:
        template = TemplateProcess("[" + attempt + "]", {})
        try:
            text = template.render(CHAT[:1], add_generation_prompt=False)
        except AgentError:
            text = ""
        finally:
            template.close()
        return not any(sign in text for sign in ("sEcr3t", "uid=", "type"))

    with patch.dict(os.environ, {"SECRET_API_KEY": "sEcr3t-Value-0123"}):
        return tally(ESCAPES, holds, "")


def missing(folder: Path) -> Outcome:
    """Name a model that is neither here nor on the hub, which cannot be reached."""
    from huggingface_hub import HfApi

    from empg_gym.agents import make_agent

    def unreachable(self: HfApi, name: str, *, timeout: float) -> None:
        raise ConnectionError("no network")

    def holds(name: str) -> bool:
        try:
            make_agent(f"checkpoint:{name}", device="cpu")
        except ConfigError as error:
            return "\n" not in str(error)
        return False

    began = time.monotonic()
    with patch.object(HfApi, "model_info", unreachable):
        tried, held, remark = tally(["runs/nosuch", "nosuch", "a/b/c", "../x", "x y"], holds, "")
    return tried, held, f"{time.monotonic() - began:.1f} s in all{remark}"


CASES: dict[str, Case] = {
    "model folder: code of the model and the tokenizer, pickled weights": code,
    "model folder: damaged files, bad settings and quantisation": damage,
    "model name that is neither here nor on the hub": missing,
    "chat template: does not end, or fills the memory": templates,
    "chat template: leaves the sandbox": escapes,
}
