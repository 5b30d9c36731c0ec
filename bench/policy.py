"""A causal language model with its tokenizer: the one place, with `bench.decoding`, that knows transformers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from algorithms.base import Forward
from bench import dense
from bench.errors import ConfigError, MissingError, StoreError

ROWS_TOGETHER = 16  # at about 50 tokens a row, what passes between two operations then stays in a core's cache
Rows = Sequence[Sequence[int]]  # token ids, one sequence per path


@dataclass(eq=False)
class Policy:
    """The distribution over next tokens that training moves. Parameters are float32 and dropout is off."""

    model: Any  # a transformers causal language model
    tokenizer: Any  # its transformers tokenizer
    end: int  # the token that ends a completion; -1 where none does
    pad: int
    value_head: torch.nn.Linear | None = None  # gives the value of a state from the last layer's, where there is one
    dense: bool = field(init=False)  # the model is one that `bench.dense` computes

    def __post_init__(self) -> None:
        self.dense = dense.supported(self.model)

    @classmethod
    def load(cls, folder_or_id: str | Path, device: str = "cpu") -> Policy:
        """The model in a local folder, which needs no network, or under a Hugging Face id.

        Raises MissingError where neither holds a model, ConfigError where its tokenizer names no end token.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        name, local = str(folder_or_id), Path(folder_or_id).is_dir()
        try:
            with _no_bars() if local else nullcontext():  # a download may show its progress
                tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
                model = AutoModelForCausalLM.from_pretrained(name, local_files_only=local, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise MissingError(
                f"no causal language model at {name!r}: give a folder that holds config.json, the weights and the tokenizer, "
                f"or a Hugging Face model id that this machine can download or has in its cache ({str(error).splitlines()[0]})"
            ) from error
        moved: Any = model
        return cls.of(moved.to(device), tokenizer)

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> Policy:
        """A policy from a model and a tokenizer at hand. Raises ConfigError where the tokenizer names no end token."""
        end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        if end is None:
            raise ConfigError("the tokenizer has no end token, so no completion could end: set its eos_token and save it again")
        return cls(model.float().eval(), tokenizer, end, end if pad is None else pad)

    def save(self, folder: str | Path) -> None:
        """Write weights, configuration and tokenizer where `load` finds them."""
        with _no_bars():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt, never empty: the only tokenisation there is. Raises ConfigError for a prompt without tokens."""
        tokens = [int(token) for token in self.tokenizer(prompt)["input_ids"]]
        if len(tokens) > 1 and tokens[-1] == self.end:
            tokens.pop()  # some tokenizers close what they encode; a prompt is there to be continued
        if not tokens:
            raise ConfigError(f"the prompt {prompt!r} has no tokens; a completion needs at least one to follow")
        return tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """The text up to the end token, without special tokens."""
        kept = list(tokens)
        if self.end in kept:
            kept = kept[: kept.index(self.end)]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True))

    def forward(self, prompts: Rows, completions: Rows, *, width: int | None = None, entropy_gradient: bool = False) -> Forward:
        """Log-probability and entropy of B completions after their prompts, (B, T) and 0 in the padding, and values where there is a head.

        T is `width`, or the longest completion. Gradients flow to the parameters through `logp` and `value`, and through `entropy` where
        asked.
        """
        inputs = [[*prompt, *completion][:-1] for prompt, completion in zip(prompts, completions, strict=True)]
        order, logits, value = self._read(inputs, [len(prompt) - 1 for prompt in prompts], values=self.value_head is not None)
        assert logits is not None
        chosen = torch.tensor([token for b in order for token in completions[b]], device=self.device)
        table = F.log_softmax(logits.float(), dim=-1)  # (N, V), N valid tokens
        logp = table.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
        source = table if entropy_gradient else table.detach()
        entropy = -(source.exp() * source).sum(-1)
        place = self._placer(order, completions, width)
        return Forward(place(logp), place(entropy), None if value is None else place(value))

    def values(self, prompts: Rows, completions: Rows, *, width: int | None = None) -> Tensor:
        """(B, T) the value head's value of the state before each token of B completions, 0 in the padding; with gradients."""
        inputs = [[*prompt, *completion][:-1] for prompt, completion in zip(prompts, completions, strict=True)]
        order, _, value = self._read(inputs, [len(prompt) - 1 for prompt in prompts], values=True, logits=False)
        assert value is not None
        return self._placer(order, completions, width)(value)

    def scores(self, prompts: Rows, completions: Rows) -> Tensor:
        """(B,) the value head's value of each whole completion, after its last token; with gradients."""
        inputs = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
        order, _, value = self._read(inputs, [len(row) - 1 for row in inputs], values=True, logits=False)
        assert value is not None
        return value.new_zeros(len(inputs)).index_put((torch.tensor(order, device=self.device),), value)

    def _placer(self, order: list[int], completions: Rows, width: int | None) -> Callable[[Tensor], Tensor]:
        """What puts (N,) figures of the valid tokens, in the order they were read, in their (B, T) places."""
        rows = torch.tensor([b for b in order for _ in completions[b]], device=self.device)
        steps = torch.tensor([t for b in order for t in range(len(completions[b]))], device=self.device)
        shape = len(completions), width or max(map(len, completions), default=0)
        return lambda x: x.new_zeros(shape).index_put((rows, steps), x)

    def _parts(self, lengths: list[int]) -> list[list[int]]:
        """The rows that go forward together: all of them, or as many of about one length as a processor's cache holds."""
        if not self.dense:
            return [list(range(len(lengths)))]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        return [order[i : i + ROWS_TOGETHER] for i in range(0, len(order), ROWS_TOGETHER)]

    def _read(
        self, inputs: list[list[int]], starts: list[int], *, values: bool, logits: bool = True
    ) -> tuple[list[int], Tensor | None, Tensor | None]:
        """What the model says at the places of each row from its start to its end: the order in which the rows were read, and one after
        the other (N, V) next-token logits and (N,) values, each where asked."""
        weights = dense.fuse(self.model, max(map(len, inputs))) if self.dense else None
        parts = self._parts([len(row) for row in inputs])
        tables, states = [], []
        for part in parts:
            length = max(len(inputs[b]) for b in part)
            # Padded on the right, where causal attention never looks.
            tokens = torch.tensor([[*inputs[b], *[self.pad] * (length - len(inputs[b]))] for b in part], device=self.device)
            places = [i * length + t for i, b in enumerate(part) for t in range(starts[b], len(inputs[b]))]
            index = torch.tensor(places, device=self.device)
            table, state = self._generic(tokens, index, logits, values) if weights is None else _lean(weights, tokens, index, logits)
            tables.append(table)
            states.append(state)
        value = None
        if values:
            if self.value_head is None:
                raise ConfigError("this model has no value head; give it one with `with_values`")
            value = self.value_head(torch.cat(states).float()).squeeze(-1)
        return [b for part in parts for b in part], torch.cat(tables) if logits else None, value

    def _generic(self, tokens: Tensor, places: Tensor, logits: bool, values: bool) -> tuple[Tensor, Tensor]:
        """(n, V) logits and (n, D) last states at n places of the flattened (B, L) tokens, as transformers computes them."""
        if logits:
            found = self.model(input_ids=tokens, use_cache=False, output_hidden_states=values)
            table = found.logits.flatten(0, 1)[places]
            return table, found.hidden_states[-1].flatten(0, 1)[places] if values else table
        states = self.model.base_model(input_ids=tokens, use_cache=False).last_hidden_state.flatten(0, 1)[places]
        return states, states

    def with_values(self) -> Policy:
        """This policy with a value head of its own, which says 0 of every state until it is trained."""
        size = self.model.get_output_embeddings().weight.shape[-1]
        head = torch.nn.Linear(size, 1, device=self.device)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        return Policy(self.model, self.tokenizer, self.end, self.pad, head)

    def copy(self) -> Policy:
        """The same weights in a memory of their own."""
        return Policy(copy.deepcopy(self.model), self.tokenizer, self.end, self.pad, copy.deepcopy(self.value_head))

    def reference(self) -> Policy:
        """A frozen copy, for the log-probabilities of where training began."""
        frozen = copy.deepcopy(self.model).requires_grad_(False)
        return Policy(frozen, self.tokenizer, self.end, self.pad)

    def frozen(self) -> Policy:
        """This policy, value head included, out of reach of any optimizer."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        return self

    def parameters(self) -> Iterator[Parameter]:
        """What the optimizer moves, the value head last; tied weights come once."""
        yield from self.model.parameters()
        if self.value_head is not None:
            yield from self.value_head.parameters()

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, shared with the model and without gradients; tied weights come once."""
        named = dict(self.model.named_parameters())
        if self.value_head is not None:
            named |= {f"value_head.{name}": parameter for name, parameter in self.value_head.named_parameters()}
        return {name: parameter.detach() for name, parameter in named.items()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave. Raises StoreError where the names or shapes are another model's."""
        own = self.tensors()
        differing = sorted(
            name for name in own.keys() | tensors.keys() if name not in own or name not in tensors or own[name].shape != tensors[name].shape
        )
        if differing:
            raise StoreError(f"the checkpoint is of another model, {differing[0]!r} differs: resume with the model the run began with")
        for name, tensor in tensors.items():
            own[name].copy_(tensor)

    def digest(self) -> str:
        """Twelve hex digits of the SHA-256 of the parameters' names and bytes."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.tensors().items()):
            total.update(name.encode())
            total.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return total.hexdigest()[:12]


def _lean(weights: dense.Dense, tokens: Tensor, places: Tensor, logits: bool) -> tuple[Tensor, Tensor]:
    """What `Policy._generic` gives, by `bench.dense`."""
    normed = dense.hidden(weights, tokens, places)
    states = normed * weights.norm
    return F.linear(normed, weights.head, weights.head_bias) if logits else states, states


@contextmanager
def _no_bars() -> Iterator[None]:
    """No progress bars from transformers, which would mix with what a command prints."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
