"""Optimizers by name: what they update and how, their schedule, their state and updates that are skipped."""

import io

import pytest
import torch
from torch import nn

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.file import load_config
from empg_gym.trainers.config.sections import FromScratch, LoraConfig, OptimizerConfig
from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trainers.policy.lora import add_adapter
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.policy.optimizer import Optimizer, learning_rate
from empg_gym.trainers.policy.optimizers import OPTIMIZERS, Trainable, build_optimizers
from empg_gym.trainers.policy.policy import Policy

SHAPE = FromScratch(layers=2, width=64, heads=2, mlp=96, init_std=0.1)
TEXTS = ["the quick brown fox jumps over the lazy dog"] * 3
NAMES = ("adamw", "adamw_8bit", "muon")


def make(name="adamw", options=None, total=10, **settings):
    """Return an optimizer of a small model, always with the same weights."""
    model, _ = load_model(from_scratch=SHAPE, tokenizer_texts=TEXTS, seed=3)
    return Optimizer(Policy(model), OptimizerConfig(name=name, options=options or {}, **{"lr": 1e-2, **settings}), total)


def rows():
    ids = torch.arange(3 * 12).reshape(3, 12) * 7 % 200
    return [
        TokenRow(ids=row, generated=torch.arange(12) > 3, step=torch.zeros(12, dtype=torch.long), trajectory=index)
        for index, row in enumerate(ids)
    ]


def update(optimizer, factor=1.0):
    batches = optimizer.policy.micro_batches(rows(), 100)
    return optimizer.update(batches, lambda _, scores: -factor * scores.logprobs.mean())[0]


def weights(optimizer):
    return [item.detach().clone() for item in optimizer.policy.model.parameters()]


