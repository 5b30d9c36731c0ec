"""A model in pieces over the processes of a run: torch's FSDP2, each layer on its own and what is left with the root.

Outside of a pass every parameter is a DTensor that holds this process's rows. accelerate's FSDP2 is not used: it takes one model and its
optimizer together, where a run has references and critics as well, and on CPUs it falls back to copies of the whole model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_

from bench.errors import MissingError
from bench.ranks import Ranks
from bench.reading import Lean, Read, Reader


class Root(nn.Module):
    """What a sharded model is run through, so that its parameters are whole while they are needed."""

    def __init__(self, model: Any, ranks: Ranks, *, device: torch.device, mixed: bool, dense: bool) -> None:
        """`model` may be in main memory: its layers move one by one. A `dense` one is what `bench.dense` computes, all at once."""
        super().__init__()
        self.ranks, self.device, self.dense, self.reader = ranks, device, dense, Reader(model, mixed=mixed)
        self.skeleton = [copied(model, lambda name, p: torch.empty_like(p, device="meta"))]  # in a list: no part of this module
        for layer in [] if dense else layers(model):
            shard(layer, ranks, device)
        shard(self, ranks, device)
        with torch.no_grad():
            self.idle(1)  # what FSDP notes of its parameters once, it notes while adapters are on

    def forward(self, tokens: Tensor, places: Tensor, chosen: Tensor | None, *, adapted: bool, **asked: bool) -> Read:
        """As `Reader`, without adapters where not `adapted`."""
        self.reader.adapted = adapted
        read = Lean(self.reader.model, tokens.shape[1]) if self.dense else self.reader
        found = read(tokens, places, chosen, **asked)
        return Read(*(None if x is None else x.clone() for x in (found.logp, found.entropy, found.states)))  # FSDP wants no views

    def idle(self, passes: int) -> None:
        """Take part in passes of the others without rows of one's own. Not for gradients."""
        zero = torch.zeros(1, dtype=torch.long, device=self.device)
        for _ in range(passes):
            self(zero.view(1, 1), zero, zero, adapted=True)

    def whole(self, model: Any, device: str | torch.device) -> Any:
        """A plain copy of the model on a device; every process takes part."""
        named = dict(model.named_parameters())
        (skeleton,) = self.skeleton
        with torch.no_grad():
            return copied(skeleton, lambda name, p: whole(named[name].detach()).to(device)).to(device)

    def forget(self) -> None:
        """FSDP notes every pass for the backward pass to come; where none comes, the notes are to go."""
        own: Any = self  # a FSDPModule since `shard`
        own.reset_iter_state()


def layers(model: Any) -> list[nn.Module]:
    """The layers that transformers itself would not split over devices; none where it names none."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]


def shard(module: nn.Module, ranks: Ranks, device: torch.device) -> None:
    """Put a module's parameters in pieces, but for those of modules that are already. Gradients are summed over the processes.

    Raises MissingError with a torch whose FSDP2 cannot sum.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    if not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"):
        raise MissingError(f"several processes need a newer torch than {torch.__version__}, whose FSDP2 cannot sum gradients; install 2.13")
    fully_shard(module, mesh=ranks.mesh(device.type), reshard_after_forward=True)  # the root, too: its weights are read between passes
    assert isinstance(module, FSDPModule)
    module.set_gradient_divide_factor(1.0)  # a rule's weights sum to 1 over all processes
    module.set_force_sum_reduction_for_comms(True)  # the other way is not known to gloo


def copied(model: Any, fill: Callable[[str, Parameter], Tensor]) -> Any:
    """A copy of a plain model with the parameters that `fill` gives; tied ones stay tied."""
    memo = {id(p): Parameter(fill(name, p), requires_grad=p.requires_grad) for name, p in model.named_parameters()}
    return copy.deepcopy(model, memo)


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor in one piece, on every process; others as they are."""
    full = getattr(tensor, "full_tensor", None)
    found: Tensor = tensor if full is None else full()
    return found


def placed(tensor: Tensor, like: Tensor) -> Tensor:
    """A tensor that every process has whole, in pieces as `like` is; as it is where `like` is whole or another tensor's shape."""
    if not hasattr(like, "full_tensor") or hasattr(tensor, "full_tensor") or tensor.shape != like.shape:
        return tensor
    from torch.distributed.tensor import distribute_tensor

    held: Any = like
    found: Tensor = distribute_tensor(tensor.to(held.device), held.device_mesh, held.placements, src_data_rank=None)
    return found


def collected(tensors: Mapping[str, Mapping[str, Tensor]], ranks: Ranks) -> dict[str, dict[str, Tensor]]:
    """Groups of tensors in one piece and in main memory, in the first process; nothing in the others, which take part."""
    if ranks.size == 1:
        return {name: dict(group) for name, group in tensors.items()}
    found: dict[str, dict[str, Tensor]] = {}
    for name, group in tensors.items():
        for key, tensor in group.items():
            one = whole(tensor)
            if ranks.first:
                found.setdefault(name, {})[key] = one.cpu()
    return found


def clip(parameters: Sequence[Parameter], most: float) -> float:
    """Shrink the gradients to a global norm of `most`, if theirs is larger; returns what it was."""
    return float(whole(clip_grad_norm_(parameters, most)))
