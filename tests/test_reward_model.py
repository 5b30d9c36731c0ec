"""Reward models: the loss by hand, what is measured of one, and runs that are paid by one."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from test_gsm8k_data import row, write
from torch import Tensor

from algorithms.bradley_terry import calibration, chance_of_right, comparisons, loss
from bench import registry, reward_model
from bench.bases import BASES
from bench.config import RewardSettings, RunSpec
from bench.errors import ConfigError
from bench.loops.training import train
from bench.policy import Policy
from bench.resolve import Request, resolve
from bench.reward_model import Facts, RewardModel
from bench.rollout import Group
from bench.run import Work, execute
from bench.samplers.base import Completion, Session
from bench.store import RunStore
from bench.verifying import Verifier
from tasks.base import Problem, Score
from tasks.last_digit import LastDigit

TASK = LastDigit()
FACTS = Facts(7, 0.8, 1.0, 0.1, mean=0.5, deviation=2.0, slope=math.log(3), offset=0.0, drawn=3, samples=6, tokens=18)
SMALL = ("train.prompts=4", "train.completions=4", "train.eval_problems=8", "train.eval_completions=2")
CHEAP = ("reward.prompts=8", "reward.measured=8", "reward.completions=4", "reward.epochs=1")  # 64 completions


def exact(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


SCORE = exact(2.0, 0.5, -1.0, 0.0, 1.0, 1.0, 4.0, 9.0)  # three of a prompt, three of another, two that are equally good
QUALITY = exact(1, 0, 0, 0, 1, 0, 1, 1)
GROUP = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2])


def cost(margin: float) -> float:
    """-log sigmoid, the plain way."""
    return math.log(1 + math.exp(-margin))


def test_the_comparisons_of_a_prompt_are_all_its_pairs() -> None:
    pairs = comparisons(QUALITY, GROUP).nonzero().tolist()
    assert pairs == [[0, 1], [0, 2], [4, 3], [4, 5]]
    graded = comparisons(exact(0.2, 0.5, 0.9), torch.zeros(3)).nonzero().tolist()
    assert graded == [[1, 0], [2, 0], [2, 1]]


def test_the_loss_by_hand() -> None:
    """Margins 1.5 and 3 for the first prompt, 1 and 0 for the second; the third, without a pair, does not count."""
    first, second = (cost(1.5) + cost(3.0)) / 2, (cost(1.0) + cost(0.0)) / 2
    assert float(loss(SCORE, QUALITY, GROUP)) == pytest.approx((first + second) / 2, rel=1e-14)
    assert float(loss(SCORE[:3], QUALITY[:3], GROUP[:3])) == pytest.approx(first, rel=1e-14)


def test_the_centre_by_hand() -> None:
    """Sums 2.5 and 1 for the pairs of the first prompt, 1 and 2 for the second's."""
    plain, centred = loss(SCORE, QUALITY, GROUP), loss(SCORE, QUALITY, GROUP, 0.1)
    assert float(centred - plain) == pytest.approx(0.1 * ((2.5**2 + 1) / 2 + (1 + 2**2) / 2) / 2, rel=1e-12)


def test_every_pair_weighs_as_much_as_its_prompt_has_pairs() -> None:
    """One right among n wrong, all scored the same: each wrong one is pushed down by 1/2 over the number of pairs, and of prompts."""
    score = torch.zeros(7, dtype=torch.float64, requires_grad=True)
    loss(score, exact(1, 0, 1, 0, 0, 0, 0), torch.tensor([0, 0, 1, 1, 1, 1, 1])).backward()
    assert score.grad is not None
    assert score.grad.tolist() == pytest.approx([-0.25, 0.25, -0.25, *[0.25 / 4] * 4], rel=1e-14)


def test_the_loss_knows_no_order_and_no_absolute_score() -> None:
    wanted = float(loss(SCORE, QUALITY, GROUP))
    order = torch.tensor([7, 2, 5, 0, 3, 6, 1, 4])
    assert float(loss(SCORE[order], QUALITY[order], GROUP[order])) == pytest.approx(wanted, rel=1e-14)
    assert float(loss(SCORE + 3 * GROUP, QUALITY, GROUP)) == pytest.approx(wanted, rel=1e-12)


