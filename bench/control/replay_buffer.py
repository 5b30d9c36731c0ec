"""The newest transitions of every environment, to be drawn from at random."""

from __future__ import annotations

import torch
from torch import Tensor

from algorithms.value import Space, Transitions
from bench.control.worlds import Step


class ReplayBuffer:
    """`size` transitions of each of S * N columns, N of them a seed's. Once a column is full, a new transition replaces its oldest."""

    def __init__(self, space: Space, seeds: int, columns: int, size: int) -> None:
        self.seeds, self.columns, self.size = seeds, columns, size
        rows = seeds * columns
        self.held = {
            "obs": torch.zeros(rows, size, space.observation),
            "action": torch.zeros(rows, size, dtype=torch.long) if space.discrete else torch.zeros(rows, size, space.actions),
            "reward": torch.zeros(rows, size),
            "next_obs": torch.zeros(rows, size, space.observation),
            "terminal": torch.zeros(rows, size),
            "over": torch.zeros(rows, size),  # the episode, for either reason
        }
        self.added = torch.zeros(rows, dtype=torch.long)  # transitions ever put into each column

    def add(self, obs: Tensor, action: Tensor, step: Step) -> None:
        """Take what (S * N) columns did; rows in which nothing was done are left out."""
        valid = torch.from_numpy(step.valid).nonzero().squeeze(1)
        place = self.added[valid] % self.size
        ended, cut = torch.from_numpy(step.terminated), torch.from_numpy(step.truncated)
        reward, next_obs = torch.from_numpy(step.reward), torch.from_numpy(step.next_obs)
        new = {
            "obs": obs,
            "action": action,
            "reward": reward,
            "next_obs": next_obs,
            "terminal": ended.float(),
            "over": (ended | cut).float(),
        }
        for name, value in new.items():
            self.held[name][valid, place] = value[valid]
        self.added[valid] += 1

    def filled(self, seed: int) -> float:
        """How many transitions are held for a seed."""
        return float(self.added.view(self.seeds, self.columns)[seed].clamp_max(self.size).sum())

    def draw(self, uniform: Tensor, gamma: float, n_step: int) -> Transitions:
        """(S, b) transitions by (S, b, 2) uniform numbers, each column as likely as another and each of its transitions too.

        With `n_step`, rewards are summed over so many steps, fewer where the episode or the buffer ends before.
        """
        column = (uniform[..., 0] * self.columns).long() + torch.arange(self.seeds).unsqueeze(1) * self.columns
        there = self.added.clamp_max(self.size)[column]
        first = (self.added[column] - there + (uniform[..., 1] * there).long().clamp_max(there - 1)) % self.size
        at = {name: value[column, first] for name, value in self.held.items()}
        reward, discount, last = at["reward"], torch.full_like(at["reward"], gamma), first
        newest = (self.added[column] - 1) % self.size
        for _ in range(1, min(n_step, self.size)):
            goes_on = (self.held["over"][column, last] == 0) & (last != newest)
            last = torch.where(goes_on, (last + 1) % self.size, last)
            reward = reward + torch.where(goes_on, discount * self.held["reward"][column, last], torch.zeros_like(reward))
            discount = torch.where(goes_on, discount * gamma, discount)
        final = at if n_step == 1 else {name: self.held[name][column, last] for name in ("next_obs", "terminal")}
        return Transitions(at["obs"], at["action"], reward, final["next_obs"], final["terminal"], discount)

    def state(self, row: int) -> dict[str, Tensor]:
        """One seed's transitions."""
        part = slice(row * self.columns, (row + 1) * self.columns)
        filled = int(self.added[part].max().clamp_max(self.size))
        return {name: value[part, :filled].clone() for name, value in self.held.items()} | {"added": self.added[part].clone()}

    def restore(self, row: int, state: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        part = slice(row * self.columns, (row + 1) * self.columns)
        self.added[part] = state["added"]
        for name, value in self.held.items():
            value[part, : state[name].shape[1]] = state[name]
