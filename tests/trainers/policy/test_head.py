"""The lean output layer against autograd in float64: values, gradients of both outputs, chunks, caps, temperatures and number types."""

import pytest
import torch
from torch import nn

from empg_gym.trainers.policy import head as head_module
from empg_gym.trainers.policy.head import score_tokens

TOKENS, WIDTH, WORDS = 13, 6, 29


def layer(bias=True, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    head = nn.Linear(WIDTH, WORDS, bias=bias)
    return head.to(dtype), torch.randn(TOKENS, WIDTH).to(dtype), torch.randint(WORDS, (TOKENS,))


def naive(head, hidden, targets, temperature=1.0, cap=None):
    """Float64 log-probabilities and entropies with autograd, from the definition."""
    logits = hidden.double() @ head.weight.double().T + (0.0 if head.bias is None else head.bias.double())
    if cap is not None:
        logits = cap * torch.tanh(logits / cap)
    every = torch.log_softmax(logits / temperature, dim=-1)
    return every[torch.arange(len(targets)), targets], -(every.exp() * every).sum(-1)


def gradients(function, head, hidden, with_entropy):
    hidden = hidden.clone().requires_grad_(True)
    head.zero_grad()
    logprobs, entropies = function(hidden)
    weights = torch.linspace(-1, 2, TOKENS).to(logprobs.dtype)
    loss = (logprobs * weights).sum() + ((entropies * weights.flip(0) ** 2).sum() if with_entropy else 0.0)
    loss.backward()
    return [hidden.grad.double(), *(item.grad.double() for item in head.parameters())]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("with_entropy", [True, False])
@pytest.mark.parametrize(("temperature", "cap"), [(1.0, None), (0.7, None), (1.0, 2.0), (1.3, 0.5)])
@pytest.mark.parametrize("chunk", [1, 5, 100])
def test_values_and_gradients_equal_autograd(bias, with_entropy, temperature, cap, chunk):
    head, hidden, targets = layer(bias)
    options = {"temperature": temperature, "cap": cap}
    expected = naive(head, hidden, targets, **options)
    found = score_tokens(head, hidden, targets, chunk=chunk, entropy="values", **options)
    alone, none = score_tokens(head, hidden, targets, chunk=chunk, **options)
    torch.testing.assert_close(alone, found[0])
    assert none is None
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one.double(), other, atol=1e-5, rtol=1e-5)
    ours = gradients(
        lambda hidden: score_tokens(head, hidden, targets, chunk=chunk, entropy="gradient" if with_entropy else "none", **options),
        head,
        hidden,
        with_entropy,
    )
    theirs = gradients(lambda hidden: naive(head, hidden, targets, **options), head, hidden, with_entropy)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.05])
def test_an_offset_that_all_logits_share_does_not_blur_the_entropy(temperature):
    head, hidden, targets = layer()
    with torch.no_grad():
        head.bias += 64.0
    _, entropies = score_tokens(head, hidden, targets, temperature=temperature, entropy="values")
    _, expected = naive(head, hidden, targets, temperature=temperature)
    assert float((entropies.double() - expected).abs().max()) < 2e-5 / temperature
    assert bool((entropies >= 0).all())


def test_the_entropy_has_a_gradient_only_when_asked_for():
    head, hidden, targets = layer()
    logprobs, entropies = score_tokens(head, hidden, targets, entropy="values")
    assert logprobs.requires_grad and not entropies.requires_grad
    assert score_tokens(head, hidden, targets, entropy="gradient")[1].requires_grad


@pytest.fixture(params=[(4, 7), (100, 10), (3, 1000)], ids=str)
def block(request, monkeypatch):
    """Several positions and words to a block."""
    monkeypatch.setattr(head_module, "CPU_POSITIONS", request.param[0])
    monkeypatch.setattr(head_module, "CPU_WORDS", request.param[1])


@pytest.mark.parametrize("entropy", ["none", "values", "gradient"])
@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("cap", [None, 2.0])
def test_blocks_of_words_and_frozen_layers_change_nothing(block, entropy, frozen, cap):
    head, hidden, targets = layer(seed=1)
    with torch.no_grad():
        head.weight[20:] *= 9  # the largest logits come last
    options = {"temperature": 0.7, "cap": cap}
    expected = naive(head, hidden, targets, **options)
    wanted = gradients(lambda hidden: naive(head, hidden, targets, **options), head, hidden, entropy == "gradient")
    head.requires_grad_(not frozen)
    hidden.requires_grad_(True)
    logprobs, entropies = score_tokens(head, hidden, targets, entropy=entropy, **options)
    torch.testing.assert_close(logprobs.double(), expected[0], atol=1e-5, rtol=1e-5)
    if entropies is not None:
        torch.testing.assert_close(entropies.double(), expected[1], atol=1e-5, rtol=1e-5)
    head.zero_grad()
    weights = torch.linspace(-1, 2, TOKENS)
    ((logprobs * weights).sum() + ((entropies * weights.flip(0) ** 2).sum() if entropy == "gradient" else 0.0)).backward()
    found = [hidden.grad] if frozen else [hidden.grad, head.weight.grad, head.bias.grad]
    for one, other in zip(found, wanted, strict=False):
        torch.testing.assert_close(one.double(), other, atol=2e-5, rtol=1e-4)
    if frozen:
        assert head.weight.grad is None


def test_no_pass_computes_what_nothing_uses():
    head, hidden, targets = layer()
    head.requires_grad_(False)
    hidden.requires_grad_(True)
    score_tokens(head, hidden, targets)[0].sum().backward()
    assert hidden.grad is not None and head.weight.grad is None
    with torch.no_grad():
        assert not score_tokens(head, hidden, targets)[0].requires_grad


def test_bfloat16_hidden_states_with_float32_weights():
    """The products run in bfloat16 in both passes, so that the probabilities of the backward pass add up to 1."""
    head, hidden, targets = layer(seed=3)
    small = hidden.bfloat16()
    rounded = nn.Linear(WIDTH, WORDS)
    rounded.weight.data, rounded.bias.data = head.weight.data.bfloat16().float(), head.bias.data.bfloat16().float()
    expected = gradients(lambda hidden: naive(rounded, hidden.float(), targets), rounded, small, False)
    found = gradients(lambda hidden: score_tokens(head, hidden, targets, chunk=4), head, small, False)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=5e-2, rtol=5e-2)
    assert head.weight.grad.dtype == torch.float32
    # Softmax gradients of a position add up to zero over the vocabulary.
    assert float(head.bias.grad.sum().abs()) < 0.1


def test_no_tokens_at_all():
    head, hidden, targets = layer()
    logprobs, entropies = score_tokens(head, hidden[:0], targets[:0], entropy="values")
    assert len(logprobs) == len(entropies) == 0
