"""Every preset names the memory of a card that holds it, and the estimate of the dry run agrees.

The shapes of the models are those of their config.json on the hub.
"""

import json
import re
from pathlib import Path

import pytest

from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.run.memory_estimate import estimate_memory

ROOT = Path(__file__).parents[3] / "configs"
PRESETS = sorted(ROOT.rglob("*.toml"))
CLAIM = re.compile(r"^# Fits: (\d+) GB(, on the CPU)?(?: after ([\w, -]+?))?(?: with `(\S+)`)?[.;]", re.MULTILINE)
COMMON = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "use_sliding_window": False, "max_position_embeddings": 32768}
SHAPES = {
    "Qwen/Qwen2.5-1.5B-Instruct": (151936, 1536, 8960, 28, 12, 2, True),
    "Qwen/Qwen2.5-3B-Instruct": (151936, 2048, 11008, 36, 16, 2, True),
    "Qwen/Qwen2.5-7B-Instruct": (152064, 3584, 18944, 28, 28, 4, False),
    "Qwen/Qwen2.5-32B-Instruct": (152064, 5120, 27648, 64, 40, 8, False),
}
KEYS = (
    "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
    "tie_word_embeddings",
)  # fmt: skip


def estimate(files, overrides, device_gb, tmp_path):
    name = load_config(files, overrides).model.name
    if name is not None:
        (tmp_path / "config.json").write_text(json.dumps({**COMMON, **dict(zip(KEYS, SHAPES[name], strict=True))}))
        overrides = [*overrides, f"model.name={tmp_path}"]
    return estimate_memory(load_config(files, overrides), device_gb)


@pytest.mark.parametrize("path", PRESETS, ids=[path.stem for path in PRESETS])
def test_a_preset_fits_the_card_that_it_names(path, tmp_path):
    claim = CLAIM.search(path.read_text())
    assert claim is not None, "a preset has a line `# Fits: N GB`"
    device_gb, bases, override = float(claim[1]), claim[3], claim[4]
    assert (bases is not None) == (path.parent.name == "parts")
    for base in bases.split(", ") if bases else [None]:
        files = [path] if base is None else [ROOT / f"{base}.toml", path]
        overrides = [] if override is None else [override]
        if claim[2]:
            overrides.append('run.device="cpu"')
        found = estimate(files, overrides, device_gb, tmp_path)
        assert found.fits, "\n".join(found.lines())


@pytest.mark.parametrize(("base", "model"), [("alfworld", "7B"), ("webshop", "7B"), ("deepsearch", "32B")])
def test_the_large_models_fit_no_card_in_full_training(base, model, tmp_path):
    assert not estimate([ROOT / f"{base}.toml"], [f"model.name=Qwen/Qwen2.5-{model}-Instruct"], 141, tmp_path).fits


@pytest.mark.parametrize("base", ["alfworld", "webshop", "deepsearch"])
@pytest.mark.parametrize("model", ["1.5B", "3B"])
def test_the_recipe_for_24_gb_fits_with_room_for_several_rows(base, model, tmp_path):
    files = [ROOT / f"{base}.toml", ROOT / "parts" / "empg.toml", ROOT / "parts" / "lora-24gb.toml"]
    found = estimate(files, [f"model.name=Qwen/Qwen2.5-{model}-Instruct"], 24, tmp_path)
    assert found.fits and found.peak < 22e9 and found.cached_rows > 8, "\n".join(found.lines())
