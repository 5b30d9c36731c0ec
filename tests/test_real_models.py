"""Checkpoints as they come: number formats, adapters, chat templates, several end tokens, recomputed layers, heads of any form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import MORE, WORDS, model, policy
from torch import Tensor

from bench import lora, tiny
from bench.errors import ConfigError, MissingError
from bench.loading import attention, load
from bench.model_settings import ModelSettings
from bench.policy import Policy, by_tokens
from bench.samplers.hf import HF
from benchmarks.small_checkpoint import byte_tokenizer

FAMILIES = ["qwen3", "qwen2", "llama", "gpt2", "gemma2", "qwen3_moe", "opt"]
PROMPTS, ANSWERS = [[5], [6, 7, 8], [9, 4, 5, 6, 7]], [[8, 9, 3, 1], [3], [4, 5]]
CHAT = "{% for m in messages %}{{ m['role'][0] }}:{{ m['content'] }};{% endfor %}{% if add_generation_prompt %}={% endif %}"


@pytest.fixture
def folders(tmp_path: Path) -> Any:
    """Where a family's model is saved."""

    def saved(family: str, **changes: Any) -> Path:
        torch.manual_seed(1)
        subject = policy(family, **changes)
        subject.save(tmp_path / family)
        return tmp_path / family

    return saved


def logp(subject: Policy) -> Tensor:
    with torch.no_grad():
        return subject.forward(PROMPTS, ANSWERS).logp


@pytest.mark.parametrize("family", [*MORE, "gpt2"])
def test_no_family_falls_back_to_the_whole_table(family: str) -> None:
    subject = policy(family)
    logp(subject)
    assert subject.reader.head is not None and subject.reader.head.separate


def test_a_head_of_unknown_form_is_left_to_the_model() -> None:
    """Compared with the model's own logits, not taken on trust."""
    subject = policy("gpt2")
    own = subject.model.forward
    subject.model.forward = lambda *args, **more: _bent(own(*args, **more))
    with torch.no_grad():
        found = subject.forward(PROMPTS, ANSWERS).logp[1, 0]
        logits = subject.model(input_ids=torch.tensor([[*PROMPTS[1], 3]])).logits[0, 2]
    assert subject.reader.head is not None and not subject.reader.head.separate
    torch.testing.assert_close(found, logits.log_softmax(-1)[3])


