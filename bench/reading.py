"""What a causal language model says of given tokens: the one module through which training and scoring run a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from bench import lora
from bench.dense import fuse, hidden
from bench.token_logp import logits_of, plainly, token_logp

PROBE = 4  # tokens on which the head is compared with the model's own logits
CLOSE = 0.05  # of the largest logit: far above bfloat16's rounding, far below a head of another form


@dataclass(frozen=True)
class Read:
    """Figures at n places, each where asked for."""

    logp: Tensor | None = None  # (n,) of the chosen tokens, float32
    entropy: Tensor | None = None  # (n,) nats, float32
    states: Tensor | None = None  # (n, D) of the last layer, after its norm


class Reader(nn.Module):
    """A model with its head taken apart, so that no table of logits over a large vocabulary is ever whole."""

    def __init__(self, model: Any, *, mixed: bool = False, adapted: bool = True) -> None:
        """`mixed`: bfloat16 arithmetic on float32 weights. Not `adapted`: as the model was before its adapters."""
        super().__init__()
        self.model, self.mixed, self.adapted = model, mixed, adapted
        self.head: Head | None = None  # found at the first use

    def forward(
        self, tokens: Tensor, places: Tensor, chosen: Tensor | None, *, states: bool = False, entropy_gradient: bool = False
    ) -> Read:
        """Figures at n places of the flattened (B, L) token ids, whose rows are padded on the right; `chosen`, (n,), tokens follow."""
        with nullcontext() if self.adapted else lora.without(self.model), checkpointing(self.model):
            if chosen is None:
                return Read(states=self._states(tokens, places))
            if self.head is None:
                self.head = self._form(tokens)
            if not self.head.separate:
                return self._whole(tokens, places, chosen, states, entropy_gradient)
            found = self._states(tokens, places)
            logp, entropy = self._tokens(found, chosen, entropy_gradient)
        return Read(logp, entropy, found if states else None)

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic that the model is run in."""
        device = next(self.model.parameters()).device.type
        return torch.autocast(device, torch.bfloat16) if self.mixed else nullcontext()

    def _states(self, tokens: Tensor, places: Tensor) -> Tensor:
        """(n, D) last states. Padding stands on the right, where causal attention never looks."""
        with self.autocast():
            found: Tensor = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state
        return found.flatten(0, 1)[places]

    def _tokens(self, states: Tensor, chosen: Tensor, entropy_gradient: bool) -> tuple[Tensor, Tensor]:
        assert self.head is not None
        output = self.model.get_output_embeddings()
        states = states.bfloat16() if self.mixed else states.to(output.weight.dtype)
        bias = getattr(output, "bias", None)
        return token_logp(states, output.weight, bias, chosen, entropy_gradient=entropy_gradient, scale=self.head.scale, cap=self.head.cap)

    def _whole(self, tokens: Tensor, places: Tensor, chosen: Tensor, states: bool, entropy_gradient: bool) -> Read:
        """By the model's own logits, for a head of unknown form."""
        with self.autocast():
            found = self.model(input_ids=tokens, use_cache=False, output_hidden_states=states)
        logp, entropy = plainly(found.logits.flatten(0, 1)[places].float(), chosen, entropy_gradient)
        last = found.hidden_states[-1].flatten(0, 1)[places] if states else None
        return Read(logp, entropy, last)

    @torch.no_grad()
    def _form(self, tokens: Tensor) -> Head:
        """How the model's logits come from its last states, compared on a few tokens."""
        config, few = self.model.config.get_text_config(), tokens[:1, :PROBE]
        scale = getattr(config, "logit_scale", None) or 1.0 / (getattr(config, "logits_scaling", None) or 1.0)
        head = Head(True, float(scale), float(getattr(config, "final_logit_softcapping", None) or 0.0))
        output = self.model.get_output_embeddings()
        if type(output) is not nn.Linear:
            return Head(False)
        places = torch.arange(few.shape[1], device=tokens.device)
        with self.autocast():
            own = self.model(input_ids=few, use_cache=False).logits[0].float()
        states = self._states(few, places).to(output.weight.dtype)
        logits = logits_of(states, output.weight, output.bias, head.scale, head.cap)
        return head if float((logits - own).abs().max()) <= CLOSE * float(own.abs().max()) else Head(False)


@dataclass(frozen=True)
class Head:
    """The form of a model's head: cap * tanh(scale * (W @ state + b) / cap), without the cap where it is 0."""

    separate: bool  # whether it has this form at all
    scale: float = 1.0
    cap: float = 0.0


class Lean:
    """What a reader gives, for the models that `bench.dense` computes. Made anew for each set of weights."""

    def __init__(self, model: Any, length: int) -> None:
        """`length`: of the longest row."""
        self.weights = fuse(model, length)

    def __call__(
        self, tokens: Tensor, places: Tensor, chosen: Tensor | None, *, states: bool = False, entropy_gradient: bool = False
    ) -> Read:
        normed, of = hidden(self.weights, tokens, places), self.weights
        known = normed * of.norm if states else None
        if chosen is None:
            return Read(states=known)
        return Read(*token_logp(normed, of.head, of.head_bias, chosen, entropy_gradient=entropy_gradient), known)


def joined(parts: Sequence[Read]) -> Read:
    """The figures of one part after the other."""

    def join(found: Sequence[Tensor | None]) -> Tensor | None:
        known = [each for each in found if each is not None]
        return torch.cat(known) if known else None

    return Read(join([part.logp for part in parts]), join([part.entropy for part in parts]), join([part.states for part in parts]))


@contextmanager
def checkpointing(model: Any) -> Iterator[None]:
    """Lets layers that were told to recompute do so while gradients are wanted. transformers asks their `training` flag, which would
    also wake dropout; only the flag of the layer itself is set, and only here, for a layer that recomputes keeps no cache."""
    chosen = (
        [m for m in model.modules() if getattr(m, "gradient_checkpointing", False) and not m.training] if torch.is_grad_enabled() else []
    )
    for module in chosen:
        module.training = True
    try:
        yield
    finally:
        for module in chosen:
            module.training = False
