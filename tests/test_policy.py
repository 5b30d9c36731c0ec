"""The language model: its two forwards agree with transformers, and it travels through folders and checkpoints unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import MORE, WORDS, policy
from torch import Tensor, nn

from algorithms.base import Batch
from algorithms.grpo import GRPO
from bench import tiny
from bench.config import TrainSettings
from bench.errors import ConfigError, MissingError, StoreError
from bench.loops.setup import Moved
from bench.loops.updates import Rows, Step, update
from bench.policy import ROWS_TOGETHER, Policy

DENSE: list[tuple[str, dict[str, Any]]] = [
    ("qwen3", {}),
    ("qwen3", {"tie_word_embeddings": False, "attention_bias": True}),
    ("qwen2", {}),
    ("llama", {"tie_word_embeddings": True, "head_dim": 10}),
    ("llama", {"attention_bias": True, "num_key_value_heads": 4}),
]
OTHERS: list[tuple[str, dict[str, Any]]] = [
    ("gpt2", {}),
    ("llama", {"mlp_bias": True}),
    ("llama", {"hidden_act": "gelu"}),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}}),
    ("qwen2", {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 1}),
    *((family, {}) for family in MORE),
]


def paths(count: int = ROWS_TOGETHER + 5) -> tuple[list[list[int]], list[list[int]]]:
    """Prompts of 1 to 6 and completions of 1 to 9 tokens, of every combination of lengths in turn."""
    draw = torch.Generator().manual_seed(3)

    def tokens(length: int) -> list[int]:
        return torch.randint(3, len(WORDS) + 3, (length,), generator=draw).tolist()

    return [tokens(1 + i % 6) for i in range(count)], [tokens(1 + i % 9) for i in range(count)]


def expected(subject: Policy, prompts: list[list[int]], completions: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Log-probabilities and entropies from one unpadded transformers forward per path."""
    shape = len(prompts), max(map(len, completions))
    logp, entropy = torch.zeros(shape), torch.zeros(shape)
    for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
        logits = subject.model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        table = logits.log_softmax(-1)
        logp[i, : len(completion)] = table[range(len(completion)), completion]
        entropy[i, : len(completion)] = torch.distributions.Categorical(logits=logits).entropy()
    return logp, entropy


@pytest.mark.parametrize(("family", "changes"), DENSE + OTHERS)
def test_forward_is_the_models_own(family: str, changes: dict[str, Any]) -> None:
    subject, (prompts, completions) = policy(family, **changes), paths()
    assert subject.dense == ((family, changes) in DENSE)
    with torch.no_grad():
        now, (logp, entropy) = subject.forward(prompts, completions), expected(subject, prompts, completions)
    assert now.entropy is not None
    torch.testing.assert_close(now.logp, logp, atol=1e-5, rtol=0)
    torch.testing.assert_close(now.entropy, entropy, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("family", "changes"), DENSE)
