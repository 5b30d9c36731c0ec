"""Sampling from the policy itself, with the weights that train."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from bench.decoding import CachedDecoder, Decoder, DenseDecoder
from bench.errors import ConfigError
from bench.policy import Policy
from bench.samplers.base import Completion, Sampler, Session
from bench.static_decoding import StaticDecoder, obstacle

Kind = Callable[[Policy], Decoder]
Pick = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # (R, V) logits and (R,) uniform numbers to tokens and log-probabilities
COMPACT_BELOW = 0.75  # finished rows leave once the others are fewer than this share; moving the cache costs about one step
LOOK_EVERY = 16  # tokens between two looks at what has ended, on a GPU: each waits until all that was asked of it is done
CHOSEN_TOGETHER = 1 << 24  # logits that one call of `choose` turns into double precision, of 8 bytes each, a few times over


@dataclass(frozen=True, kw_only=True)
class HF(Sampler):
    """Samples in batches, with a key-value cache, from the weights that train: its log-probabilities are the trainer's own."""

    rows: int = 256  # completions that grow side by side
    # static: tensors of fixed shape, and CUDA graphs on a GPU; cached: the model's own cache, for any model; auto: what is fastest here
    decode: Literal["auto", "cached", "static"] = field(default="auto", metadata={"later": True})

    exact: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ConfigError(f"rows is {self.rows}; it must be 1 or more")
        if self.decode not in ("auto", "cached", "static"):
            raise ConfigError(f"decode is {self.decode!r}; it must be auto, cached or static")

    def open(self, policy: Policy) -> HFSession:
        return HFSession(policy, self.rows, self.decode)