def same(one, other):
    return all(torch.equal(left, right) for left, right in zip(one, other, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_learns(name):
    optimizer = make(name)
    losses = [update(optimizer) for _ in range(10)]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_optimizer_continues_bit_for_bit(name):
    whole, first = make(name, schedule="cosine"), make(name, schedule="cosine")
    for _ in range(6):
        update(whole)
    for _ in range(3):
        update(first)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second = make(name, schedule="cosine")
    with torch.no_grad():
        for item, value in zip(second.policy.model.parameters(), weights(first), strict=True):
            item.copy_(value)
    second.load_state_dict(torch.load(file, weights_only=True))
    assert second.lr == first.lr
    for _ in range(3):
        update(second)
    assert same(weights(whole), weights(second))


@pytest.mark.parametrize("name", NAMES)
def test_an_update_that_is_not_finite_changes_neither_weights_nor_states(name):
    optimizer, other = make(name), make(name)
    update(optimizer), update(other)
    before = weights(optimizer)
    update(optimizer, factor=float("nan"))
    assert same(before, weights(optimizer))
    other.updates += 1
    update(optimizer), update(other)
    assert same(weights(optimizer), weights(other))


def test_the_schedule_scales_every_group():
    optimizer = make("muon", {"lr": 0.5}, warmup_steps=4, schedule="linear", total=8)
    for index in range(8):
        update(optimizer)
        adamw = learning_rate(optimizer.config, index, 8)
        assert optimizer.lr == adamw
        rates = [group["lr"] for item in optimizer._optimizers for group in item.param_groups]
        assert rates == pytest.approx([50 * adamw, adamw])


def test_muon_updates_the_matrices_of_the_blocks_and_adamw_the_rest():
    optimizer = make("muon", weight_decay=0.01)
    model = optimizer.policy.model
    trained = Trainable.of(model)
    names = {id(item): name for name, item in model.named_parameters()}
    assert {names[id(item)].rsplit(".", 2)[-2] for item in trained.matrices} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
    assert {"model.embed_tokens.weight", "model.norm.weight", "model.layers.0.self_attn.q_proj.bias"} <= {
        names[id(item)] for item in trained.rest
    }
    first = {name: item.detach().clone() for name, item in model.named_parameters()}
    update(optimizer)
    other = make()  # the gradients of the first update
    loss = -sum(other.policy.score(batch).logprobs.mean() for batch in other.policy.micro_batches(rows(), 100))
    loss.backward()
    nn.utils.clip_grad_norm_(other.policy.model.parameters(), 1.0)
    gradients = {name: item.grad for name, item in other.policy.model.named_parameters()}
    for kind, settings, chosen in (
        (torch.optim.Muon, {"momentum": 0.95, "adjust_lr_fn": "match_rms_adamw"}, trained.matrices),
        (torch.optim.AdamW, {"betas": (0.9, 0.999)}, trained.rest),
    ):
        for item in chosen:
            wanted = nn.Parameter(first[names[id(item)]])
            wanted.grad = gradients[names[id(item)]]
            kind([wanted], lr=1e-2, weight_decay=0.01, **settings).step()
            torch.testing.assert_close(item, wanted, atol=1e-5, rtol=1e-4)


def test_8_bit_states_take_a_quarter_of_the_memory():
    optimizer = make("adamw_8bit")
    update(optimizer)
    matrices, rest = optimizer._optimizers
    for item in Trainable.of(optimizer.policy.model).matrices:
        state = matrices.state[item]
        assert {state["state1"].dtype, state["state2"].dtype} == {torch.uint8}
    assert {state["exp_avg"].dtype for state in rest.state.values()} == {torch.float32}


def test_8_bit_updates_are_near_those_of_adamw():
    eight, whole = make("adamw_8bit", lr=1e-3), make("adamw", lr=1e-3)
    start = torch.cat([item.flatten() for item in weights(whole)])
    for _ in range(5):
        update(eight), update(whole)
    moved, wanted = (torch.cat([item.flatten() for item in weights(one)]) - start for one in (eight, whole))
    assert (moved - wanted).norm() < 0.1 * wanted.norm()


@pytest.mark.parametrize("name", NAMES)
def test_adapters_train_with_every_optimizer(name):
    model, _ = load_model(from_scratch=SHAPE, tokenizer_texts=TEXTS, seed=3)
    policy = Policy(add_adapter(model, LoraConfig(rank=4)))
    optimizer = Optimizer(policy, OptimizerConfig(name=name, lr=1e-2), 10)
    losses = [update(optimizer) for _ in range(8)]
    assert losses[-1] < losses[0]


def plain_sgd(trained, config, *, momentum=0.0):
    """An optimizer of one's own."""
    return torch.optim.SGD(trained.parameters, lr=config.lr, momentum=momentum)


def half(trained, config):
    return torch.optim.SGD(trained.parameters[:2], lr=config.lr)


def test_an_optimizer_of_ones_own():
    optimizer = make(f"{__name__}:plain_sgd", {"momentum": 0.9})
    assert update(optimizer) > update(optimizer)
    with pytest.raises(ConfigError, match=r"must hold each of the \d+ trained parameters once; it holds 2"):
        make(f"{__name__}:half")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("adamm", {}, r"unknown optimizer 'adamm'; did you mean 'adamw'\?"),
        ("adamw", {"momentum": 0.9}, "has no option 'momentum'"),
        ("muon", {"adjust_lr": "rms"}, 'is "match_rms_adamw" or "original"'),
        ("muon", {"momentum": -1.0}, "a value of 'muon' can't be used"),
        (f"{__name__}:rows", {}, "failed|must return"),
    ],
)
def test_a_mistake_is_one_sentence(name, options, message):
    model, _ = load_model(from_scratch=SHAPE, tokenizer_texts=TEXTS, seed=3)
    with pytest.raises(ConfigError, match=message):
        build_optimizers(model, OptimizerConfig(name=name, options=options))


def test_options_belong_to_a_name(tmp_path):
    base, other = tmp_path / "base.toml", tmp_path / "other.toml"
    base.write_text('[model.from_scratch]\n[rl]\noptimizer = { name = "muon", options = { lr = 0.02 }, lr = 1e-3 }\n')
    other.write_text('[rl]\noptimizer = { name = "adamw" }\n')
    assert load_config([base]).rl.optimizer.options == {"lr": 0.02}
    assert load_config([base, other]).rl.optimizer == OptimizerConfig(lr=1e-3)


def test_every_registered_optimizer_is_tested():
    assert set(OPTIMIZERS) == set(NAMES)
