"""Samplers: exact log-probabilities, one meaning of a seed, and the shipped fake."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import policy
from torch import Tensor

from bench.decoding import CachedDecoder, DenseDecoder
from bench.errors import ConfigError
from bench.policy import Policy
from bench.samplers.base import Completion
from bench.samplers.hf import HF, HFSession, choose, chosen
from bench.samplers.scripted import Scripted

MODELS: list[tuple[str, dict[str, Any]]] = [("qwen3", {}), ("qwen2", {}), ("llama", {"attention_bias": True}), ("gpt2", {})]
TEXTS = ("1+2=", "7", "(3+4)*5-6=", "12;")


def gap(subject: Policy, prompts: Sequence[Sequence[int]], sampled: list[list[Completion]]) -> float:
    """Largest difference between the sampler's and the trainer's log-probability of a token."""
    done = [completion for group in sampled for completion in group]
    rows = [prompt for prompt, group in zip(prompts, sampled, strict=True) for _ in group]
    with torch.no_grad():
        logp = subject.forward(rows, [completion.tokens for completion in done]).logp
    own = torch.zeros_like(logp)
    for row, completion in zip(own, done, strict=True):
        row[: len(completion.logp)] = torch.tensor(completion.logp)
    return float((own - logp).abs().max())


@pytest.mark.parametrize(("family", "changes"), MODELS)
def test_log_probabilities_are_the_trainers_also_after_an_update(family: str, changes: dict[str, Any]) -> None:
    subject = policy(family, **changes)
    prompts, session = [subject.encode(text) for text in TEXTS], HF().open(subject)
    first = session.sample(prompts, 75, 24, "a")
    assert sum(map(len, first)) == 300 and len({len(c.tokens) for group in first for c in group}) > 10
    assert gap(subject, prompts, first) < 1e-5
    with torch.no_grad():
        for parameter in subject.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    session.refresh()
    second = session.sample(prompts, 75, 24, "a")
    assert gap(subject, prompts, second) < 1e-5 < gap(subject, prompts, first)


def test_the_fast_decoder_serves_the_models_it_computes() -> None:
    assert chosen(policy(), "auto") is DenseDecoder
    assert chosen(policy("gpt2"), "auto") is chosen(policy(), "cached") is CachedDecoder


@pytest.mark.parametrize(("family", "changes"), MODELS[:3])
@pytest.mark.parametrize("texts", [TEXTS, ("1+2=", "3+4="), ("5",)])
@torch.inference_mode()
def test_both_decoders_say_the_same(family: str, changes: dict[str, Any], texts: tuple[str, ...]) -> None:
    subject = policy(family, **changes)
    prompts = [subject.encode(text) for text in texts]
    pair, draw = (CachedDecoder(subject), DenseDecoder(subject)), torch.Generator().manual_seed(1)
    one, other = (each.start(prompts, 3, 12) for each in pair)
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)
    for step in range(11):
        if step in (4, 8):
            kept = torch.arange(len(one)).flip(0)[::2]
            for each in pair:
                each.keep(kept)
            one = one[kept]
        tokens = torch.randint(3, 20, (len(one),), generator=draw)
        one, other = (each.step(tokens) for each in pair)
        torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def test_both_decoders_sample_the_same() -> None:
    subject = policy()
    prompts = [subject.encode(text) for text in TEXTS]
    fast = HF().open(subject).sample(prompts, 20, 16, "a")
    assert tokens_of(fast) == tokens_of(HF(decode="cached").open(subject).sample(prompts, 20, 16, "a"))


def tokens_of(sampled: list[list[Completion]]) -> list[list[tuple[int, ...]]]:
    return [[completion.tokens for completion in group] for group in sampled]


def test_a_seed_fixes_the_completions_whatever_is_decoded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = policy()
    prompts = [subject.encode(text) for text in TEXTS]
    whole = HF().open(subject).sample(prompts, 8, 16, "a")
    assert whole == HF().open(subject).sample(prompts, 8, 16, "a")
    assert tokens_of(whole) != tokens_of(HF().open(subject).sample(prompts, 8, 16, "b"))
    assert tokens_of(whole) == tokens_of(HF(rows=1).open(subject).sample(prompts, 8, 16, "a"))
    for share in (0.0, 1.0):  # never drop a finished row, or at once
        monkeypatch.setattr("bench.samplers.hf.COMPACT_BELOW", share)
        assert tokens_of(whole) == tokens_of(HF().open(subject).sample(prompts, 8, 16, "a"))


def test_sampling_leaves_the_global_generator_alone() -> None:
    subject = policy()
    before = torch.get_rng_state()
    HF().open(subject).sample([subject.encode("1")], 2, 4, "a")
    assert torch.equal(before, torch.get_rng_state())


def test_completions_end_with_the_end_token_or_at_the_limit() -> None:
    subject = policy()
    sampled = HF().open(subject).sample([subject.encode("1+2=")], 200, 12, "a")[0]
    assert {c.truncated for c in sampled} == {True, False}
    for completion in sampled:
        assert len(completion.tokens) == len(completion.logp) <= 12
        assert completion.truncated == (completion.tokens[-1] != subject.end)
        assert subject.end not in completion.tokens[:-1]
        assert completion.truncated is False or len(completion.tokens) == 12
        assert completion.text == subject.decode(completion.tokens)


def test_without_an_end_every_completion_has_the_full_length() -> None:
    subject = policy()
    subject.end = -1
    sampled = HF().open(subject).sample([subject.encode("1+2=")], 30, 12, "a")[0]
    assert all(len(c.tokens) == 12 and c.truncated for c in sampled)


def test_no_prompts_no_completions() -> None:
    assert HF().open(policy()).sample([], 4, 8, "a") == []


def test_rows_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="rows is 0"):
        HF(rows=0)


def test_first_tokens_follow_the_models_distribution() -> None:
    """Squared deviations over 6000 draws, weighted by 1 / (n p), are chi-square of 21 degrees for 22 tokens: above 47 once in 1000."""
    subject, n = policy(), 6000
    prompt = subject.encode("1+2=")
    drawn = [c.tokens[0] for c in HFSession(subject).sample([prompt], n, 1, "a")[0]]
    with torch.no_grad():
        share = subject.model(input_ids=torch.tensor([prompt])).logits[0, -1].softmax(-1).double()
    count = torch.bincount(torch.tensor(drawn), minlength=len(share))
    assert float(((count - n * share).square() / (n * share)).sum()) < 47


def test_choosing_inverts_the_distribution_function() -> None:
    """Evenly spaced numbers choose each token as often as its probability says, to within one; an impossible token never."""
    share = torch.tensor([0.0, 0.125, 0.5, 0.0, 0.375, 0.0])
    even = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    token, logp = choose(share.log().expand(1000, -1), even)
    count = torch.bincount(token, minlength=6)
    assert ((count - 1000 * share).abs() <= 1).all() and (count[share == 0] == 0).all()
    torch.testing.assert_close(logp, share[token].log())
    edges, _ = choose(share.log().expand(2, -1), torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64))
    assert edges.tolist() == [1, 4]


def texts_of(sampled: list[list[Completion]]) -> list[list[str]]:
    return [[completion.text for completion in group] for group in sampled]


def test_the_script_is_followed_in_turn_with_exact_log_probabilities() -> None:
    subject = policy()
    prompts, session = [subject.encode(text) for text in TEXTS[:2]], Scripted(texts=("12", "3", "")).open(subject)
    first = session.sample(prompts, 4, 8, "f")
    assert texts_of(first) == [["12", "3", "", "12"], ["3", "", "12", "3"]]
    assert gap(subject, prompts, first) < 1e-5
    assert all(c.tokens[-1] == subject.end and not c.truncated for group in first for c in group)


def test_a_script_begins_where_the_seed_says_whatever_was_said_before() -> None:
    subject = policy()
    prompts, fake = [subject.encode(text) for text in TEXTS], Scripted(texts=("12", "3", ""))
    session, asked = fake.open(subject), ((1, "a"), (3, "b"), (2, "a"))
    said = [session.sample(prompts[:n], n, 8, seed) for n, seed in asked]
    assert said == [fake.open(subject).sample(prompts[:n], n, 8, seed) for n, seed in asked]
    assert {texts_of(session.sample(prompts[:1], 1, 8, str(seed)))[0][0] for seed in range(20)} == {"12", "3", ""}


def test_a_script_is_cut_at_the_limit() -> None:
    subject = policy()
    cut = Scripted(texts=("1234",)).open(subject).sample([subject.encode("1")], 1, 3, "a")[0][0]
    assert (cut.text, cut.truncated, len(cut.tokens)) == ("123", True, 3)


def test_a_file_may_answer_each_prompt_by_itself(tmp_path: Path) -> None:
    subject, file = policy(), tmp_path / "answers.jsonl"
    lines = [{"prompt": "1+2=", "completions": ["3", "4"]}, {"completions": ["0"]}]
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    session = Scripted(answers=str(file)).open(subject)
    assert texts_of(session.sample([subject.encode("1+2="), subject.encode("7")], 2, 8, "d")) == [["3", "4"], ["0", "0"]]
    file.write_text(json.dumps(lines[0]), encoding="utf-8")
    with pytest.raises(ConfigError, match="no completions for the prompt '7'"):
        Scripted(answers=str(file)).open(subject).sample([subject.encode("7")], 1, 8, "a")


@pytest.mark.parametrize("text", [None, "", "not JSON", '{"prompt": "1"}', '{"completions": []}', "[1]", '{"completions": 3}'])
def test_a_script_that_says_nothing_is_refused(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "answers.jsonl"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"answers\.jsonl.*write one JSON object per line"):
        Scripted(answers=str(file)).open(policy())


def test_no_texts_and_no_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs at least one text"):
        Scripted(texts=())


def test_finished_rows_do_not_change_the_others() -> None:
    """Rows whose companions end early have the log-probabilities of the unpadded forward: checked on the longest of each group."""
    subject = policy()
    prompts: list[list[int]] = [subject.encode(text) for text in TEXTS]
    sampled = HF().open(subject).sample(prompts, 40, 40, "long")
    for prompt, group in zip(prompts, sampled, strict=True):
        longest = max(group, key=lambda completion: len(completion.tokens))
        with torch.no_grad():
            logits: Tensor = subject.model(input_ids=torch.tensor([[*prompt, *longest.tokens]])).logits[0, len(prompt) - 1 : -1]
        own = logits.log_softmax(-1).gather(-1, torch.tensor(longest.tokens).unsqueeze(-1)).squeeze(-1)
        torch.testing.assert_close(own, torch.tensor(longest.logp), atol=1e-5, rtol=0)