def test_nothing_to_compare_is_a_loss_of_nothing() -> None:
    score = SCORE[6:].clone().requires_grad_()
    found = loss(score, QUALITY[6:], GROUP[6:])
    found.backward()
    assert found.item() == 0 and score.grad is not None and not score.grad.any()


def test_extreme_scores_stay_finite() -> None:
    score = torch.tensor([-1e4, 1e4], requires_grad=True)
    found = loss(score, torch.tensor([1.0, 0.0]), torch.zeros(2))
    found.backward()
    assert found.item() == pytest.approx(2e4) and score.grad is not None and score.grad.tolist() == [-1, 1]


def test_calibration_by_hand() -> None:
    """Confidence 3/4 that is right three times in four costs nothing; 19/20 that is wrong twice costs 19/20 on two pairs of six."""
    honest = exact(math.log(3), math.log(3), math.log(3), -math.log(3))
    assert float(calibration(honest)) == pytest.approx(0, abs=1e-12)
    assert float(calibration(torch.cat([honest, exact(-math.log(19), -math.log(19))]))) == pytest.approx(2 * 0.95 / 6)
    assert float(calibration(exact(0.0))) == pytest.approx(0.5)  # a tie is ordered wrongly, at the confidence of a coin
    assert float(calibration(exact(1e4, 1e4))) == 0


def test_the_chance_of_being_right_by_hand() -> None:
    """Three of four right at +1, one of four at -1; Platt's targets 5/6 and 1/6 make that 2/3 and 1/3: slope log 2, offset 0."""
    slope, offset = chance_of_right(exact(1, 1, 1, 1, -1, -1, -1, -1), exact(1, 1, 1, 0, 1, 0, 0, 0))
    assert (slope, offset) == pytest.approx((math.log(2), 0), abs=1e-9)
    moved = chance_of_right(exact(7, 7, 7, 7, 3, 3, 3, 3), exact(1, 1, 1, 0, 1, 0, 0, 0))
    assert moved == pytest.approx((math.log(2) / 2, -5 * math.log(2) / 2), abs=1e-9)
    assert all(map(math.isfinite, chance_of_right(exact(1, 2, 3, 4), exact(0, 0, 1, 1))))  # separated
    assert all(map(math.isfinite, chance_of_right(exact(2, 2, 2, 2), exact(0, 0, 1, 1))))  # without spread


class Says(Policy):
    """Scores completions as it was told to, in their order."""

    def __init__(self, *scores: float) -> None:
        self.told = torch.tensor(scores)

    def scores(self, prompts: object, completions: object) -> Tensor:
        return self.told

    def frozen(self) -> Policy:
        return self


def judged(*verdicts: float) -> Group:
    """The completions of one prompt, right (1) or wrong (0)."""
    completion = Completion((5, 1), (-1.0, -1.0), "x", False)
    scores = tuple(Score(right, right, {"strict": right}) for right in verdicts)
    return Group(Problem("p", "1", "1"), (3,), (completion,) * len(verdicts), scores)


def test_the_facts_by_hand() -> None:
    """Pairs of 1 and -1 on the first prompt, of 0.5 and 0 on the second: two of four in order, one of them a tie."""
    groups = [judged(1, 0, 0), judged(0, 1, 0), judged(1, 1)]
    facts = reward_model._measure(Says(1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 0.0, 0.0), groups, 9, [*groups, judged(1, 0)], 12)
    assert (facts.pairs, facts.drawn, facts.samples, facts.tokens) == (9, 12, 10, 20)
    assert facts.accuracy == 0.5
    assert facts.margin == pytest.approx((1 - 1 + 0.5 + 0) / 4)
    sure, unsure = 1 / (1 + math.exp(-1)), 1 / (1 + math.exp(-0.5))  # one right of two; one right; the tie
    assert facts.calibration_error == pytest.approx((abs(2 * sure - 1) + abs(unsure - 1) + 0.5) / 4)
    told = [1.0, 0.0, 2.0, 0.5, 1.0, 1.0, 0.0, 0.0]
    mean = sum(told) / 8
    assert facts.mean == pytest.approx(mean)
    assert facts.deviation == pytest.approx(math.sqrt(sum((s - mean) ** 2 for s in told) / 7))


