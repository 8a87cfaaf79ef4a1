"""`Scorer`: a causal language model as a module whose forward pass returns log-probabilities of given tokens, not logits.

Rules:
    - The forward pass takes and returns tensors only, so that the module can be wrapped, sharded, compiled and checkpointed as a whole.
    - Rows are read one after the other without padding if the model allows it (`Scorer.packs`), otherwise padded on the right.
    - A small model on the CPU runs without its modules (`empg_gym.trainers.policy.lean`), equal up to the order of float sums.
    - The head runs only at positions that predict a generated token; see `empg_gym.trainers.policy.head`.
    - Master weights keep their number type; a forward pass in another one runs under autocast.
    - Dropout is off in every pass: the trained policy is the one that generated the episodes.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from transformers.modeling_layers import GradientCheckpointingLayer

from empg_gym.errors import ConfigError
from empg_gym.trainers.policy.attention import ROWS, can_pack
from empg_gym.trainers.policy.head import Entropy, capped_logits, score_tokens
from empg_gym.trainers.policy.lean import LeanHidden

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel


class Scorer(nn.Module):
    """A causal language model that scores generated tokens.

    Args:
        model: any Hugging Face causal language model; its weights are the master weights.
        temperature: temperature of the sampling distribution.
        chunk: positions whose logits are in memory at the same time; None chooses by device.
        compute_dtype: number type of the forward pass; autocast is used if it differs from that of the weights.
        recompute_layers: recompute each layer in the backward pass, to save memory.
        pack: read rows without padding if the model allows it.
        compiled: compile the forward and backward passes with `torch.compile`, for every number of tokens at once.

    Raises:
        ConfigError: the model's logits are not a linear layer of its last hidden state, with an optional soft cap, or it can't be compiled.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        *,
        temperature: float = 1.0,
        chunk: int | None = None,
        compute_dtype: torch.dtype | None = None,
        recompute_layers: bool = False,
        pack: bool = True,
        compiled: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.chunk = chunk
        self.compute_dtype = compute_dtype or next(model.parameters()).dtype
        self._autocast = self.compute_dtype is not next(model.parameters()).dtype
        self._cap: float | None = getattr(model.config, "final_logit_softcapping", None)
        self._recomputed: tuple[nn.Module, ...] = _recompute_layers(model) if recompute_layers else ()
        self._lean: LeanHidden | None = None
        self.eval()
        self._check_head()
        self.packs = pack and can_pack(model) and self._can_pack_exactly()
        """Whether rows are read without padding."""
        if self.packs and not (recompute_layers or compiled or self._autocast):
            self._lean = LeanHidden.of(model)
        if compiled:
            self.compile(dynamic=True)
            self._try_compiled()

    def forward(
        self, ids: Tensor, starts: Tensor, longest: int, position: Tensor, entropy: Entropy = "none"
    ) -> tuple[Tensor, Tensor | None]:
        """Return log-probabilities and entropies of generated tokens.

        Args:
            ids: [T] int64 tokens of the rows, one row after the other.
            starts: [B + 1] int32 index of each row's first token; the last entry is T.
            longest: length of the longest row.
            position: [n] index into T of the generated tokens; none is the first of its row.
            entropy: whether to compute the entropies, with or without their gradient.

        Returns:
            ([n] float32 log-probabilities, [n] float32 entropies in nats or None).
        """
        hidden = self._hidden(ids, starts, longest, position - 1)
        return score_tokens(
            self.model.get_output_embeddings(),
            hidden.to(self.compute_dtype),
            ids[position],
            temperature=self.temperature,
            cap=self._cap,
            chunk=self.chunk,
            entropy=entropy,
        )

    def train(self, mode: bool = True) -> Scorer:
        """Stay in evaluation mode: dropout is off in every pass."""
        super().train(False)
        return self

    def _hidden(self, ids: Tensor, starts: Tensor, longest: int, wanted: Tensor) -> Tensor:
        """Return [n, D] last hidden states at the indices `wanted` into T."""
        for layer in self._recomputed:  # only layers in training mode are recomputed; `_in_evaluation_mode` switches it off inside
            layer.training = torch.is_grad_enabled()
        place = torch.arange(len(ids), device=ids.device)
        row = torch.bucketize(place, starts[1:], right=True)
        column = place - starts[row]
        if self.packs and self._lean is not None and self._lean.usable():
            return self._lean(ids, starts.diff().tolist(), column, wanted)
        decoder: Any = self.model.get_decoder()
        if self.packs:
            unused_mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
            packed = {"cu_seq_lens_q": starts, "cu_seq_lens_k": starts, "max_length_q": longest, "max_length_k": longest}
            with self._precision():
                output = decoder(input_ids=ids[None], position_ids=column[None], attention_mask=unused_mask, use_cache=False, **packed)
            hidden: Tensor = output.last_hidden_state[0]
            return hidden[wanted]
        padded = ids.new_zeros(len(starts) - 1, longest).index_put((row, column), ids)
        with self._precision():
            hidden = decoder(input_ids=padded, use_cache=False).last_hidden_state
        return hidden[row[wanted], column[wanted]]

    def _try_compiled(self) -> None:
        """Compile both passes now rather than in the first update.

        Raises:
            ConfigError: it fails.
        """
        device = self.model.device
        ids, position = torch.arange(11, device=device), torch.tensor([1, 2, 4, 8], device=device)
        starts = torch.tensor([0, 3, 11], dtype=torch.int32, device=device)
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        try:
            logprobs, _ = self(ids, starts, 8, position)
            if trained:
                torch.autograd.grad(logprobs.sum(), trained, allow_unused=True)
        except (RuntimeError, OSError, ImportError) as error:  # torch's compiler errors are RuntimeErrors
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise ConfigError(
                f"run.compile: torch.compile failed here ({reason[:200]}); install a C++ compiler (on a GPU: triton), "
                "or set run.compile = false"
            ) from error

    def _precision(self) -> AbstractContextManager[object]:
        return torch.autocast(self.model.device.type, dtype=self.compute_dtype) if self._autocast else nullcontext()

    @torch.no_grad()
    def _check_head(self) -> None:
        ids = torch.arange(4, device=self.model.device)[None]
        whole = self.model(input_ids=ids, use_cache=False).logits.float()
        ours: Tensor | None = None
        head = self.model.get_output_embeddings()
        if isinstance(head, nn.Linear):
            hidden = self.model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
            ours = capped_logits(hidden, head.weight, head.bias, cap=self._cap)
        if ours is None or not torch.allclose(whole, ours, atol=1e-2, rtol=1e-2):
            raise ConfigError(
                f"models of type {self.model.config.model_type!r} scale or shift their logits in an unsupported way; "
                "train a model whose logits are a linear layer of its last hidden state (Qwen, Llama, Mistral, Gemma, …)"
            )

    @torch.no_grad()
    def _can_pack_exactly(self) -> bool:
        """Try two rows, and keep the attention for packed rows if their hidden states are those of padded rows."""
        device = self.model.device
        ids, starts = torch.arange(7, device=device), torch.tensor([0, 3, 7], dtype=torch.int32, device=device)
        self.packs = False
        padded = self._hidden(ids, starts, 4, ids).float()
        config = self.model.config.get_text_config()
        before, config._attn_implementation = config._attn_implementation, ROWS
        self.packs = True
        try:
            packed = self._hidden(ids, starts, 4, ids).float()
        except (TypeError, ValueError, RuntimeError, IndexError):  # a model with its own idea of masks or positions
            packed = torch.full_like(padded, torch.nan)
        exact = bool(((packed - padded).norm() <= _tolerance(self.compute_dtype) * padded.norm()).item())
        if not exact:
            config._attn_implementation = before
        return exact


def _tolerance(dtype: torch.dtype) -> float:
    """Return the relative error of hidden states that rounding explains; a token of another row in sight changes them by far more."""
    return 10 * torch.finfo(dtype).eps ** 0.75


def _recompute_layers(model: PreTrainedModel) -> tuple[nn.Module, ...]:
    """Switch on the recomputation of layers, and return them."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    layers: list[Any] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    for layer in layers:
        layer._gradient_checkpointing_func = _in_evaluation_mode(layer, layer._gradient_checkpointing_func)
    return tuple(layers)


def _in_evaluation_mode(layer: nn.Module, run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the checkpointing function `run` with the layer in evaluation mode inside, in both passes."""

    def checkpointed(forward: Callable[..., Any], *args: Any) -> Any:
        def quiet(*args: Any) -> Any:
            layer.training = False
            return forward(*args)

        return run(quiet, *args)

    return checkpointed