class HFSession(Session):
    """A policy, read in place. A completion depends on the weights, the prompts, n, the limit and the seed, and on nothing else."""

    def __init__(self, policy: Policy, rows: int = 256, decode: str = "auto") -> None:
        self.policy, self.rows, self.decode = policy, rows, decode
        self.kind: Kind | None = None  # of decoder, chosen when first needed
        self.static: StaticDecoder | None = None  # kept, for what it sets up serves every batch

    def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
        return self.share(prompts, n, limit, seed, 0, len(prompts))

    def share(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str, first: int, count: int) -> list[list[Completion]]:
        """A model that is spread over processes is put together for this: they need different numbers of passes."""
        with self.policy.whole() as policy:
            if policy is self.policy:
                return self._part(prompts, n, limit, seed, first, count)
            session = HFSession(policy, self.rows, self.decode)  # for once: with the next batch the weights lie elsewhere
            session.kind = self.kind
            found = session._part(prompts, n, limit, seed, first, count)
            self.kind = session.kind
            return found

    @torch.inference_mode()
    def _part(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str, first: int, count: int) -> list[list[Completion]]:
        """The numbers that decide are drawn for all prompts, so that a part's completions are those that the whole would have."""
        chance = torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big", signed=True))
        check_room(self.policy, prompts, limit)
        uniform = torch.rand(limit, len(prompts) * n, dtype=torch.float64, generator=chance).to(self.policy.device)
        take = max(1, self.rows // n)
        out: list[list[Completion]] = []
        for start in range(first, first + count, take):
            part = prompts[start : min(start + take, first + count)]
            done = self._decode(part, n, uniform[:, start * n : (start + len(part)) * n])
            out += [done[i : i + n] for i in range(0, len(done), n)]
        if self.static is not None:
            self.static.release()
        return out

    @torch.inference_mode()
    def greedy(self, prompts: Sequence[Sequence[int]], limit: int) -> list[Completion]:
        parts = [prompts[first : first + self.rows] for first in range(0, len(prompts), self.rows)]
        unused = torch.zeros(limit, self.rows, device=self.policy.device)
        out = [made for part in parts for made in self._decode(part, 1, unused[:, : len(part)], likeliest)]
        if self.static is not None:
            self.static.release()
        return out

    def _decoder(self) -> Decoder:
        self.kind = self.kind or chosen(self.policy, self.decode)
        if self.kind is not StaticDecoder:
            return self.kind(self.policy)
        self.static = self.static or StaticDecoder(self.policy)
        return self.static

    def _decode(self, prompts: Sequence[Sequence[int]], n: int, uniform: Tensor, pick: Pick | None = None) -> list[Completion]:
        """The n completions of each prompt in turn, from (limit, P * n) uniform numbers: one decides each token."""
        limit, total = uniform.shape
        rows, every = self._decoder(), looks(uniform.device)
        tokens = torch.full((limit, total), -1, device=uniform.device)
        logp = torch.zeros((limit, total), device=uniform.device)
        alive = torch.arange(total, device=uniform.device)  # original numbers of the rows that the decoder still holds
        ends = torch.tensor(sorted(self.policy.ends), dtype=torch.long, device=uniform.device)
        open_ = torch.ones(total, dtype=torch.bool, device=uniform.device)  # (R,) of those, the ones that have not ended
        logits = rows.start(prompts, n, limit)
        for t in range(limit):
            token, token_logp = (pick or choose)(logits, uniform[t, alive])
            tokens[t, alive], logp[t, alive] = torch.where(open_, token, -1), token_logp
            open_ &= ~torch.isin(token, ends)
            if t + 1 == limit:
                break
            if (t + 1) % every == 0:
                count = int(open_.sum())
                if not count:
                    break
                if count < COMPACT_BELOW * len(alive) and rows.worth_keeping(count):
                    token, alive, open_ = self._compact(rows, token, alive, open_)
            logits = rows.step(token)
        return self._completions(tokens, logp, limit)

    @staticmethod
    def _compact(rows: Decoder, token: Tensor, alive: Tensor, open_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kept = open_.nonzero().squeeze(-1)
        rows.keep(kept)
        return token[kept], alive[kept], open_[kept]

    def _completions(self, tokens: Tensor, logp: Tensor, limit: int) -> list[Completion]:
        out = []
        for row, values in zip(tokens.T.tolist(), logp.T.tolist(), strict=True):
            length = row.index(-1) if -1 in row else limit
            own = tuple(row[:length])
            out.append(Completion(own, tuple(values[:length]), self.policy.decode(own), own[-1] not in self.policy.ends))
        return out

    def refresh(self) -> None:
        """Nothing to do: the weights that train are the weights that sample, and copies of them are made anew with each batch."""

    def close(self) -> None:
        self.static = None


def looks(device: torch.device) -> int:
    """Tokens between two looks at what has ended."""
    return LOOK_EVERY if device.type == "cuda" else 1


def chosen(policy: Policy, decode: str) -> Kind:
    """The fastest decoder for this policy, or the one that is asked for. Raises ConfigError where the model is none for it.

    On a GPU, says once why a model has to do without graphs.
    """
    if decode == "cached":
        return CachedDecoder
    on_gpu = policy.device.type == "cuda"
    if decode == "auto" and not on_gpu:
        return DenseDecoder if policy.dense else CachedDecoder
    reason = obstacle(policy.model)
    if not reason:
        return StaticDecoder
    if decode == "static":
        raise ConfigError(f"decode is 'static', but {policy.model.config.model_type} cannot be decoded so: {reason}; take decode=cached")
    warnings.warn(f"{policy.model.config.model_type} is decoded with a growing cache and without CUDA graphs: {reason}", stacklevel=2)
    return CachedDecoder


def check_room(policy: Policy, prompts: Sequence[Sequence[int]], limit: int) -> None:
    """Raises ConfigError for a prompt that leaves no room for `limit` tokens among the places that the model knows."""
    places = getattr(policy.model.config.get_text_config(), "max_position_embeddings", None)
    longest = max(map(len, prompts), default=0)
    if places is not None and longest + limit > places:
        raise ConfigError(
            f"a prompt of {longest} tokens and {limit} more are {longest + limit}, but the model knows {places} places; lower train.limit "
            "(--limit of bench eval), or choose another model"
        )


def choose(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) tokens at temperature 1 and their log-probabilities, from (R, V) logits by inverting the distribution function.

    Double precision, so that no token is out of reach; a token of probability 0 is never chosen. As many rows at a time as keep the
    tables in double precision small.
    """
    most = max(1, CHOSEN_TOGETHER // logits.shape[-1])
    parts = [_choose(logits[i : i + most], uniform[i : i + most]) for i in range(0, len(logits), most)]
    if len(parts) == 1:
        return parts[0]
    return torch.cat([token for token, _ in parts]), torch.cat([logp for _, logp in parts])


def _choose(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    table = torch.log_softmax(logits.float(), dim=-1)
    total = table.double().exp_().cumsum(-1)
    token = torch.searchsorted(total, (uniform * total[:, -1]).unsqueeze(-1), right=True).clamp_max_(logits.shape[-1] - 1)
    return token.squeeze(-1), table.gather(-1, token).squeeze(-1)


def likeliest(logits: Tensor, uniform: Tensor) -> tuple[Tensor, Tensor]:
    """(R,) tokens of the highest probability, the first among equals, and their log-probabilities at temperature 1, from (R, V) logits."""
    found, token = torch.log_softmax(logits.float(), dim=-1).max(-1)
    return token, found
