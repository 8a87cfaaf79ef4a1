"""The GPU benchmark runs through on a CPU at small sizes, and its page says what was measured."""

import importlib.util
import json

import pytest
import torch

from benchmarks import gpu
from empg_gym.trainers.policy.policy import Policy

pytestmark = pytest.mark.slow


@pytest.fixture
def section(tmp_path, monkeypatch):
    """Return the renderer of the page's section, reading the result files of another folder."""
    monkeypatch.syspath_prepend(str(gpu.ROOT / "scripts"))
    from result_sections import machine_room, shared

    monkeypatch.setattr(shared, "RESULTS", tmp_path)
    return machine_room.gpu


def test_the_whole_script_runs_on_a_cpu(tmp_path, section):
    out = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--size", "tiny", "--out", str(out)])
    record = json.loads(out.read_text())
    assert record["device"] == "CPU" and record["tflops"]["peak"] is None
    full = record["updates"]["tiny"]
    assert [case["row_tokens"] for case in full] == [16, 64]
    for case in full:
        assert case["packed"] and case["tokens"] == 128 and case["scored"] == 32
        assert case["tokens_per_s"] > 0 and case["utilisation_peak"] is None and case["utilisation_matmul"] > 0
    if importlib.util.find_spec("peft") is None:
        assert record["updates"]["tiny LoRA"] == "peft is not installed"
    else:
        assert len(record["updates"]["tiny LoRA"]) == 2
    assert record["head"]["naive"]["seconds"] > 0 and record["head"]["ours"]["seconds"] > 0
    assert record["iterations"]["demo"]["episodes"] == 2
    page = section()
    assert page.startswith("On CPU, float32.") and "| tiny | 64 | " in page and "| demo | 2 | " in page


def test_the_page_says_that_no_figure_exists_yet(section):
    assert section().startswith("No GPU figure exists yet")


@pytest.mark.parametrize("length", [8, 32])
def test_model_flops_are_those_that_torch_counts(length):
    """Torch counts the products of one pass; full instead of causal attention is twice the attention of the formula."""
    from torch.utils.flop_counter import FlopCounterMode

    shape = gpu.SIZES["tiny"].models["tiny"]
    model = gpu.make_model(shape, torch.device("cpu"), torch.float32)
    policy = Policy(model, pack=False)
    (batch,) = policy.micro_batches(gpu.make_rows(2, length, shape.vocabulary), 10_000)
    model.config._attn_implementation = "eager"
    with FlopCounterMode(display=False) as counter:
        policy.score(batch).logprobs.sum().backward()
    scored = len(batch.flat)
    attention = 6 * length * shape.heads * shape.head_dim * shape.layers * 2 * length
    # The output layer has four products, of which torch does not count the two that are written to a buffer: the logits, twice.
    uncounted = 2 * shape.vocabulary * shape.width * scored
    assert counter.get_total_flops() == gpu.model_flops(shape, 2 * length, scored, length) + attention - uncounted
