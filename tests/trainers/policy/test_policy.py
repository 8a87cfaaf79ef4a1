"""The chunked forward pass against the whole one; losses that must not depend on how a batch is split."""

import pytest
import torch
from transformers import OPTConfig, OPTForCausalLM

from empg_gym.errors import ConfigError
from empg_gym.trainers.config.sections import FromScratch, OptimizerConfig
from empg_gym.trainers.data.rows import TokenRow, micro_batches
from empg_gym.trainers.policy.models import load_model
from empg_gym.trainers.policy.optimizer import Optimizer
from empg_gym.trainers.policy.policy import Policy


@pytest.fixture(scope="module")
def model():
    shape = FromScratch(layers=2, width=32, heads=2, init_std=0.4)
    return load_model(from_scratch=shape, tokenizer_texts=["the quick brown fox jumps over the lazy dog"] * 3, seed=3)[0]


@pytest.fixture(scope="module")
def rows():
    generator = torch.Generator().manual_seed(1)
    made = []
    for index in range(7):
        length = 5 + 4 * index
        generated = torch.rand(length, generator=generator) < 0.5
        generated[0], generated[-1] = False, True
        ids = torch.randint(0, 200, (length,), generator=generator)
        made.append(TokenRow(ids=ids, generated=generated, step=torch.zeros(length, dtype=torch.long), trajectory=index))
    return made


def plain(model, rows, temperature):
    """Log-probabilities and entropies in float64 from the model's own logits, row by row."""
    logprobs, entropies = [], []
    for row in rows:
        with torch.no_grad():
            logits = model(input_ids=row.ids[None]).logits[0].double() / temperature
        every = torch.log_softmax(logits, dim=-1)
        places = row.generated.nonzero().squeeze(1)
        logprobs.append(every[places - 1, row.ids[places]])
        entropies.append(-(every.exp() * every).sum(-1)[places - 1])
    return torch.cat(logprobs), torch.cat(entropies)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("chunk", [1, 5, 4096])
@pytest.mark.parametrize("budget", [1, 70, 10_000])
def test_scores_equal_a_plain_forward_pass(model, rows, temperature, chunk, budget):
    policy = Policy(model, temperature=temperature, chunk=chunk, token_budget=budget)
    scores = policy.score_rows(rows, entropy="values")
    logprobs, entropies = plain(model, rows, temperature)
    torch.testing.assert_close(scores.logprobs.double(), logprobs, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(scores.entropies.double(), entropies, atol=2e-5, rtol=1e-5)


def gradients(model, rows, chunk, budget, **options):
    policy = Policy(model, chunk=chunk, **options)
    model.zero_grad()
    weights = torch.linspace(-1, 1, sum(int(row.generated.sum()) for row in rows))
    for batch in micro_batches(rows, budget):
        (policy.score(batch).logprobs * weights[batch.flat]).sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.mark.parametrize(("chunk", "budget", "options"), [(3, 10_000, {}), (4096, 30, {}), (5, 1, {"recompute_layers": True})])
def test_gradients_do_not_depend_on_chunks_and_micro_batches(model, rows, chunk, budget, options):
    whole = gradients(model, rows, 4096, 10_000)
    try:
        for one, other in zip(whole, gradients(model, rows, chunk, budget, **options), strict=True):
            torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)
    finally:
        model.gradient_checkpointing_disable()
        model.eval()


def test_dropout_is_off_in_recomputed_layers(model, rows):
    batch = micro_batches(rows, 10_000)[0]
    wanted = Policy(model).score(batch).logprobs
    dropout = model.config.attention_dropout
    model.config.attention_dropout = 0.5
    for module in model.modules():
        if hasattr(module, "attention_dropout"):
            module.attention_dropout = 0.5
    try:
        torch.testing.assert_close(Policy(model, recompute_layers=True).score(batch).logprobs, wanted)
    finally:
        model.gradient_checkpointing_disable()
        model.eval()
        model.config.attention_dropout = dropout
        for module in model.modules():
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = dropout


def test_dropout_of_the_layer_itself_is_off_when_it_is_recomputed(rows):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "ffn_dim": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "word_embed_proj_dim": 32}
    model = OPTForCausalLM(OPTConfig(vocab_size=512, dropout=0.5, max_position_embeddings=256, **shape))
    batch = micro_batches(rows, 10_000)[0]
    wanted = Policy(model).score(batch).logprobs
    again = Policy(model, recompute_layers=True).score(batch).logprobs
    torch.testing.assert_close(again, wanted)
    (slopes,) = torch.autograd.grad(wanted.sum(), [model.lm_head.weight])
    (recomputed,) = torch.autograd.grad(again.sum(), [model.lm_head.weight])
    torch.testing.assert_close(recomputed, slopes, atol=2e-5, rtol=1e-4)


def test_an_interrupted_update_leaves_no_gradients(model, rows):
    optimizer = Optimizer(Policy(model), OptimizerConfig(lr=1e-9), 3)
    batches = micro_batches(rows, 10_000)
    _, norm = optimizer.update(batches, lambda batch, scores: scores.logprobs.sum())

    def stopped():
        yield from batches
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.update(stopped(), lambda batch, scores: 100 * scores.logprobs.sum())
    assert optimizer.update(batches, lambda batch, scores: scores.logprobs.sum())[1] == pytest.approx(norm, rel=1e-3)


def test_entropies_are_computed_and_differentiated_only_on_request(model, rows):
    batch = micro_batches(rows, 10_000)[0]
    scores = Policy(model).score(batch, entropy="values")
    assert scores.logprobs.requires_grad
    assert not scores.entropies.requires_grad
    assert Policy(model).score(batch, entropy="gradient").entropies.requires_grad
    assert bool(Policy(model).score(batch).entropies.isnan().all())


def test_a_soft_cap_of_the_logits_is_applied(model, rows):
    logprobs = Policy(model).score_rows(rows).logprobs
    model.config.final_logit_softcapping = 2.0
    try:
        with pytest.raises(ConfigError, match="in an unsupported way"):
            Policy(model)
    finally:
        del model.config.final_logit_softcapping
    assert torch.equal(Policy(model).score_rows(rows).logprobs, logprobs)