def test_pay_is_the_score_in_deviations_and_leaves_the_verdict() -> None:
    groups = [judged(1, 0), judged(0, 0)]
    paid = RewardModel(Says(0.5, 2.5, -1.5, 1.5), FACTS).paid(groups)
    assert [s.reward for g in paid for s in g.scores] == [0, 1, -1, 0.5]
    assert [s.correct for g in paid for s in g.scores] == [1, 0, 0, 0]
    assert [s.parts for g in paid for s in g.scores] == [s.parts for g in groups for s in g.scores]


def test_the_opinion_by_hand() -> None:
    """Scores 1 and -1 at slope log 3 are beliefs of 3/4 and 1/4; one of four is right."""
    found = RewardModel(Says(1.0, -1.0, 1.0, 1.0), FACTS).opinion([judged(1, 0), judged(0, 0)])
    assert found == pytest.approx({"eval/model_score": 0.0, "eval/model_belief": 0.625, "eval/model_gap": 0.375})


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier(TASK) as workers:
        yield workers


def test_it_is_not_measured_on_prompts_that_it_learnt_from() -> None:
    """A stream that repeats itself: the repeats are drawn and left out."""

    class Repeats(LastDigit):
        def problems(self, split: Any, seed: int) -> Iterator[Problem]:
            first = list(islice(super().problems(split, seed), 8))
            yield from first
            yield from first
            yield from islice(super().problems(split, seed), 8, None)

    settings = RewardSettings(prompts=8, measured=4)
    problems, drawn = reward_model._problems(Repeats(), settings, 0)
    assert drawn == 8 + 8 + 4 and len(problems) == 12
    assert not {p.prompt for p in problems[:8]} & {p.prompt for p in problems[8:]}


def test_a_task_with_too_few_prompts_is_refused_before_anything_is_sampled(verifier: Verifier) -> None:
    class Few(LastDigit):
        def problems(self, split: Any, seed: int) -> Iterator[Problem]:
            return islice(super().problems(split, seed), 10)

    class Silent(Session):
        def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
            raise AssertionError("nothing is to be sampled")

        def refresh(self) -> None:
            return None

    policy = Policy.load(BASES / "last_digit")
    for task, prompts in ((Few(), 9), (LastDigit(digits=1), 100)):
        settings = RewardSettings(prompts=prompts, measured=4)
        with pytest.raises(ConfigError, match=rf"from {prompts} and to measure it on 4 others; lower reward\.prompts or reward\.measured"):
            reward_model.train(policy, Silent(), verifier, task, settings, 4, 0)


def test_unanimous_completions_teach_nothing(verifier: Verifier) -> None:
    class Wrong(Session):
        def __init__(self, policy: Policy) -> None:
            self.policy = policy

        def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
            tokens = (*self.policy.encode("####  "), self.policy.end)
            return [[Completion(tokens, (-1.0,) * len(tokens), "####  ", False)] * n for _ in prompts]

        def refresh(self) -> None:
            return None

    policy = Policy.load(BASES / "last_digit")
    with pytest.raises(ConfigError, match=r"of 8 prompts none has right and wrong .* raise reward\.prompts, .* another start model"):
        settings = RewardSettings(prompts=4, measured=4, completions=2)
        reward_model.train(policy, Wrong(policy), verifier, TASK, settings, 4, 0)


def spec(algorithm: str = "ppo", budget: int = 64 + 16 * 4, settings: tuple[str, ...] = (), **more: Any) -> RunSpec:
    chosen = (*SMALL, *CHEAP, *settings)
    return resolve(Request(algorithm=algorithm, task="last_digit", tier="tiny", budget=budget, settings=chosen, reward="model", **more))


class Counted(Session):
    """Counts the completions of another session, by what they are for."""

    def __init__(self, inner: Session, count: dict[str, int]) -> None:
        self.inner, self.count = inner, count

    def sample(self, prompts: Sequence[Sequence[int]], n: int, limit: int, seed: str) -> list[list[Completion]]:
        self.count[seed.partition(":")[0]] = self.count.get(seed.partition(":")[0], 0) + n * len(prompts)
        return self.inner.sample(prompts, n, limit, seed)

    def refresh(self) -> None:
        self.inner.refresh()


