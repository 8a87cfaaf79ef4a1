"""The compiled scorer: equal results, for every number of tokens, and one sentence where compilation fails."""

import shutil

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from empg_gym.errors import ConfigError
from empg_gym.trainers.policy.policy import Policy
from tests.trainers.policy.test_packing import GROUPED, loss_and_gradients, rows  # noqa: F401 (a fixture)

compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler (g++) on a CPU")


def make():
    torch.manual_seed(0)
    return Qwen3ForCausalLM(Qwen3Config(**(GROUPED | {"num_hidden_layers": 1}))).eval()


@compiler
@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"pack": False}, {"recompute_layers": True}], ids=["packed", "padded", "recomputed"])
def test_the_compiled_scorer_has_equal_losses_and_gradients(rows, options):  # noqa: F811
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    plain, compiled = Policy(make(), **options), Policy(make(), compiled=True, **options)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    for budget in (10_000, 30):
        loss, gradients = loss_and_gradients(plain, rows, budget)
        found, slopes = loss_and_gradients(compiled, rows, budget)
        assert found == pytest.approx(loss, rel=1e-4, abs=1e-4)
        for one, other in zip(slopes, gradients, strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=2e-3)
    with torch.no_grad():
        torch.testing.assert_close(compiled.score_rows(rows).logprobs, plain.score_rows(rows).logprobs, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_failure_to_compile_is_one_sentence(monkeypatch):
    torch._dynamo.reset()
    monkeypatch.setattr(torch._inductor.config.cpp, "cxx", ("/no/such/compiler",))
    monkeypatch.setattr(torch._inductor.config, "fx_graph_cache", False)
    with pytest.raises(ConfigError, match=r"run\.compile: torch\.compile failed here \(.+\); install a C\+\+ compiler") as caught:
        Policy(make(), compiled=True)
    assert "\n" not in str(caught.value)
