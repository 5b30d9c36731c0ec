"""Decoding in tensors of fixed shape says what the growing cache says; recorded steps are followed through a stand-in for CUDA's graphs."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from language_models import policy
from torch import Tensor

from bench import static_decoding
from bench.decoding import CachedDecoder
from bench.errors import ConfigError
from bench.lora import adapt, without
from bench.model_settings import ModelSettings
from bench.policy import Policy
from bench.samplers import hf
from bench.samplers.hf import HF, choose, chosen
from bench.static_decoding import StaticDecoder, bucket, obstacle, reach

FAMILIES: list[tuple[str, dict[str, Any]]] = [("qwen3", {}), ("qwen2", {}), ("llama", {"attention_bias": True}), ("gpt2", {})]
TEXTS = ("1+2=", "7", "(3+4)*5-6=", "12;")


class Recorded:
    """Behaves as a CUDA graph: runs again on the tensors it was recorded with, whatever the decoder has come to since."""

    def __init__(self, decoder: StaticDecoder, rows: int, length: int) -> None:
        self.decoder, self.room, self.rows, self.length = decoder, decoder.room, rows, length
        self.logits = decoder._forward(rows, length).clone()

    def replay(self) -> None:
        now, self.decoder.room = self.decoder.room, self.room
        self.logits.copy_(self.decoder._forward(self.rows, self.length))
        self.decoder.room = now


@pytest.fixture
def recording(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Which steps were recorded; steps are, in decoders made with `capture`."""
    seen = []

    def recorded(self: StaticDecoder, rows: int, length: int) -> tuple[Any, Tensor]:
        assert bool(self.pool) == bool(self.graphs)  # memory is shared with graphs that are there, and never with any that are gone
        self.pool = self.pool or object()
        seen.append((rows, length))
        graph = Recorded(self, rows, length)
        return graph, graph.logits

    monkeypatch.setattr(StaticDecoder, "_recorded", recorded)
    monkeypatch.setattr(static_decoding, "REACH", 8)
    return seen


def prompts_of(subject: Policy, texts: tuple[str, ...] = TEXTS) -> list[list[int]]:
    return [subject.encode(text) for text in texts]


def tokens_of(sampled: Any) -> Any:
    return [[completion.tokens for completion in group] for group in sampled]


def same(subject: Policy, static: StaticDecoder, texts: tuple[str, ...], n: int, steps: int) -> None:
    """Both decoders give the same logits, step by step, while rows leave."""
    pair, draw = (CachedDecoder(subject), static), torch.Generator().manual_seed(1)
    one, other = (each.start(prompts_of(subject, texts), n, steps + 1) for each in pair)
    for step in range(steps):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
        if step in (3, 5):
            kept = torch.arange(len(one)).flip(0)[:: 2 if step == 3 else 3]
            for each in pair:
                each.keep(kept)
        tokens = torch.randint(3, 20, (len(one) if step not in (3, 5) else len(kept),), generator=draw)
        one, other = (each.step(tokens) for each in pair)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
