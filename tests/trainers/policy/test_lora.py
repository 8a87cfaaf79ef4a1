"""Adapters: equal to the base model at first, to the merged model always, and read by peft and transformers."""

import copy

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from empg_gym.errors import ConfigError, DataError
from empg_gym.trainers.config.sections import FromScratch, LoraConfig, OptimizerConfig
from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trainers.policy import lora
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.policy import Policy
from empg_gym.trainers.policy.reference import AdapterReference

SHAPE = FromScratch(layers=2, width=32, heads=4, kv_heads=2, init_std=0.3)
CONFIG = LoraConfig(rank=4, alpha=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A base model."""
    made = tmp_path_factory.mktemp("base")
    model, tokenizer = load_model(from_scratch=SHAPE, tokenizer_texts=["the quick brown fox jumps over the lazy dog"] * 3, seed=3)
    model.save_pretrained(made)
    tokenizer.save_pretrained(made)
    return made


def base(folder, dtype=torch.float32):
    return load_model(str(folder), dtype=dtype)[0]


def adapted(folder, *, trained, dtype=torch.float32, config=CONFIG):
    model = lora.add_adapter(base(folder, dtype), config, seed=5, base=str(folder))
    generator = torch.Generator().manual_seed(7)
    for name, parameter in model.named_parameters():
        if trained and ".lora_B." in name:
            parameter.data.normal_(0, 0.1, generator=generator)
    return model


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(1)
    lengths = (5, 9, 14, 20)
    return [
        TokenRow(
            ids=torch.randint(0, 200, (length,), generator=generator),
            generated=torch.arange(length) % 3 > 0,
            step=torch.zeros(length, dtype=torch.long),
            trajectory=index,
        )
        for index, length in enumerate(lengths)
    ]


BY_MODULES = {"recompute_layers": True}
"""Without adapters, a small model runs without its modules, which rounds differently."""


def scores(model, rows, **options):
    return Policy(model, **options).score_rows(rows, entropy="values")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_new_adapter_changes_nothing(folder, rows, dtype):
    plain, with_adapter = scores(base(folder, dtype), rows, **BY_MODULES), scores(adapted(folder, trained=False, dtype=dtype), rows)
    assert torch.equal(plain.logprobs, with_adapter.logprobs) and torch.equal(plain.entropies, with_adapter.entropies)


@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-5), (torch.bfloat16, 0.3)])
def test_merged_weights_give_the_scores_of_the_adapter(folder, rows, dtype, near):
    model = adapted(folder, trained=True, dtype=dtype)
    plain = base(folder, dtype)
    before = scores(plain, rows).logprobs
    merged = dict(lora.plain_parameters(model))
    assert list(merged) == [name for name, _ in plain.named_parameters()]
    assert {item.dtype for item in merged.values()} == {dtype}
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            parameter.copy_(merged[name])
    wanted = scores(model, rows).logprobs
    torch.testing.assert_close(scores(plain, rows).logprobs, wanted, atol=near, rtol=near)
    assert (before - wanted).abs().max() > 3 * near


def test_only_float32_adapters_are_trained_and_the_seed_decides_them(folder):
    one, same, other = (lora.add_adapter(base(folder, torch.bfloat16), CONFIG, seed=seed) for seed in (1, 1, 2))
    trained = {name: item for name, item in one.named_parameters() if item.requires_grad}
    assert {item.dtype for item in trained.values()} == {torch.float32}
    assert all(".lora_" in name for name in trained)
    layers = {name.split(".")[-4] for name in trained}
    assert layers == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    states = [lora.adapter_state(model) for model in (one, same, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert not all(torch.equal(states[0][name], states[2][name]) for name in states[0])


def test_the_reference_is_the_model_without_or_with_earlier_adapters(folder, rows):
    model = adapted(folder, trained=False)
    policy = Policy(model)
    zero = {name: item.clone() for name, item in lora.adapter_state(model).items()}
    at_base = scores(base(folder), rows, **BY_MODULES).logprobs
    lora.load_adapter_state(model, lora.adapter_state(adapted(folder, trained=True)))
    first = {name: item.clone() for name, item in lora.adapter_state(model).items()}
    at_first = policy.score_rows(rows).logprobs
    with torch.no_grad():
        for item in lora.adapter_state(model).values():
            item.mul_(1.5)
    trained = policy.score_rows(rows).logprobs
    for state, wanted in (({}, at_base), (zero, at_base), (first, at_first)):
        assert torch.equal(AdapterReference(policy, state).score_rows(rows).logprobs, wanted)
        assert torch.equal(policy.score_rows(rows).logprobs, trained)
    assert all(item.requires_grad == (".lora_" in name) for name, item in model.named_parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_are_those_of_recomputed_layers_and_reach_the_adapters_only(folder, rows, dtype):
    def gradients(recompute):
        model = adapted(folder, trained=True, dtype=dtype)
        policy = Policy(model, recompute_layers=recompute)
        for batch in policy.micro_batches(rows, 30):
            policy.score(batch).logprobs.sum().backward()
        return {name: item.grad for name, item in model.named_parameters()}

    whole, recomputed = gradients(False), gradients(True)
    assert all((item is not None) == (".lora_" in name) for name, item in whole.items())
    for name, item in whole.items():
        if item is not None:
            assert item.dtype == torch.float32 and item.any()
            torch.testing.assert_close(recomputed[name], item)


def test_an_optimizer_learns_with_adapters(folder, rows):
    model = adapted(folder, trained=False)
    frozen = {name: item.clone() for name, item in model.named_parameters() if not item.requires_grad}
    policy = Policy(model)
    optimizer = Optimizer(policy, OptimizerConfig(lr=1e-2), 10)
    losses = [optimizer.update(policy.micro_batches(rows, 100), lambda _, scored: -scored.logprobs.mean())[0] for _ in range(10)]
    assert losses[-1] < losses[0] - 0.5
    assert all(torch.equal(item, frozen[name]) for name, item in model.named_parameters() if name in frozen)


def test_peft_and_transformers_read_a_saved_adapter(folder, rows, tmp_path):
    model = adapted(folder, trained=True)
    wanted = scores(model, rows).logprobs
    lora.save_adapter(model, tmp_path)
    assert lora.base_of_adapter(tmp_path) == str(folder)
    with_peft = PeftModel.from_pretrained(base(folder), str(tmp_path)).base_model.model
    assert torch.equal(scores(with_peft, rows).logprobs, wanted)
    with_transformers = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(scores(with_transformers, rows).logprobs, wanted)
    ours, _ = load_model(str(tmp_path))
    assert not lora.is_adapted(ours)
    torch.testing.assert_close(scores(ours, rows).logprobs, wanted, atol=1e-5, rtol=1e-5)
    again = adapted(folder, trained=False)
    lora.load_adapter_state(again, lora.read_adapter(tmp_path))
    assert torch.equal(scores(again, rows).logprobs, wanted)


def test_targets_limit_the_adapted_layers(folder):
    model = adapted(folder, trained=False, config=LoraConfig(rank=2, targets=("q_proj", "v_proj")))
    assert {name.split(".")[-4] for name, item in model.named_parameters() if item.requires_grad} == {"q_proj", "v_proj"}
    with pytest.raises(ConfigError, match=r"no linear layer 'qproj'; did you mean 'q_proj'\?"):
        adapted(folder, trained=False, config=LoraConfig(targets=("qproj",)))


def test_a_foreign_or_damaged_adapter_is_refused(folder, tmp_path):
    model = adapted(folder, trained=False)
    other = lora.adapter_state(adapted(folder, trained=False, config=LoraConfig(rank=3)))
    with pytest.raises(DataError, match="expected LoRA weights of the layers and the rank"):
        lora.load_adapter_state(model, other)
    lora.save_adapter(model, tmp_path)
    (tmp_path / lora.ADAPTER_WEIGHTS).write_bytes(b"damaged")
    with pytest.raises(DataError, match="missing or damaged"):
        lora.read_adapter(tmp_path)
    (tmp_path / lora.ADAPTER_CONFIG).write_text("{}")
    with pytest.raises(ConfigError, match="does not name the base model"):
        load_model(str(tmp_path))


def test_a_generator_that_copies_gets_plain_weights(folder):
    """Merged weights, as vLLM receives them, load into a plain model by name."""
    model = adapted(folder, trained=True)
    plain = copy.deepcopy(base(folder))
    result = plain.load_state_dict(dict(lora.plain_parameters(model)), strict=False)
    assert not result.unexpected_keys and set(result.missing_keys) <= {"lm_head.weight"}