def _bent(out: Any) -> Any:
    out.logits = out.logits.pow(3)
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_arithmetic_is_near_and_weights_stay_float32(folders: Any, family: str) -> None:
    folder = folders(family)
    plain, mixed = Policy.load(folder), Policy.load(folder, settings=ModelSettings(dtype="mixed"))
    assert {p.dtype for p in mixed.parameters()} == {torch.float32} and not mixed.exact and plain.exact
    gap = (logp(plain) - logp(mixed)).abs().max()
    assert 1e-5 < gap < 0.15 and logp(mixed).dtype == torch.float32
    mixed.forward(PROMPTS, ANSWERS).logp.sum().backward()
    assert {p.grad.dtype for p in mixed.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_adapters_begin_as_nothing_train_alone_and_merge(folders: Any, family: str, dtype: Any, tmp_path: Path) -> None:
    folder = folders(family)
    plain, subject = Policy.load(folder), Policy.load(folder, settings=ModelSettings(lora_rank=4, dtype=dtype))
    near = 1e-5 if dtype == "float32" else 0.15
    torch.testing.assert_close(logp(subject), logp(plain), atol=near, rtol=0)
    assert all(lora.adapter(name) for name in subject.tensors()) and {p.dtype for p in subject.parameters()} == {torch.float32}
    subject.forward(PROMPTS, ANSWERS).logp.sum().backward()
    learning = {id(p) for p in subject.parameters()}
    assert all((p.grad is not None) == (id(p) in learning) == p.requires_grad for p in subject.model.parameters())
    start, reference = logp(subject), subject.reference()
    with torch.no_grad():
        for parameter in subject.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    assert (logp(subject) - start).abs().max() > 0.1
    assert torch.equal(logp(reference), start) and all(p.requires_grad for p in subject.parameters())
    subject.save(tmp_path / "merged")
    merged = Policy.load(tmp_path / "merged")
    torch.testing.assert_close(logp(merged), logp(subject), atol=2 * near, rtol=0)
    assert set(dict(subject.exported())) == set(merged.model.state_dict())


def test_adapters_are_the_same_each_time_and_leave_the_generator_alone(folders: Any) -> None:
    folder = folders("qwen3")
    state = torch.get_rng_state()
    first, second = (Policy.load(folder, settings=ModelSettings(lora_rank=2)) for _ in range(2))
    assert torch.equal(state, torch.get_rng_state()) and first.digest() == second.digest()


def test_a_copy_with_adapters_is_apart(folders: Any) -> None:
    subject = Policy.load(folders("qwen3"), settings=ModelSettings(lora_rank=2))
    other, before = subject.copy().frozen(), logp(subject)
    with torch.no_grad():
        for parameter in subject.parameters():
            parameter.add_(0.2)
    torch.testing.assert_close(logp(other), before)
    other.restore(subject.tensors())
    torch.testing.assert_close(logp(other), logp(subject))


def test_an_unknown_target_of_adapters_is_refused(folders: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.lora_target is 'nothing_like_it'"):
        Policy.load(folders("qwen3"), settings=ModelSettings(lora_rank=2, lora_target="nothing_like_it"))


@pytest.mark.parametrize("family", FAMILIES)
def test_recomputed_layers_give_the_same_gradients_and_still_sample(folders: Any, family: str) -> None:
    """Dropout stays asleep: gpt2's would change both."""
    folder, found = folders(family), []
    for settings in (ModelSettings(), ModelSettings(gradient_checkpointing=True)):
        subject = Policy.load(folder, settings=settings)
        logp(subject)  # the head's form is looked at once
        calls = [0]
        layer = next(m for m in subject.model.modules() if isinstance(m, torch.nn.ModuleList))[0]
        layer.register_forward_pre_hook(lambda *_, calls=calls: calls.__setitem__(0, calls[0] + 1))
        now = subject.forward(PROMPTS, ANSWERS)
        now.logp.sum().backward()
        assert calls[0] == (0 if subject.dense else 2 if settings.gradient_checkpointing else 1)
        sampled = HF().open(subject).sample(PROMPTS, 3, 6, "a")
        found.append((now.logp, [p.grad for p in subject.parameters()], sampled))
        assert not any(m.training for m in subject.model.modules())
    torch.testing.assert_close(found[0][0], found[1][0])
    for one, other in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    assert [[c.tokens for c in g] for g in found[0][2]] == [[c.tokens for c in g] for g in found[1][2]]


def test_a_prompt_is_the_users_message_where_there_is_a_template() -> None:
    made = tiny.tokenizer([*WORDS, *"user:sytem;="])
    plain = Policy.of(model("qwen3", vocab_size=len(made)), made)
    assert plain.encode("1+2") == plain.plain("1+2") and not plain.chats
    made.chat_template = CHAT
    chatting = Policy.of(plain.model, made, ModelSettings(system="try"))
    assert chatting.encode("1+2") == chatting.plain("s:try;u:1+2;=") and chatting.plain("1+2") == plain.plain("1+2")
    assert Policy.of(plain.model, made).encode("1") == plain.plain("u:1;=")
    assert Policy.of(plain.model, made, ModelSettings(chat="off")).encode("1") == plain.plain("1")
    made.chat_template = None
    with pytest.raises(ConfigError, match=r"model\.chat is on, but the tokenizer has no chat template"):
        Policy.of(plain.model, made, ModelSettings(chat="on"))


def test_a_turn_ends_where_the_template_ends_it() -> None:
    """A base model with its chat sibling's template: its text ends at one token, an answer at another."""
    made = byte_tokenizer(["some text"])
    made.eos_token = "<|pad|>"
    subject = Policy.of(model("qwen3", vocab_size=len(made), eos_token_id=0), made)
    (turn,) = made("<|end|>", add_special_tokens=False)["input_ids"]
    assert subject.end == 0 and subject.ends == {0, turn}
    assert subject.decode([*subject.plain("#### 5"), turn, *subject.plain("next")]) == "#### 5"
    assert Policy.of(subject.model, made, ModelSettings(chat="off")).ends == {0}


def test_a_template_gets_its_variables_and_no_date_of_today() -> None:
    made = byte_tokenizer(["some text"])
    made.chat_template = "{{ date_string }}{% if loud %}!{% endif %}{% for m in messages %}{{ m['content'] }}{% endfor %}"
    made_model = model("qwen3", vocab_size=len(made), eos_token_id=1)
    assert Policy.of(made_model, made).encode("x") == Policy.of(made_model, made).plain("26 Jul 2024x")
    loud = Policy.of(made_model, made, ModelSettings(template='{"loud": true, "date_string": ""}'))
    assert loud.encode("x") == loud.plain("!x")
    made.chat_template = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system here') }}{% endif %}x"
    with pytest.raises(ConfigError, match=r"refuses the prompt .*no system here.*leave model.system"):
        Policy.of(made_model, made, ModelSettings(system="be kind"))


def test_a_completion_ends_at_any_of_the_models_end_tokens() -> None:
    made = model("qwen3")
    made.generation_config.eos_token_id = [1, 7, 8]
    subject = Policy.of(made, tiny.tokenizer(WORDS))
    assert subject.end == 1 and subject.ends == {1, 7, 8}
    done = [c for group in HF().open(subject).sample(PROMPTS, 40, 12, "a") for c in group]
    assert {c.tokens[-1] for c in done if not c.truncated} == {1, 7, 8}
    assert not any(subject.ends & set(c.tokens[:-1]) for c in done)
    assert all(c.truncated == (c.tokens[-1] not in subject.ends) for c in done)
    assert subject.decode([5, 7, 5]) == subject.decode([5])


def test_weights_that_round_updates_away_are_not_trained() -> None:
    """What the refusal is about: at 1e-6 AdamW moves no bfloat16 weight of usual size at all."""
    with pytest.raises(ConfigError, match="most updates round to nothing"):
        ModelSettings(dtype="bfloat16")
    weight = torch.nn.Parameter(torch.full((100,), 0.02, dtype=torch.bfloat16))
    optimizer = torch.optim.AdamW([weight], 1e-6, weight_decay=0.0)
    for _ in range(50):
        weight.grad = torch.ones_like(weight)
        optimizer.step()
    assert (weight == torch.tensor(0.02, dtype=torch.bfloat16)).all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lora_rank": -1}, r"model\.lora_rank is -1; it must be 0 or more"),
        ({"lora_alpha": 8}, r"model\.lora_alpha is 8, but model\.lora_rank is 0"),
        ({"template": "[1]"}, r"model\.template is '\[1\]', which is no JSON object"),
        ({"system": "x", "chat": "off"}, r"model\.system is given, but model\.chat is off"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelSettings(**settings)


def test_the_attention_is_chosen_by_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    mixed = ModelSettings(dtype="mixed")
    monkeypatch.setattr("bench.loading.find_spec", lambda name: object())
    assert attention(mixed, "cuda") == "flash_attention_2"
    assert attention(ModelSettings(), "cuda") is None and attention(mixed, "cpu") is None
    monkeypatch.setattr("bench.loading.find_spec", lambda name: None)
    assert attention(mixed, "cuda") is None and attention(ModelSettings(attention="eager"), "cpu") == "eager"


def test_an_attention_that_is_not_there_is_named(folders: Any) -> None:
    with pytest.raises(ConfigError, match=r"model\.attention is 'flash_attention_2'.*take sdpa or eager"):
        load(folders("qwen3"), "cpu", ModelSettings(attention="flash_attention_2"))


def test_a_missing_peft_is_named(monkeypatch: pytest.MonkeyPatch, folders: Any) -> None:
    folder = folders("qwen3")
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(MissingError, match=r"rl-bench-suite\[lora\]"):
        Policy.load(folder, settings=ModelSettings(lora_rank=2))


def test_rows_of_about_one_length_go_together() -> None:
    lengths = [3, 9, 4, 10, 2, 8]
    order = sorted(range(6), key=lengths.__getitem__)
    assert by_tokens(order, lengths, 12) == [[4, 0, 2], [5], [1], [3]]
    assert by_tokens(order[::-1], lengths, 12) == [[3], [1], [5], [2, 0, 4]]
    assert by_tokens(order, lengths, 20) == [[4, 0, 2], [5, 1], [3]]
    assert sorted(row for part in by_tokens(order, lengths, 1) for row in part) == list(range(6))


def test_scoring_does_not_pay_for_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = policy("gpt2")
    shapes: list[tuple[int, ...]] = []
    subject.reader.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    whole = logp(subject)
    monkeypatch.setattr("bench.policy.TOKENS_TOGETHER", 8)
    cut = logp(subject)
    torch.testing.assert_close(cut, whole, atol=1e-6, rtol=0)
    assert shapes[0][0] == 3 and sorted(shapes[1:]) == [(1, 6), (2, 4)]
