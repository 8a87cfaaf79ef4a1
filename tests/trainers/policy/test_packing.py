"""Invariants: rows packed without padding, padded, and one by one have the same log-probabilities, entropies, losses and gradients."""

import dataclasses

import pytest
import torch
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from empg_gym.trainers.data.rows import TokenRow
from empg_gym.trainers.policy.lean import _Rows
from empg_gym.trainers.policy.policy import Policy
from tests.trainers.policy.test_policy import plain

SHAPE = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED = SHAPE | {"num_key_value_heads": 2, "head_dim": 8, "initializer_range": 0.4}
MODELS = {
    "qwen2": (lambda: Qwen2ForCausalLM(Qwen2Config(**(GROUPED | {"num_key_value_heads": 4}))), True),
    "qwen3": (lambda: Qwen3ForCausalLM(Qwen3Config(**GROUPED)), True),
    "llama": (lambda: LlamaForCausalLM(LlamaConfig(**GROUPED)), True),
    "gpt2": (lambda: GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=64)), True),
    "mistral with a window": (lambda: MistralForCausalLM(MistralConfig(**GROUPED, sliding_window=8)), False),
    "gemma2 with caps": (lambda: Gemma2ForCausalLM(Gemma2Config(**GROUPED, attn_implementation="eager", sliding_window=8)), False),
    "opt": (lambda: OPTForCausalLM(OPTConfig(**(SHAPE | {"word_embed_proj_dim": 32, "ffn_dim": 48, "max_position_embeddings": 64}))), None),
}
"""Model and whether its rows are packed; None where either is right."""


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(5)
    made = []
    for index, length in enumerate((11, 2, 23, 7, 7, 16)):
        generated = torch.rand(length, generator=generator) < 0.4
        generated[0], generated[-1] = False, True
        ids = torch.randint(0, 61, (length,), generator=generator)
        made.append(TokenRow(ids=ids, generated=generated, step=torch.zeros(length, dtype=torch.long), trajectory=index))
    return made


def make(name):
    torch.manual_seed(0)
    return MODELS[name][0]().eval()


def loss_and_gradients(policy, rows, budget):
    """Return the loss, the sum of its entropies and all gradients of a weighted sum of both."""
    policy.model.zero_grad()
    weights = torch.linspace(-1, 1, sum(int(row.generated.sum()) for row in rows))
    total = 0.0
    for batch in policy.micro_batches(rows, budget):
        scores = policy.score(batch, entropy="gradient")
        loss = ((scores.logprobs + 0.3 * scores.entropies) * weights[batch.flat]).sum()
        loss.backward()
        total += float(loss.detach())
    return total, [parameter.grad.clone() for parameter in policy.model.parameters()]


@pytest.mark.parametrize("recompute", [False, True], ids=["", "recomputed"])
@pytest.mark.parametrize("name", MODELS)
def test_packed_padded_and_single_rows_have_equal_losses_and_gradients(name, recompute, rows):
    model = make(name)
    packed = Policy(model, recompute_layers=recompute)
    assert MODELS[name][1] in (None, packed.scorer.packs)
    assert len(packed.micro_batches(rows, 10_000)) == 1
    whole = loss_and_gradients(packed, rows, 10_000)
    for policy, budget in ((packed, 30), (packed, 1), (Policy(make(name), pack=False), 10_000), (Policy(make(name), pack=False), 1)):
        loss, gradients = loss_and_gradients(policy, rows, budget)
        assert loss == pytest.approx(whole[0], rel=1e-4, abs=1e-4)
        for one, other in zip(gradients, whole[1], strict=True):
            torch.testing.assert_close(one, other, atol=2e-4, rtol=2e-3)