@torch.inference_mode()
def test_the_fixed_cache_says_what_the_growing_one_says(family: str, changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(static_decoding, "REACH", 8)
    subject = policy(family, **changes)
    static = StaticDecoder(subject)
    assert not obstacle(subject.model) and not static.capture
    for texts, n in ((TEXTS, 3), (("1+2=", "3+4="), 4), (("5",), 1)):
        same(subject, static, texts, n, 11)


@pytest.mark.parametrize(("family", "changes"), FAMILIES)
def test_samples_are_those_of_the_growing_cache(family: str, changes: dict[str, Any]) -> None:
    subject = policy(family, **changes)
    ways = [HF(decode=decode).open(subject).sample(prompts_of(subject), 20, 24, "a") for decode in ("cached", "static")]
    assert tokens_of(ways[0]) == tokens_of(ways[1])
    pairs = zip(*(torch.tensor([x for group in way for c in group for x in c.logp]) for way in ways), strict=True)
    assert max(abs(a - b) for a, b in pairs) < 1e-5
    assert subject.model.config._attn_implementation == "sdpa"


@torch.inference_mode()
def test_a_step_is_recorded_once_for_each_number_of_rows_and_each_reach(recording: list[tuple[int, int]]) -> None:
    subject = policy()
    static = StaticDecoder(subject, capture=True)
    same(subject, static, TEXTS, 3, 11)  # 12 rows, then 6, then 2; 10 to 21 slots of 64
    assert recording == [(16, 16), (8, 16), (2, 16), (2, 32)]
    same(subject, static, TEXTS, 3, 11)
    assert len(recording) == 4
    same(subject, static, TEXTS, 8, 11)  # more rows than there was room for: the old tensors, and what reads them, are left
    assert recording[4:] == [(32, 16), (16, 16), (8, 16), (8, 32)]
    same(subject, static, TEXTS, 3, 11)
    assert recording[8:] == [(2, 16), (2, 32)]


def test_recorded_steps_follow_the_weights(recording: list[tuple[int, int]]) -> None:
    subject = policy()
    session, since = HF(decode="static").open(subject), [0]
    session.static = StaticDecoder(subject, capture=True)
    for change in range(3):
        with torch.no_grad():
            for parameter in subject.parameters():
                if change == 2:
                    parameter.data = parameter.data.clone()  # they move: what was recorded reads the old place
                parameter.add_(0.05 * torch.randn_like(parameter))
        here = session.sample(prompts_of(subject), 20, 24, "a")
        assert tokens_of(here) == tokens_of(HF(decode="cached").open(subject).sample(prompts_of(subject), 20, 24, "a"))
        since.append(len(recording))
    first, moved, replaced = (set(recording[since[i] : since[i + 1]]) for i in range(3))
    assert (128, 16) in first and not first & moved and (128, 16) in replaced


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
@torch.inference_mode()
def test_in_mixed_precision_weights_are_cast_once_and_the_numbers_are_those_of_autocast(family: str) -> None:
    subject = replace(policy(family), settings=ModelSettings(dtype="mixed"))
    cast, plain, cached = StaticDecoder(subject), StaticDecoder(subject), CachedDecoder(subject)
    plain._watch_weights = lambda: None  # type: ignore[method-assign]
    logits = [each.start(prompts_of(subject), 2, 8) for each in (cast, plain, cached)]
    assert cast.casts and not plain.casts and {part.dtype for part in cast.casts.values()} == {torch.bfloat16}
    assert cast.room is not None and {part.dtype for part in (*cast.room.keys, *cast.room.values, cast.room.mask)} == {torch.bfloat16}
    for token in (4, 9, 12):
        logits = [each.step(torch.full((8,), token)) for each in (cast, plain, cached)]
        assert torch.equal(logits[0], logits[1])
        torch.testing.assert_close(logits[0], logits[2], atol=0.05, rtol=0.05)
    with torch.no_grad():
        subject.model.get_output_embeddings().weight.mul_(2)
    cast.start(prompts_of(subject), 2, 8)
    name = next(name for name, module in subject.model.named_modules() if module is subject.model.get_output_embeddings())
    assert torch.equal(cast.casts[f"{name}.weight"], subject.model.get_output_embeddings().weight.bfloat16())


@pytest.mark.parametrize("dtype", ["float32", "mixed", "bfloat16"])
def test_adapters_take_part(dtype: Any) -> None:
    pytest.importorskip("peft")
    settings = ModelSettings(dtype=dtype, lora_rank=2)
    subject = policy("qwen2")
    subject = Policy.of(adapt(subject.model.bfloat16() if dtype == "bfloat16" else subject.model, settings), subject.tokenizer, settings)
    draw = torch.Generator().manual_seed(5)
    for parameter in subject.parameters():
        parameter.data.copy_(0.3 * torch.randn(parameter.shape, generator=draw))
    with torch.inference_mode():
        pair = (StaticDecoder(subject), CachedDecoder(subject))
        for each in pair:
            each.start(prompts_of(subject), 2, 8)
        one, other = (each.step(torch.full((8,), 5)) for each in pair)
    near = 1e-5 if dtype == "float32" else 0.1
    torch.testing.assert_close(one, other, atol=near, rtol=near)
    with torch.inference_mode(), without(subject.model):
        pair[1].start(prompts_of(subject), 2, 8)
        assert float((pair[1].step(torch.full((8,), 5)) - one).abs().max()) > 3 * near


@torch.inference_mode()
def test_nothing_of_an_earlier_batch_is_seen() -> None:
    """Not even what is no number."""
    subject = policy()
    static = StaticDecoder(subject)
    wanted = [static.start(prompts_of(subject), 2, 8), static.step(torch.full((8,), 5))]
    assert static.room is not None
    for part in (*static.room.keys, *static.room.values):
        part.fill_(torch.nan)
    assert all(map(torch.equal, wanted, [static.start(prompts_of(subject), 2, 8), static.step(torch.full((8,), 5))]))


def test_a_step_that_cannot_be_recorded_is_taken_without_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = policy()

    def refused(*_: Any) -> Any:
        raise RuntimeError("not permitted while capturing")

    monkeypatch.setattr(StaticDecoder, "_recorded", refused)
    session = HF(decode="static").open(subject)
    session.static = StaticDecoder(subject, capture=True)
    with pytest.warns(UserWarning, match="without CUDA graphs.*not permitted"):
        here = session.sample(prompts_of(subject), 4, 12, "a")
    assert tokens_of(here) == tokens_of(HF().open(subject).sample(prompts_of(subject), 4, 12, "a"))


def test_much_memory_is_given_back_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = policy()
    static = StaticDecoder(subject, capture=False)
    wanted = StaticDecoder(subject, capture=False)
    with torch.inference_mode():
        first = wanted.start(prompts_of(subject), 2, 8)
        static.start(prompts_of(subject), 2, 8)
        static.release()
        assert static.room is not None  # there is nothing to give back to on a CPU
        size = static.room.bytes
        monkeypatch.setattr(Policy, "device", torch.device("cuda"))
        for total, kept in ((size * 11, True), (size * 9, False)):
            monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _, total=total: SimpleNamespace(total_memory=total))
            static.release()
            assert (static.room is not None) == kept
        monkeypatch.undo()
        assert torch.equal(static.start(prompts_of(subject), 2, 8), first)


