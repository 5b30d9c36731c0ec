"""A causal language model with its tokenizer: with `bench.loading`, `bench.reading` and `bench.decoding`, what knows transformers."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from algorithms.base import Forward
from bench import chat, dense, lora
from bench.errors import ConfigError, StoreError
from bench.loading import load, no_bars
from bench.model_settings import PLAIN, ModelSettings
from bench.ranks import ALONE, Ranks
from bench.reading import Lean, Read, Reader, joined
from bench.sharding import Root, placed, shard, whole

ROWS_TOGETHER = 16  # at about 50 tokens a row, what passes between two operations then stays in a core's cache
TOKENS_TOGETHER = 16_384  # padding included, where no gradient asks for more to be kept than what passes between two operations
Rows = Sequence[Sequence[int]]  # token ids, one sequence per path


@dataclass(eq=False)
class Policy:
    """The distribution over next tokens that training moves. Dropout is off."""

    model: Any  # a transformers causal language model, with adapters where the settings ask for them
    tokenizer: Any  # its transformers tokenizer
    end: int  # the token that ends a completion; -1 where none does
    pad: int
    value_head: torch.nn.Linear | None = None  # gives the value of a state from the last layer's, where there is one
    settings: ModelSettings = PLAIN
    other_ends: frozenset[int] = frozenset()  # tokens that end a completion as well
    adapted: bool = True  # False: the model as it was before its adapters
    root: Root | None = None  # what a model in pieces is run through; policies of one model have one in common
    dense: bool = field(init=False)  # the model is one that `bench.dense` computes
    reader: Reader = field(init=False)

    def __post_init__(self) -> None:
        own = self.settings.dtype != "float32" or self.settings.lora_rank or self.settings.gradient_checkpointing
        self.dense = not own and dense.supported(self.model)
        self.reader = Reader(self.model, mixed=self.settings.dtype == "mixed", adapted=self.adapted)

    @classmethod
    def load(cls, folder_or_id: str | Path, device: str = "cpu", settings: ModelSettings = PLAIN) -> Policy:
        """The model in a local folder, which needs no network, or under a Hugging Face id.

        Raises MissingError where neither holds a model, ConfigError where its tokenizer names no end token or the settings do not fit.
        """
        return cls.of(*load(folder_or_id, device, settings), settings)

    @classmethod
    def of(cls, model: Any, tokenizer: Any, settings: ModelSettings = PLAIN) -> Policy:
        """A policy from a model and a tokenizer at hand; weights are made float32 unless the settings say bfloat16.

        Raises ConfigError where the tokenizer names no end token, or its chat template is not there or refuses what the settings ask.
        """
        end, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
        if end is None:
            raise ConfigError("the tokenizer has no end token, so no completion could end: set its eos_token and save it again")
        if settings.chat == "on" and not tokenizer.chat_template:
            raise ConfigError("model.chat is on, but the tokenizer has no chat template; leave it at auto, or choose a model made for chat")
        if settings.dtype != "bfloat16":
            model = model.float()
        named = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
        ends = {named} if isinstance(named, int) else set(named or ())
        made = cls(model.eval(), tokenizer, end, end if pad is None else pad, settings=settings)
        if made.chats:
            made.encode("Ready?")  # what the template refuses is refused here
            ends |= {end if (found := chat.end_of_turn(tokenizer, settings)) is None else found}
        made.other_ends = frozenset(ends - {end})
        return made

    def save(self, folder: str | Path) -> None:
        """Write weights, configuration and tokenizer where `load` finds them; what adapters add is in the weights."""
        with no_bars():
            self.model.save_pretrained(folder, state_dict=dict(self.exported()) if self.settings.lora_rank else None)
            self.tokenizer.save_pretrained(folder)

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        device: torch.device = next(self.model.parameters()).device
        return device

    @property
    def ranks(self) -> Ranks:
        """The processes that the model is spread over."""
        return ALONE if self.root is None else self.root.ranks

    @property
    def ends(self) -> frozenset[int]:
        """Every token that ends a completion."""
        return self.other_ends | ({self.end} if self.end >= 0 else set())

    @property
    def exact(self) -> bool:
        """Whether all is float32, so that two ways of computing the same log-probability agree to 1e-5."""
        return self.settings.dtype == "float32"

    @property
    def chats(self) -> bool:
        """Whether prompts go into the chat template."""
        return self.settings.chat == "on" or (self.settings.chat == "auto" and bool(self.tokenizer.chat_template))

    def encode(self, prompt: str) -> list[int]:
        """Token ids of a prompt, never empty: the user's message in the chat template where there is one, else the text as it stands.

        Raises ConfigError for a prompt without tokens.
        """
        if self.chats:
            return self.plain(chat.render(self.tokenizer, self.settings, prompt))
        tokens = [int(token) for token in self.tokenizer(prompt)["input_ids"]]
        if len(tokens) > 1 and tokens[-1] == self.end:
            tokens.pop()  # some tokenizers close what they encode; a prompt is there to be continued
        if not tokens:
            raise ConfigError(f"the prompt {prompt!r} has no tokens; a completion needs at least one to follow")
        return tokens

    def plain(self, text: str) -> list[int]:
        """Token ids of a text as it stands, without the tokens that a tokenizer begins or closes a text with."""
        return [int(token) for token in self.tokenizer(text, add_special_tokens=False)["input_ids"]]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text up to the first token that ends it, without special tokens."""
        ends = self.ends
        length = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
        return str(self.tokenizer.decode(list(tokens[:length]), skip_special_tokens=True))

    def forward(self, prompts: Rows, completions: Rows, *, width: int | None = None, entropy_gradient: bool = False) -> Forward:
        """Log-probability and entropy of B completions after their prompts, (B, T) and 0 in the padding, and values where there is a head.

        T is `width`, or the longest completion. Gradients flow to the parameters through `logp` and `value`, and through `entropy` where
        asked.
        """
        inputs = [[*prompt, *completion][:-1] for prompt, completion in zip(prompts, completions, strict=True)]
        starts = [len(prompt) - 1 for prompt in prompts]
        order, read = self._read(inputs, starts, completions, values=self.value_head is not None, entropy_gradient=entropy_gradient)
        assert read.logp is not None and read.entropy is not None
        place = self._placer(order, completions, width)
        return Forward(place(read.logp), place(read.entropy), None if read.states is None else place(self._value(read.states)))

    def values(self, prompts: Rows, completions: Rows, *, width: int | None = None) -> Tensor:
        """(B, T) the value head's value of the state before each token of B completions, 0 in the padding; with gradients."""
        inputs = [[*prompt, *completion][:-1] for prompt, completion in zip(prompts, completions, strict=True)]
        order, read = self._read(inputs, [len(prompt) - 1 for prompt in prompts], None, values=True)
        return self._placer(order, completions, width)(self._value(read.states))

    def scores(self, prompts: Rows, completions: Rows) -> Tensor:
        """(B,) the value head's value of each whole completion, after its last token; with gradients."""
        inputs = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
        order, read = self._read(inputs, [len(row) - 1 for row in inputs], None, values=True)
        value = self._value(read.states)
        return value.new_zeros(len(inputs)).index_put((torch.tensor(order, device=self.device),), value)

    def _value(self, states: Tensor | None) -> Tensor:
        """(N,) the value head's. Raises ConfigError where there is none."""
        if self.value_head is None or states is None:
            raise ConfigError("this model has no value head; give it one with `with_values`")
        value: Tensor = self.value_head(states.float()).squeeze(-1)
        return value

    def _placer(self, order: list[int], completions: Rows, width: int | None) -> Callable[[Tensor], Tensor]:
        """What puts (N,) figures of the valid tokens, in the order they were read, in their (B, T) places."""
        rows = torch.tensor([b for b in order for _ in completions[b]], device=self.device)
        steps = torch.tensor([t for b in order for t in range(len(completions[b]))], device=self.device)
        shape = len(completions), width or max(map(len, completions), default=0)
        return lambda x: x.new_zeros(shape).index_put((rows, steps), x)

    def _parts(self, lengths: list[int]) -> list[list[int]]:
        """The rows that go forward together, of about one length: as many as a processor's cache holds, or as a bound on tokens allows.
        With gradients to come they stay in one piece, which the caller has cut to fit."""
        if (not self.dense or self.root is not None) and torch.is_grad_enabled():
            return [list(range(len(lengths)))]
        order = sorted(range(len(lengths)), key=lengths.__getitem__)
        if self.dense:
            return [order[i : i + ROWS_TOGETHER] for i in range(0, len(order), ROWS_TOGETHER)]
        return by_tokens(order, lengths, TOKENS_TOGETHER)

    def _read(
        self, inputs: list[list[int]], starts: list[int], chosen: Rows | None, *, values: bool, entropy_gradient: bool = False
    ) -> tuple[list[int], Read]:
        """What the model says at the places of each row from its start to its end, where the `chosen` tokens follow: the order in which
        the rows were read, and one after the other the N figures of each kind that is asked for."""
        read: Callable[..., Read] = self.reader
        if self.root is not None:
            read = partial(self.root, adapted=self.adapted)
        elif self.dense:
            read = Lean(self.model, max(map(len, inputs)))
        parts = self._parts([len(row) for row in inputs])
        found = []
        for part in parts:
            length = max(len(inputs[b]) for b in part)
            # Padded on the right, where causal attention never looks.
            tokens = torch.tensor([[*inputs[b], *[self.pad] * (length - len(inputs[b]))] for b in part], device=self.device)
            places = [i * length + t for i, b in enumerate(part) for t in range(starts[b], len(inputs[b]))]
            index = torch.tensor(places, device=self.device)
            next_ = None if chosen is None else torch.tensor([token for b in part for token in chosen[b]], device=self.device)
            found.append(read(tokens, index, next_, states=values, entropy_gradient=entropy_gradient))
        if self.root is not None and not torch.is_grad_enabled():
            self.root.idle(max(self.ranks.gathered([len(parts)])) - len(parts))
            self.root.forget()
        return [b for part in parts for b in part], joined(found)

    def autocast(self) -> AbstractContextManager[Any]:
        """The arithmetic that the model is run in; a sampler that runs it by itself enters this."""
        return self.reader.autocast()

    def with_values(self) -> Policy:
        """This policy with a value head of its own, which says 0 of every state until it is trained."""
        size = self.model.get_output_embeddings().weight.shape[-1]
        head = torch.nn.Linear(size, 1, device=self.device)
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.zeros_(head.bias)
        if self.root is not None:
            shard(head, self.ranks, self.device)
        return replace(self, value_head=head)

    def copy(self) -> Policy:
        """The same weights in a memory of their own, in pieces where these are."""
        return self._plain("cpu" if self.ranks.size > 1 else self.device).shard(self.ranks, self.device)

    def reference(self) -> Policy:
        """Where training began, for its log-probabilities: a frozen copy, or the weights below the adapters, which stay as they are."""
        if self.settings.lora_rank:
            return replace(self, value_head=None, adapted=False)
        plain = replace(self, value_head=None)._plain("cpu" if self.ranks.size > 1 else self.device)
        plain.model.requires_grad_(False)
        return plain.shard(self.ranks, self.device)

    def shard(self, ranks: Ranks, device: str | torch.device) -> Policy:
        """This policy with its weights in pieces over the processes, each on its device; as it is for a process alone. It takes the model's
        place: the plain one is not to be used again."""
        if ranks.size == 1:
            return self
        root = Root(self.model, ranks, device=torch.device(device), mixed=self.settings.dtype == "mixed", dense=self.dense)
        if self.value_head is not None:
            shard(self.value_head, ranks, root.device)
        return replace(self, root=root)

    @contextmanager
    def whole(self) -> Iterator[Policy]:
        """The policy in one piece on every process, as it is now, for a block that not all go through in step; all begin it together."""
        yield self if self.root is None else self._plain(self.device)

    def _plain(self, device: str | torch.device) -> Policy:
        """A copy in one piece."""
        if self.root is None:
            return replace(self, model=copy.deepcopy(self.model), value_head=copy.deepcopy(self.value_head))
        head = None
        if self.value_head is not None:
            size = self.value_head.in_features
            head = torch.nn.Linear(size, 1, device=device)
            head.load_state_dict({name: whole(p.detach()) for name, p in self.value_head.named_parameters()})
        return replace(self, model=self.root.whole(self.model, device), value_head=head, root=None)

    def frozen(self) -> Policy:
        """This policy, value head included, out of reach of any optimizer."""
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        return self

    def parameters(self) -> Iterator[Parameter]:
        """What the optimizer moves, the value head last; tied weights come once."""
        for _, parameter in self._named():
            yield parameter

    def tensors(self) -> dict[str, Tensor]:
        """What training moves by name, shared with the model and without gradients; tied weights come once."""
        return {name: parameter.detach() for name, parameter in self._named()}

    def _named(self) -> Iterator[tuple[str, Parameter]]:
        yield from lora.trained(self.model)
        if self.value_head is not None:
            yield from ((f"value_head.{name}", parameter) for name, parameter in self.value_head.named_parameters())

    def exported(self) -> Iterator[tuple[str, Tensor]]:
        """Every weight of the plain model under each name its checkpoint has, with what adapters add: for whoever keeps its own copy."""
        for name, tensor in lora.merged(self.model):
            yield name, whole(tensor)

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `tensors` gave. Raises StoreError where the names or shapes are another model's."""
        own = self.tensors()
        differing = sorted(own.keys() ^ tensors.keys())
        for name in [] if differing else sorted(own):
            tensor = tensors[name]
            if tensor.shape != own[name].shape:
                differing = [name]
                break
            own[name].copy_(placed(tensor, own[name]))
        if differing:
            raise StoreError(f"the checkpoint is of another model, {differing[0]!r} differs: resume with the model the run began with")

    def facts(self) -> dict[str, Any]:
        """What was loaded, in JSON values: architecture, size, what trains, attention and, of a model from the hub, its commit."""
        sizes = {"parameters": sum(p.numel() for p in self.model.parameters()), "trained": sum(p.numel() for p in self.parameters())}
        config = self.model.config
        found = {"architecture": type(self.model).__name__, **sizes, "attention": getattr(config, "_attn_implementation", None)}
        return found | {"dtype": str(self.model.dtype).removeprefix("torch."), "commit": getattr(config, "_commit_hash", None)}

    def digest(self) -> str:
        """Twelve hex digits of the SHA-256 of the parameters' names and bytes."""
        total = hashlib.sha256()
        for name, tensor in sorted(self.tensors().items()):
            total.update(name.encode())
            total.update(whole(tensor).cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return total.hexdigest()[:12]


def by_tokens(order: Sequence[int], lengths: Sequence[int], most: int) -> list[list[int]]:
    """Consecutive pieces of `order`, sorted by length, that hold at most `most` tokens when padded to their longest; one row at least."""
    parts: list[list[int]] = []
    for row in order:
        if parts and (len(parts[-1]) + 1) * max(lengths[row], lengths[parts[-1][0]]) <= most:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts
