"""One token at a time in tensors of fixed shape, so that on a GPU a step is one recorded CUDA graph instead of hundreds of launches.

Rows are kept in buckets, powers of two: finished rows leave once the others fit into a smaller bucket. What a step looks back over grows in
doublings of `REACH` slots. A graph belongs to one bucket and one reach; both are few, and a graph is kept for as long as its tensors are.
Axis letters: P prompts, R rows, K key heads, d head size, S slots, V vocabulary.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.decoding import HIDDEN, Decoder, arithmetic, read_prompts
from bench.policy import Policy
from bench.static_cache import Room, Window, grouped_attention

REACH = 256  # slots that the first graph looks at
SLOTS = 64  # the number of slots is a multiple of this, so that prompts of about one length share their tensors
KEPT_SHARE = 0.1  # of a GPU's memory: a larger cache is given back after each batch, for training needs the room
WARM = 2  # steps before a graph is recorded, in which libraries set up what they need


class StaticDecoder(Decoder):
    """Any transformers model that has no `obstacle`. Prompts are padded on the left and read once each.

    `capture` says whether steps are recorded as CUDA graphs; by default where the weights are on a GPU. To be used in inference mode.
    """

    def __init__(self, policy: Policy, capture: bool | None = None) -> None:
        self.policy = policy
        self.capture = policy.device.type == "cuda" if capture is None else capture
        self.room: Room | None = None
        self.graphs: dict[tuple[int, int], tuple[Any, Tensor]] = {}  # by rows and reach: the graph and where its logits are
        self.pool: Any = None  # of memory, which the graphs share, as they never run side by side
        self.weights: tuple[int, ...] = ()  # where they lie; a graph reads these places
        self.casts: dict[str, Tensor] = {}
        self.held = self.bucket = self.used = 0  # rows that are wanted, rows that are computed, slots that are written

    def start(self, prompts: Sequence[Sequence[int]], n: int, limit: int) -> Tensor:
        read = read_prompts(self.policy, prompts)
        self._watch_weights()
        self.held, self.used = len(prompts) * n, read.seen.shape[1]
        self.bucket = bucket(self.held)
        room = self._room(read.cache, self.bucket, self.used + limit)
        room.clear()
        for own, layer in zip(zip(room.keys, room.values, strict=True), read.cache.layers, strict=True):
            for to, part in zip(own, (layer.keys, layer.values), strict=True):
                to[: self.held, :, : self.used].unflatten(0, (-1, n)).copy_(part.unsqueeze(1))
        hidden = read.seen.eq(0).repeat_interleave(n, 0)
        room.mask[: self.held, 0, 0, : self.used] = hidden.to(room.mask.dtype) * HIDDEN
        room.position[: self.held, 0] = read.lengths.repeat_interleave(n) - 1
        room.place.fill_(self.used - 1)
        return read.logits.repeat_interleave(n, 0)

    def step(self, tokens: Tensor) -> Tensor:
        room = self.room
        assert room is not None
        room.token[: self.held, 0] = tokens
        room.position.add_(1)
        room.place.add_(1)
        room.mask[..., self.used] = 0.0
        self.used += 1
        return self._logits(self.bucket, min(reach(self.used), room.slots))[: self.held]

    def keep(self, rows: Tensor) -> None:
        room = self.room
        assert room is not None
        self.held = len(rows)
        self.bucket = bucket(self.held)
        for part in (*room.keys, *room.values):
            part[: self.held, :, : self.used] = part[rows, :, : self.used]
        for small in (room.position, room.mask):
            small[: self.held] = small[rows]

    def worth_keeping(self, rows: int) -> bool:
        return bucket(rows) < self.bucket

    def release(self) -> None:
        device = self.policy.device
        if self.room is None or device.type != "cuda":
            return
        held = self.room.bytes + sum(part.nbytes for part in self.casts.values())
        if held > KEPT_SHARE * torch.cuda.get_device_properties(device).total_memory:
            self._forget()
            self.casts.clear()
            self.room = None

    def _forget(self) -> None:
        """Drop what was recorded. Memory that graphs shared cannot be shared again once the last of them is gone."""
        self.graphs.clear()
        self.pool = None

    def _room(self, cache: Any, rows: int, slots: int) -> Room:
        """The tensors in use where they are large enough, or else larger ones."""
        slots = -(-slots // SLOTS) * SLOTS
        if self.room is None or self.room.rows < rows or self.room.slots < slots:
            if self.room is not None:
                rows, slots = max(rows, self.room.rows), max(slots, self.room.slots)
            self._forget()
            self.room = None  # first, so that its memory can be taken again
            self.room = Room.like(cache, rows, slots, arithmetic(self.policy))
        return self.room

    def _watch_weights(self) -> None:
        """Takes the newest weights: casts are made anew, and graphs that read weights at places they have left are dropped."""
        model = self.policy.model
        dtype = arithmetic(self.policy)
        for name, weight in _products(model) if dtype is not None else ():
            if name not in self.casts:
                self.casts[name] = torch.empty_like(weight, dtype=dtype)
            self.casts[name].copy_(weight)
        places = tuple(tensor.data_ptr() for tensors in (model.parameters(), model.buffers(), self.casts.values()) for tensor in tensors)
        if places != self.weights:
            self._forget()
        self.weights = places

    def _logits(self, rows: int, length: int) -> Tensor:
        """(rows, V) after one step of all rows of the bucket, of which some may be nobody's."""
        if self.capture and (rows, length) not in self.graphs:
            try:
                self.graphs[rows, length] = self._recorded(rows, length)
            except RuntimeError as error:
                self.capture = False
                if self.policy.device.type == "cuda":
                    torch.cuda.synchronize()
                warnings.warn(f"decoding without CUDA graphs, this model's step could not be recorded: {error}", stacklevel=2)
        if not self.capture:
            return self._forward(rows, length)
        graph, logits = self.graphs[rows, length]
        graph.replay()
        return logits

    def _recorded(self, rows: int, length: int) -> tuple[Any, Tensor]:
        """A graph of a step, and where it leaves its logits. The steps that warm up write what the graph will write again."""
        side, own = torch.cuda.Stream(), torch.cuda.current_stream()
        side.wait_stream(own)
        with torch.cuda.stream(side):
            for _ in range(WARM):
                self._forward(rows, length)
        own.wait_stream(side)
        self.pool = self.pool or torch.cuda.graph_pool_handle()
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, pool=self.pool):
                logits = self._forward(rows, length)
        finally:
            torch.cuda.set_stream(own)  # a recording that fails leaves its own stream in place
        return graph, logits

    def _forward(self, rows: int, length: int) -> Tensor:
        room, model = self.room, self.policy.model
        assert room is not None
        inputs = {
            "input_ids": room.token[:rows],
            "attention_mask": room.mask[:rows, :, :, :length],  # of four axes: transformers takes it as it is and makes none
            "position_ids": room.position[:rows],
            "past_key_values": Window(room, rows, length),
            "use_cache": True,
        }
        device, dtype = self.policy.device.type, arithmetic(self.policy)
        # Without a cache of casts: one made while warming up would be read, and never written again, by the graph.
        with grouped_attention(model), torch.autocast(device, dtype, enabled=dtype is not None, cache_enabled=False):
            out = torch.func.functional_call(model, self.casts, kwargs=inputs, tie_weights=False) if self.casts else model(**inputs)
        logits: Tensor = out.logits[:, -1]
        return logits


