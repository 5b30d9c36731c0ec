"""A causal language model with its tokenizer: the one place, with `bench.decoding`, that knows transformers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from algorithms.base import Forward
from bench.errors import ConfigError, MissingError, StoreError

Rows = Sequence[Sequence[int]]  # token ids, one sequence per path


@dataclass(eq=False)
class Policy:
    """The distribution over next tokens that training moves. Parameters are float32 and dropout is off."""

    model: Any  # a transformers causal language model
    tokenizer: Any  # its transformers tokenizer
    end: int  # the token that ends a completion; -1 where none does
    pad: int

    @classmethod
    def load(cls, folder_or_id: str | Path, device: str = "cpu") -> Policy:
        """The model in a local folder, which needs no network, or under a Hugging Face id.

        Raises MissingError where neither holds a model, ConfigError where its tokenizer names no end token.
        """
        from transformers import AutoModelForCausalLM, AutoTokenizer

        name, local = str(folder_or_id), Path(folder_or_id).is_dir()
        try:
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local)
            model = AutoModelForCausalLM.from_pretrained(name, local_files_only=local, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise MissingError(
                f"no causal language model at {name!r}: give a folder that holds config.json, the weights and the tokenizer, "
                f"or a Hugging Face model id that this machine can download or has in its cache ({str(error).splitlines()[0]})"
            ) from error
        return cls.of(model.to(device), tokenizer)

    @classmethod
    def of(cls, model: Any, tokenizer: Any) -> Policy:
        """A policy from a model and a tokenizer at hand. Raises ConfigError where the tokenizer names no end token."""
        end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        if end is None:
            raise ConfigError("the tokenizer has no end token, so no completion could end: set its eos_token and save it again")
        return cls(model.float().eval(), tokenizer, end, end if pad is None else pad)

    def save(self, folder: str | Path) -> None:
        """Write weights, configuration and tokenizer where `load` finds them."""
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
        """Log-probability and entropy of B completions after their prompts, both (B, T) and 0 in the padding.

        T is `width`, or the longest completion. Gradients flow to the parameters through `logp`, and through `entropy` where asked.
        """
        width = width or max(map(len, completions), default=0)
        rows = torch.tensor([b for b, completion in enumerate(completions) for _ in completion], device=self.device)
        steps = torch.tensor([t for completion in completions for t in range(len(completion))], device=self.device)
        chosen = torch.tensor([token for completion in completions for token in completion], device=self.device)
        before = torch.tensor([len(prompt) - 1 for prompt in prompts], device=self.device)
        tokens = self._padded([[*prompt, *completion][:-1] for prompt, completion in zip(prompts, completions, strict=True)])
        table = F.log_softmax(self._logits(tokens, rows, before[rows] + steps).float(), dim=-1)  # (N, V), N valid tokens
        logp = table.gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
        source = table if entropy_gradient else table.detach()
        entropy = -(source.exp() * source).sum(-1)
        empty = table.new_zeros(len(prompts), width)
        return Forward(empty.index_put((rows, steps), logp), empty.index_put((rows, steps), entropy))

    def _padded(self, rows: Rows) -> Tensor:
        """(B, L) token ids, padded on the right, where causal attention never looks."""
        longest = max(map(len, rows))
        return torch.tensor([[*row, *[self.pad] * (longest - len(row))] for row in rows], device=self.device)

    def _logits(self, tokens: Tensor, rows: Tensor, positions: Tensor) -> Tensor:
        """(N, V) next-token logits at N places of (B, L) token ids."""
        logits: Tensor = self.model(input_ids=tokens, use_cache=False).logits[rows, positions]
        return logits

    def reference(self) -> Policy:
        """A frozen copy, for the log-probabilities of where training began."""
        frozen = copy.deepcopy(self.model).requires_grad_(False)
        return Policy(frozen, self.tokenizer, self.end, self.pad)

    def parameters(self) -> Iterator[Parameter]:
        """What the optimizer moves; tied weights come once."""
        parameters: Iterator[Parameter] = self.model.parameters()
        return parameters

    def tensors(self) -> dict[str, Tensor]:
        """The weights by name, shared with the model and without gradients; tied weights come once."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave. Raises StoreError where the names or shapes are another model's."""
        own = self.tensors()
        differing = sorted(name for name in own.keys() | tensors.keys() if name not in own or name not in tensors or own[name].shape != tensors[name].shape)
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