@pytest.mark.parametrize("algorithm", ["ppo", "dpo", "dapo"])
def test_the_run_pays_for_the_model_and_does_not_move_it(algorithm: str, tmp_path: Path) -> None:
    """Every completion for training is on the bill, and the bill is the budget; the scores of the same texts stay what they were."""
    wanted = spec(algorithm)
    count: dict[str, int] = {}
    with Work(wanted) as work, RunStore(tmp_path).open(wanted, {}) as folder:
        work.learner.session = work.learner.looking = Counted(work.learner.looking, count)
        start = work.learner.policy.digest()
        work.prepare(folder)
        model = work.learner.reward_model
        assert work.learner.policy.digest() == start
        assert model is not None and not any(p.requires_grad for p in model.model.parameters())
        digest = model.model.digest()
        records = []
        for record in train(work.learner, work.plan, work.progress):
            records.append(record)
            if record.samples >= wanted.budget:
                break
        assert model.model.digest() == digest
        assert work.learner.policy.digest() != start
    assert (count["reward"], count["train"]) == (64, 64)
    assert records[0].samples == records[0].verifier_calls == 64
    assert records[-1].samples == records[-1].verifier_calls == wanted.budget == 128
    assert records[0].seconds > model.facts.seconds > 0


def test_evaluations_have_both_judges_side_by_side(tmp_path: Path) -> None:
    result = execute(spec("grpo"), RunStore(tmp_path), lambda record: None)
    first, *rest = result.records
    assert {"reward_model/pairs", "reward_model/accuracy", "reward_model/margin", "reward_model/calibration_error"} <= first.probes.keys()
    assert not any(key.startswith("reward_model/") for record in rest for key in record.probes)
    evaluated = [r.probes for r in result.records if r.eval_score is not None]
    assert len(evaluated) > 2
    for probes in evaluated:
        assert probes["eval/model_gap"] == pytest.approx(probes["eval/model_belief"] - probes["eval/pass@1"])
        assert math.isfinite(probes["eval/model_score"])
    samples = [json.loads(line) for line in (result.folder / "samples.jsonl").read_text().splitlines()]
    assert all(s["correct"] == s["parts"]["strict"] for s in samples)
    assert any(s["reward"] not in (0, 1) for s in samples)  # paid by the model


def test_it_learns_what_the_verifier_knows_and_is_followed(tmp_path: Path) -> None:
    """Some 2700 comparisons: far from a coin on prompts that it never saw, and a policy without a pull soon says what pleases it."""
    settings = ("reward.prompts=256", "reward.measured=64", "reward.completions=8", "reward.epochs=8", "train.prompts=16")
    more = ("train.completions=8", "train.eval_problems=64", "train.eval_points=1", "algo.kl=0")
    result = execute(spec("ppo", 2560 + 128 * 8, (*settings, *more)), RunStore(tmp_path), lambda record: None)
    start, end = result.records[0].probes, result.records[-1].probes
    assert start["reward_model/accuracy"] > 0.9 and start["reward_model/margin"] > 2 and start["reward_model/calibration_error"] < 0.1
    assert start["reward_model/pairs"] > 2000
    assert abs(start["eval/model_gap"]) < 0.1
    assert end["eval/model_score"] > start["eval/model_score"] + 0.5


@pytest.mark.slow
def test_a_good_one_makes_better_answers(tmp_path: Path) -> None:
    """With the numbers that a run has by default, in the model's eyes and in the verifier's, which do not drift far apart."""
    wanted = resolve(Request(algorithm="ppo", task="chain_sum", tier="tiny", budget=4096, reward="model"))
    result = execute(wanted, RunStore(tmp_path), lambda record: None)
    start, end = result.records[0].probes, result.records[-1].probes
    assert start["reward_model/accuracy"] > 0.7
    assert end["eval/model_score"] > start["eval/model_score"] + 0.5
    assert end["eval/pass@1"] > start["eval/pass@1"] + 0.2
    assert abs(end["eval/model_gap"]) < 0.1