def test_sizes_come_in_few() -> None:
    assert [bucket(rows) for rows in (1, 2, 3, 8, 9, 255, 256, 257)] == [1, 2, 4, 8, 16, 256, 256, 512]
    assert [reach(used) for used in (1, 256, 257, 512, 513, 1025)] == [256, 256, 512, 512, 1024, 2048]


def test_rows_leave_only_for_a_smaller_bucket() -> None:
    static = StaticDecoder(policy())
    static.bucket = 16
    assert [static.worth_keeping(rows) for rows in (12, 9, 8, 1)] == [False, False, True, True]


MODELS_OF_THEIR_OWN = [
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}, "remember in ways of their own"),
    ("gpt2", {"add_cross_attention": True}, "encoder"),
    ("llama", {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}}, "depend on the length"),
]


@pytest.mark.parametrize(("family", "changes", "reason"), MODELS_OF_THEIR_OWN)
def test_other_models_keep_the_growing_cache(family: str, changes: dict[str, Any], reason: str) -> None:
    subject = policy(family, **changes)
    assert reason in obstacle(subject.model)
    with pytest.raises(ConfigError, match=f"decode is 'static'.*{reason}.*decode=cached"):
        chosen(subject, "static")


def test_the_choice_on_a_gpu() -> None:
    class OnGPU(Policy):
        @property
        def device(self) -> torch.device:
            return torch.device("cuda")

    plain, sliding = (policy("qwen2", **changes) for changes in ({}, MODELS_OF_THEIR_OWN[0][1]))
    there = [OnGPU(each.model, each.tokenizer, each.end, each.pad) for each in (plain, sliding)]
    assert chosen(there[0], "auto") is StaticDecoder and chosen(there[0], "cached") is CachedDecoder
    with pytest.warns(UserWarning, match="qwen2 is decoded with a growing cache.*ways of their own"):
        assert chosen(there[1], "auto") is CachedDecoder


def test_an_unknown_way_to_decode_is_refused() -> None:
    with pytest.raises(ConfigError, match="decode is 'fast'; it must be auto, cached or static"):
        HF(decode="fast")  # type: ignore[arg-type]


@pytest.mark.parametrize("decode", ["auto", "static"])
def test_looking_seldom_changes_nothing(decode: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU, where finished rows are looked for every few tokens."""
    subject = policy()
    wanted = HF(decode=decode).open(subject).sample(prompts_of(subject), 20, 24, "a")
    assert len({len(c.tokens) for group in wanted for c in group}) > 10
    monkeypatch.setattr(hf, "looks", lambda device: 5)
    assert tokens_of(HF(decode=decode).open(subject).sample(prompts_of(subject), 20, 24, "a")) == tokens_of(wanted)


def test_choosing_a_few_rows_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = torch.Generator().manual_seed(3)
    logits, uniform = torch.randn(37, 50, generator=draw), torch.rand(37, dtype=torch.float64, generator=draw)
    wanted = choose(logits, uniform)
    for most in (1, 50, 400, 1849):
        monkeypatch.setattr(hf, "CHOSEN_TOGETHER", most)
        assert all(map(torch.equal, wanted, choose(logits, uniform)))