def bucket(rows: int) -> int:
    """The smallest power of two that holds so many rows."""
    return 1 << max(0, rows - 1).bit_length()


def reach(used: int) -> int:
    """The slots that a step looks at where so many are written."""
    return REACH * bucket(-(-used // REACH))


def obstacle(model: Any) -> str:
    """Why StaticDecoder cannot serve a model; empty where it can."""
    from transformers import StaticCache
    from transformers.cache_utils import StaticLayer

    config = model.config
    if config.is_encoder_decoder or getattr(config, "add_cross_attention", False):
        return "it has an encoder"
    try:
        kinds = {type(layer) for layer in StaticCache(config=config, max_cache_len=1).layers}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        return f"transformers has no cache of fixed shape for it ({type(error).__name__}: {error})"
    if kinds != {StaticLayer}:
        return f"its layers remember in ways of their own ({', '.join(sorted(kind.__name__ for kind in kinds))})"
    if not getattr(model, "_supports_attention_backend", False) or getattr(config, "attn_logit_softcapping", None):
        return "its attention is one of its own"
    if not getattr(model, "_can_compile_fullgraph", False):
        return "what it computes depends on the numbers it sees"
    if any(kind in str(getattr(module, "rope_type", "")) for module in model.modules() for kind in ("dynamic", "longrope")):
        return "its rotary frequencies depend on the length"
    if any(hasattr(parameter, "placements") for parameter in model.parameters()):
        return "its weights are sharded"
    return ""


def _products(model: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights that are cast wherever products are computed in a smaller type, by the name of their place in the model."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":
            for part, weight in module.named_parameters(recurse=False):
                yield f"{name}.{part}", weight.detach()
