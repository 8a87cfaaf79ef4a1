"""The estimated memory against the measured peak of a real update, and what a dry run refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from empg_gym.cli import main
from empg_gym.errors import ConfigError
from empg_gym.trainers.config.file import parse_config
from empg_gym.trainers.run.memory_estimate import estimate_memory, require_fit
from tests.trainers.corridor import corridor_config

ROOT = Path(__file__).parents[3]
WITHIN = 2.0
"""Factor between estimate and measured peak, in both directions."""
QWEN = {
    "model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": True, "max_position_embeddings": 32768,
    "use_sliding_window": False,
}  # fmt: skip
SMALL = {"hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2}
QWEN_1_5B = {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2}


def folder(path, vocab_size=4096, **shape):
    """Write a model folder that has nothing but config.json."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps({**QWEN, "vocab_size": vocab_size, **shape}))
    return str(path)


def config_of(model, *, run=None, rl=None, rollout=None):
    tree = corridor_config("unused", warmstart={"steps": 0}).model_dump(mode="json")
    tree["run"] |= {"device": "auto", **(run or {})}
    tree["rl"] |= {"token_budget": 1024, "logit_chunk": 256, **(rl or {})}
    tree["rollout"] |= {"max_row_tokens": 512, **(rollout or {})}
    return parse_config(tree | {"model": model})


def in_gb(config, device_gb):
    estimate = estimate_memory(config, device_gb)
    return {part.name: (round(part.update / 1e9, 1), round(part.rollout / 1e9, 1)) for part in estimate.parts}, estimate


def test_the_parts_of_a_known_model(tmp_path):
    """Qwen2.5-1.5B has 1,543,714,304 parameters; the dry run needs its config.json alone."""
    name = folder(tmp_path / "model", vocab_size=151936, **QWEN_1_5B)
    full, _ = in_gb(config_of({"name": name}, rl={"kl_coef": 0.01}), 80)
    assert (full["weights"], full["optimizer states"], full["reference"]) == ((6.2, 6.2), (12.3, 12.3), (6.2, 6.2))
    assert (full["gradients"], full["generator's copy"]) == ((6.2, 0.0), (3.1, 3.1))
    lora, estimate = in_gb(config_of({"name": name, "lora": {}}, rl={"kl_coef": 0.01}), 24)
    assert (lora["weights"], lora["reference"], lora["generator's copy"]) == ((3.2, 3.2), (0.0, 0.0), (0.0, 0.0))
    assert estimate.fits and estimate.update < 0.5 * estimate_memory(config_of({"name": name}), 80).update


@pytest.mark.parametrize(
    ("device_gb", "advice"),
    [
        (24, r"needs about \d+\.\d GB, and a device of 24 GB has 24\.0 GB: train adapters \(model\.lora = \{\}\)"),
        (2, "use a smaller model or shorter rows"),
    ],
)
def test_what_cannot_fit_is_refused_with_advice(tmp_path, device_gb, advice):
    config = config_of({"name": folder(tmp_path / "model", vocab_size=151936, **QWEN_1_5B)})
    with pytest.raises(ConfigError, match=advice):
        require_fit(config, estimate_memory(config, device_gb), device_gb)


def test_the_advice_names_only_what_is_needed(tmp_path):
    name = folder(tmp_path / "model", vocab_size=151936, **QWEN_1_5B)
    config = config_of({"name": name}, rl={"token_budget": 16384}, rollout={"max_row_tokens": 4096})
    with pytest.raises(ConfigError, match=r"has 80\.0 GB: set run\.gradient_checkpointing = true$"):
        require_fit(config, estimate_memory(config, 80), 80)


def test_code_of_a_model_does_not_run_for_an_estimate(tmp_path, monkeypatch):
    """transformers would ask on the terminal whether it may."""
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked on the terminal"))
    name = folder(tmp_path / "model", model_type="own", auto_map={"AutoConfig": "own.OwnConfig"}, **SMALL)
    (tmp_path / "model" / "own.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w').close()\nfrom transformers import Qwen2Config\nclass OwnConfig(Qwen2Config):\n    pass\n"
    )
    with pytest.raises(ConfigError, match="trust_remote_code = true"):
        estimate_memory(config_of({"name": name}), 24)
    assert not (tmp_path / "ran").exists()
    assert estimate_memory(config_of({"name": name, "trust_remote_code": True}), 24) is None
    assert (tmp_path / "ran").exists()


def test_an_absent_config_gives_no_estimate():
    assert estimate_memory(config_of({"name": "nobody/no-such-model"}), 24) is None


def test_a_model_from_scratch_is_estimated():
    assert 0 < estimate_memory(corridor_config("unused")).peak < 8e9


def test_the_dry_run_names_what_16_bit_adapters_add_on_a_cpu(tmp_path):
    model = {"name": folder(tmp_path / "model", **SMALL), "lora": {}}
    on_cpu, on_gpu = (
        "\n".join(estimate_memory(config_of(model, run={"dtype": "bfloat16", "device": device}), 24).lines()) for device in ("cpu", "auto")
    )
    assert "not in this estimate" in on_cpu and "not in this estimate" not in on_gpu


def sizes(estimate):
    return {part.name: part.update for part in estimate.parts}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the resident memory from /proc")
@pytest.mark.parametrize(
    ("model", "sections"),
    [
        ({}, {}),
        ({}, {"run": {"gradient_checkpointing": True}}),
        ({}, {"run": {"dtype": "bfloat16"}}),
        ({"lora": {"rank": 8}}, {}),
        ({}, {"rl": {"optimizer": {"name": "adamw_8bit"}, "token_budget": 512}}),
    ],
    ids=["float32", "recomputed", "autocast", "lora", "8-bit states"],
)
def test_the_estimate_is_near_the_measured_peak(tmp_path, model, sections):
    sections = {**sections, "run": {"device": "cpu", **sections.get("run", {})}}
    config = config_of({"name": folder(tmp_path / "model", **SMALL), **model}, **sections)
    estimate = estimate_memory(config)
    expected = estimate.update - sizes(estimate)["context and fragmentation"] - sizes(estimate)["generator's copy"]
    (tmp_path / "config.json").write_text(config.model_dump_json())
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    environment |= {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}  # freed memory is returned
    script = Path(__file__).with_name("measured_update.py")
    shown = subprocess.run(
        [sys.executable, script, tmp_path / "config.json"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert shown.returncode == 0, shown.stderr
    measured = float(shown.stdout.splitlines()[-1])
    print(f"estimate {expected / 1e6:.0f} MB, measured {measured / 1e6:.0f} MB, ratio {expected / measured:.2f}")
    assert measured / WITHIN < expected < measured * WITHIN


def test_a_dry_run_prints_the_table_and_ends_with_the_refusal(tmp_path, monkeypatch, capsys):
    file = tmp_path / "run.toml"
    name = folder(tmp_path / "model", vocab_size=151936, **QWEN_1_5B)
    file.write_text(f'[model]\nname = "{name}"\n[env]\nid = "EMPGTest/Corridor-v0"\n[rl]\nsteps = 1\n[eval]\nsplits = ["test"]\n')
    monkeypatch.setattr(sys, "argv", ["empg-gym", "train", str(file), "--dry-run", "--device-memory", "24"])
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert ended.value.code == 2 and "a device of 24 GB has 24.0 GB" in shown.err
    assert "# keys and values" in shown.out