def test_a_reward_model_holds_the_policy_to_its_start_unless_told_otherwise() -> None:
    assert {k: spec().algorithm.settings[k] for k in ("kl", "kl_estimator")} == {"kl": 0.05, "kl_estimator": "k1"}
    assert spec(settings=("algo.kl=0",)).algorithm.settings["kl"] == 0
    assert spec("dpo").reward.settings["prompts"] == 8
    assert RunSpec.from_json(json.loads(json.dumps(vars(spec()), default=vars))) == spec()


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("ppo", {"reward": "modle"}, r"no source of rewards called 'modle'\. Did you mean 'model'\? Known: model, verifier"),
    ("ppo", {"reward": "verifier"}, r"reward\.prompts is a setting of the reward model; add --reward model, or leave it out"),
    ("sft_on_correct", {}, r"sft_on_correct learns from verdicts, which a reward model does not give; leave out --reward model, or choose"),
    *(
        (name, {}, rf"{name} is a control of what the verifier pays; leave out --reward model, or choose another algorithm")
        for name in ("untrained", "random_reward", "format_reward", "shuffled_advantage")
    ),
    (
        "ppo",
        {"budget": 79},
        r"budget is 79 samples, of which the reward model takes 64; .* one rollout batch of 16: raise --budget, or lower",
    ),
    ("ppo", {"settings": ("reward.completions=1",)}, r"reward\.completions is 1; it must be 2 or more"),
    ("ppo", {"settings": ("reward.measured=0",)}, r"reward\.measured is 0; it must be greater than 0"),
    ("ppo", {"settings": ("reward.centre=-1",)}, r"reward\.centre is -1\.0; it must be 0 or more"),
    ("ppo", {"settings": ("reward.epoch=1",)}, r"no setting of reward called 'epoch'\. Did you mean 'epochs'\?"),
    ("ppo", {"settings": ("algo.kl=0", "algo.kl_target=0.1")}, r"algo\.kl_target adapts algo\.kl, and algo\.kl is 0; set algo\.kl above 0"),
]


@pytest.mark.parametrize(("algorithm", "asked", "message"), REFUSED, ids=lambda x: x if isinstance(x, str) else "")
def test_what_cannot_work_is_refused_at_once(algorithm: str, asked: dict[str, Any], message: str) -> None:
    settings = (*SMALL, *CHEAP, *asked.get("settings", ()))
    request = {"budget": 128, "reward": "model", **asked, "settings": settings}
    with pytest.raises(ConfigError, match=message):
        resolve(Request(algorithm=algorithm, task="last_digit", tier="tiny", **request))


def test_the_smallest_budget_that_works() -> None:
    assert spec(budget=80).budget == 80
    assert {name for name in registry.names("algorithms") if _pays(name)} >= {
        "ppo",
        "a2c",
        "dpo",
        "grpo",
        "dapo",
        "gspo",
        "sapo",
        "reinforce",
    }


def _pays(algorithm: str) -> bool:
    try:
        return bool(spec(algorithm))
    except ConfigError:
        return False


def test_demonstrations_that_are_not_there_are_missed_before_a_model_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.run.start_policy", lambda *known: pytest.fail("the model was loaded"))
    source = write(tmp_path, [row(i) for i in range(30)], [row(i) for i in range(1000, 1010)])
    settings = ("train.ptx_coef=0.5", f"task.data={source}")
    request = Request(algorithm="ppo", task="gsm8k", tier="full", model=str(BASES / "gsm8k"), settings=settings)
    message = r"train\.ptx_coef is 0\.5, but task 'gsm8k' has no demonstrations at tier 'full'; leave it at 0, or choose another task"
    with pytest.raises(ConfigError, match=message):
        Work(resolve(request))


def test_demonstrations_beside_pairs_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"train\.ptx_coef is 0\.5, but dpo learns from pairs and from no demonstrations; leave it at 0"):
        resolve(Request(algorithm="dpo", task="last_digit", tier="tiny", settings=("train.ptx_coef=0.5",)))
