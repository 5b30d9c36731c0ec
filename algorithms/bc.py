"""Behaviour cloning: supervised learning of the logged actions, the control that offline rules have to beat."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from algorithms.value import Network, Networks, Parameter, Space, Transitions, ValueRule, chosen, drawn


@dataclass(frozen=True, kw_only=True)
class BC(ValueRule):
    """Control: copies the logged actions, good and bad, without a look at the rewards (Pomerleau 1991, Neural Computation 3)."""

    control: ClassVar[bool] = True
    offline: ClassVar[Literal["both", "only"]] = "only"

    def idle(self) -> dict[str, str]:
        unused = "bc looks at no reward and at no later state; leave it out"
        return super().idle() | dict.fromkeys(("gamma", "n_step", "tau", "target_every"), unused)

    def networks(self, space: Space) -> dict[str, Network | Parameter]:
        return {"policy": Network(space.observation, space.actions)}

    def updates(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        yield "policy", self.error(nets, batch)

    def error(self, nets: Networks, batch: Transitions) -> Tensor:
        """(..., B) cross-entropy of a discrete action, squared error of a continuous one summed over its dimensions."""
        output = nets["policy"](batch.obs)
        if batch.discrete:
            return -chosen(output.log_softmax(-1), batch.action)
        return (output.tanh() - batch.action).square().sum(-1)

    def act(self, nets: Networks, obs: Tensor, space: Space) -> Tensor:
        output = nets["policy"](obs)
        return output.argmax(-1) if space.discrete else output.tanh()

    def explore(self, nets: Networks, obs: Tensor, space: Space, uniform: Tensor, normal: Tensor, spent: float) -> Tensor:
        return drawn(nets["policy"](obs).softmax(-1), uniform[..., 0]) if space.discrete else self.act(nets, obs, space)

    @torch.no_grad()
    def probes(self, nets: Networks, batch: Transitions, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = {"bc/loss": self.error(nets, batch).mean(-1)}
        if batch.discrete:
            output = nets["policy"](batch.obs)
            found["bc/agreement"] = (output.argmax(-1) == batch.action).to(output).mean(-1)
        return found