@pytest.mark.parametrize("name", [name for name, (_, packs) in MODELS.items() if packs])
def test_packed_rows_score_as_the_model_reads_them_alone(name, rows):
    model = make(name)
    logprobs, entropies = plain(model, rows, 1.0)
    scores = Policy(model).score_rows(rows, entropy="values")
    torch.testing.assert_close(scores.logprobs.double(), logprobs, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(scores.entropies.double(), entropies, atol=1e-4, rtol=1e-4)


def test_a_row_does_not_see_the_rows_packed_before_it(rows):
    policy = Policy(make("qwen3"))
    assert policy.scorer.packs
    (batch,) = policy.micro_batches(rows, 10_000)
    last = batch.row == len(rows) - 1
    ids = batch.ids.clone()
    ids[: int(batch.starts[-2])] = 0
    before = policy.score(batch).logprobs[last]
    changed = policy.scorer(ids, batch.starts, batch.longest, batch.position)[0][last]
    assert torch.equal(before, changed)


def test_the_model_generates_as_before(rows):
    """The attention of packed rows is that of transformers in every other pass, masks of padded prompts included."""
    model = make("llama")
    prompts = torch.stack([rows[0].ids[:7], rows[3].ids])
    mask = torch.ones_like(prompts)
    mask[0, :3] = 0
    options = {"max_new_tokens": 5, "do_sample": False, "attention_mask": mask, "pad_token_id": 0, "output_logits": True}
    options["return_dict_in_generate"] = True
    before = model.generate(prompts, **options)
    assert Policy(model).scorer.packs
    after = model.generate(prompts, **options)
    assert torch.equal(before.sequences, after.sequences)
    for one, other in zip(before.logits, after.logits, strict=True):
        assert torch.equal(one, other)


def test_bfloat16_passes_keep_float32_weights_and_gradients(rows):
    model = make("qwen2")
    exact = loss_and_gradients(Policy(make("qwen2")), rows, 10_000)[1]
    policy = Policy(model, compute_dtype=torch.bfloat16)
    assert policy.scorer.packs
    _, gradients = loss_and_gradients(policy, rows, 10_000)
    seen = []
    handle = model.model.layers[0].mlp.down_proj.register_forward_hook(lambda module, given, output: seen.append(output.dtype))
    scores = policy.score(policy.micro_batches(rows, 10_000)[0])
    handle.remove()
    assert seen == [torch.bfloat16] and scores.logprobs.dtype == torch.float32
    for parameter, gradient, wanted in zip(model.parameters(), gradients, exact, strict=True):
        assert parameter.dtype == gradient.dtype == torch.float32
        assert float((gradient - wanted).norm() / wanted.norm().clamp(min=1e-3)) < 0.1


@pytest.mark.parametrize("settings, lean", [({}, True), ({"recompute_layers": True}, False), ({"compute_dtype": torch.bfloat16}, False)])
def test_small_models_run_without_their_modules(settings, lean, rows):
    policy = Policy(make("qwen2"), **settings)
    called = []
    hook = policy.model.model.layers[0].mlp.register_forward_hook(lambda *_: called.append(1))
    policy.score_rows(rows)
    assert called  # a hook needs the modules
    hook.remove()
    policy.model.model.layers[0].mlp.forward = lambda *_: pytest.fail("the modules ran")
    if lean:
        policy.score_rows(rows)
    else:
        with pytest.raises(pytest.fail.Exception):
            policy.score_rows(rows)


@pytest.mark.parametrize("name", ["qwen2", "llama"])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_pass_without_modules_has_their_gradients(name, share, rows):
    rows = [dataclasses.replace(row, generated=torch.arange(len(row)) >= max(1, round((1 - share) * len(row)))) for row in rows]
    results = []
    for settings in ({}, {"recompute_layers": True}):
        policy = Policy(make(name), **settings)
        results.append(loss_and_gradients(policy, rows, 1000))
    for lean, modules in zip(*results, strict=True):
        torch.testing.assert_close(lean, modules, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["qwen2", "llama"])
@pytest.mark.parametrize("share", [0.1, 0.9])
def test_common_beginnings_of_rows_are_computed_once_with_equal_gradients(name, share, rows):
    one, _, long, other, *_ = (row.ids for row in rows)
    parts = [long, long, one, torch.cat([one, other]), torch.cat([long[:9], other]), torch.cat([long[:4], one]), long[:9]]
    alike = [
        TokenRow(ids=ids, generated=torch.arange(len(ids)) >= (1 - share) * len(ids), step=torch.zeros_like(ids), trajectory=index)
        for index, ids in enumerate(parts)
    ]
    lean = loss_and_gradients(Policy(make(name)), alike, 1000)
    modules = loss_and_gradients(Policy(make(name), recompute_layers=True), alike, 1000)
    assert lean[0] == pytest.approx(modules[0], rel=1e-5)
    for found, wanted in zip(lean[1], modules[1], strict=True):
        assert float((found - wanted).norm() / wanted.norm()) < 1e-5


def test_each_beginning_of_rows_has_one_computed_token():
    rows = [[1, 2, 3, 4], [1, 2, 5], [1, 2, 3, 4, 9], [9], [1, 2], [1, 2, 5]]
    lengths = list(map(len, rows))
    ids = torch.tensor([token for row in rows for token in row])
    found = _Rows.of(ids, lengths, torch.cat([torch.arange(length) for length in lengths]))
    beginnings = [tuple(row[: end + 1]) for row in rows for end in range(len(row))]
    assert len(found.own) == len(set(beginnings))
    assert [beginnings[index] for index in found.own[found.place].tolist()] == beginnings
    assert [beginnings[index] for index in found.own.tolist()] == [
        tuple(rows[row][: column + 1]) for row, column in zip(found.owner.tolist(), found.column.tolist(), strict=True)
    ]