def test_written_out_gradients_are_autograds(family: str, changes: dict[str, Any]) -> None:
    subject, (prompts, completions) = policy(family, **changes), paths()
    now = subject.forward(prompts, completions, entropy_gradient=True)
    logp, entropy = expected(subject, prompts, completions)
    weight = torch.randn_like(logp)
    assert now.entropy is not None
    parameters = list(subject.parameters())
    own = torch.autograd.grad((weight * (now.logp + now.entropy)).sum(), parameters)
    model = torch.autograd.grad((weight * (logp + entropy)).sum(), parameters)
    for name, ours, theirs in zip(subject.tensors(), own, model, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max(), name


def test_a_wrapped_layer_is_left_to_transformers() -> None:
    class Doubled(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * super().forward(x)

    made = policy().model
    made.model.layers[0].mlp.down_proj = Doubled(80, 48, bias=False)
    assert not Policy.of(made, tiny.tokenizer(WORDS)).dense


def test_padding_is_zero_and_width_is_kept() -> None:
    now = policy().forward([[5], [6, 7]], [[8, 9], [3]], width=4)
    assert now.entropy is not None
    valid = torch.tensor([[True, True, False, False], [True, False, False, False]])
    assert now.logp.shape == now.entropy.shape == (2, 4)
    assert (now.logp[~valid] == 0).all() and (now.entropy[~valid] == 0).all()
    assert (now.logp[valid] < 0).all() and (now.entropy[valid] > 0).all()


def test_entropy_has_a_gradient_only_where_asked() -> None:
    subject = policy()
    for asked in (False, True):
        entropy = subject.forward([[5]], [[6]], entropy_gradient=asked).entropy
        assert entropy is not None and entropy.requires_grad == asked


def test_a_saved_policy_loads_unchanged(tmp_path: Path) -> None:
    subject = policy()
    subject.save(tmp_path / "model")
    loaded = Policy.load(tmp_path / "model")
    assert loaded.digest() == subject.digest() and len(subject.digest()) == 12
    assert (loaded.end, loaded.pad, loaded.encode("1+2=")) == (subject.end, subject.pad, subject.encode("1+2="))


def test_a_missing_model_names_itself_and_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match=r"empty.*give a folder that holds config\.json"):
        Policy.load(tmp_path / "empty")


def test_text_goes_both_ways() -> None:
    subject = policy()
    assert subject.decode(subject.encode("12*(3+4); 5")) == "12*(3+4); 5"
    assert subject.decode([*subject.encode("7"), subject.end, *subject.encode("8")]) == "7"
    assert subject.decode([subject.pad, *subject.encode("7")]) == "7"
    with pytest.raises(ConfigError, match="has no tokens"):
        subject.encode("")


def test_a_tokenizer_without_an_end_is_refused() -> None:
    tokenizer = tiny.tokenizer(WORDS)
    tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no end token"):
        Policy.of(policy().model, tokenizer)


def test_digest_follows_the_weights() -> None:
    subject = policy()
    before = subject.digest()
    with torch.no_grad():
        next(subject.parameters())[0, 0] += 1e-6
    assert subject.digest() != before


def test_tensors_come_once_and_go_back() -> None:
    subject, other = policy(), policy()
    assert not [name for name in subject.tensors() if name.startswith("lm_head")]  # tied to the embedding
    assert subject.digest() != other.digest()
    other.restore({name: tensor.clone() for name, tensor in subject.tensors().items()})
    assert subject.digest() == other.digest()
    with pytest.raises(StoreError, match="another model"):
        policy("llama").restore(subject.tensors())


def test_the_reference_stays_where_training_began() -> None:
    subject = policy()
    reference, before = subject.reference(), subject.digest()
    step(subject)
    assert reference.digest() == before != subject.digest()
    assert not any(parameter.requires_grad for parameter in reference.parameters())


def step(subject: Policy, microbatch: int = 0) -> Step:
    """One GRPO step on paths that were sampled a little off the policy."""
    prompts, completions = paths(24)
    mask = torch.arange(9) < torch.tensor([[len(c)] for c in completions])
    with torch.no_grad():
        old = subject.forward(prompts, completions).logp + 0.1 * torch.randn(mask.shape, generator=torch.Generator().manual_seed(5))
    reward = torch.zeros(mask.shape)
    reward[:, 0] = torch.arange(24) % 3.0
    batch, rule = Batch(group=torch.arange(24) // 4, reward=reward, mask=mask, old_logp=old), GRPO()
    models = Moved(policy=subject, optimizer=torch.optim.SGD(subject.parameters(), lr=0.1))
    made = update(models, rule, TrainSettings(microbatch=microbatch), Rows(batch, rule.credit(batch), prompts, completions))
    assert made is not None
    return made


def test_microbatches_make_the_same_step() -> None:
    whole, split = policy(), policy()
    split.restore(whole.tensors())
    start = {name: tensor.clone() for name, tensor in whole.tensors().items()}
    one, five = step(whole), step(split, microbatch=5)
    assert one.grad_norm > 0 and one.grad_norm == pytest.approx(five.grad_norm, rel=1e-5)
    torch.testing.assert_close(one.logp, five.logp, atol=1e-5, rtol=0)
    torch.testing.assert_close(one.entropy, five.entropy, atol=1e-5, rtol=0)
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(tensor, split.tensors()[name], atol=1e-6, rtol=0)
    assert any((tensor != start[name]).any() for name, tensor in whole.tensors().items())


def test_a_step_reports_the_policy_before_it_moved() -> None:
    subject, (prompts, completions) = policy(), paths(24)
    with torch.no_grad():
        before = subject.forward(prompts, completions)
    made = step(subject)
    torch.testing.assert_close(made.logp, before.logp, atol=1e-6, rtol=0)
    assert not made.logp.requires_grad and not made.entropy.requires_grad


def test_loading_and_saving_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    policy().save(tmp_path)
    Policy.load(tmp_path)
    assert capfd.readouterr() == ("", "")
