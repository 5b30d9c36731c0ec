"""From a specification to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from bench import evaluation, registry, reward_model
from bench.config import CONTROL, RewardSettings, RunSpec, TrainSettings, build
from bench.control import run as control
from bench.errors import BenchError, ConfigError, MissingError
from bench.loading import attention
from bench.loops import optimizers
from bench.loops.progress import Progress
from bench.loops.setup import Plan, learner
from bench.loops.training import train
from bench.model_settings import ModelSettings
from bench.models import digest, model_folder
from bench.policy import Policy
from bench.provenance import provenance
from bench.rank_failure import Watch
from bench.ranks import ALONE, Ranks
from bench.record import Record
from bench.run_folder import read_records
from bench.sharding import collected, placed
from bench.shared_folder import Saved, SharedFolder, opened
from bench.store import RunStore
from bench.verifying import MOST_WORKERS, Verifier, usable_cores
from tasks.base import Problem, TextTask, generator

SAVE_SHARE = 0.05  # of a run's time may go into checkpoints


@dataclass(frozen=True)
class Result:
    """A finished run."""

    folder: Path
    records: list[Record]
    warnings: list[str]
    seconds: float  # this call's, of all seeds; runs that were finished before take next to none


def execute(spec: RunSpec, store: RunStore, observe: Callable[[Record], None], ranks: Ranks = ALONE) -> Result:
    """Run to the end of the budget, or go on where the run was left; `observe` sees every record, those of earlier calls first.

    Raises BenchError. What was recorded before stays, and the same call continues from it. Where several processes of `ranks` make this
    call, `observe` is called in the first one only.
    """
    return execute_seeds([spec], store, lambda _, record: observe(record), ranks)[0]


def execute_seeds(
    specs: Sequence[RunSpec], store: RunStore, observe: Callable[[RunSpec, Record], None], ranks: Ranks = ALONE
) -> list[Result]:
    """The same for specifications that differ in their seed alone: together where they are small networks, else one after the other."""
    began = time.perf_counter()
    ranks.does(store.check)
    if specs[0].tier == CONTROL:
        if ranks.size > 1:
            raise ConfigError(f"{specs[0].table} is trained by one process, which takes its seeds together; {ranks.size} were started")
        found = control.execute(specs, store, observe)
    else:
        found = [_alone(spec, store, observe if ranks.first else _unseen, ranks) for spec in specs]
    seconds = time.perf_counter() - began
    return [Result(path, ranks.does(partial(read_records, path)), warnings, seconds) for path, warnings in found]


def _unseen(spec: RunSpec, record: Record) -> None:
    return None


def _alone(spec: RunSpec, store: RunStore, observe: Callable[[RunSpec, Record], None], ranks: Ranks) -> tuple[Path, list[str]]:
    """The folder of a run on text, finished, and what there is to warn of."""
    if spec.tier == "tiny":
        torch.set_num_threads(1)  # small matrices; and the same bits whatever the machine's number of cores
    _check_ranks(spec, ranks)
    path = ranks.does(lambda: store.finished(spec))
    if path is not None:
        _show(spec, path, observe, ranks)
        return path, []
    with _memory_explained(), Watch(ranks) as watch, Work(spec, ranks) as work, opened(store, spec, work.facts(), ranks) as folder:
        if folder.read(lambda own: own.finished):  # by another process, while this one loaded the model
            _show(spec, folder.path, observe, ranks)
            return folder.path, folder.warnings
        with watch.marking(folder.fail):
            _go_on(spec, folder, work, lambda record: observe(spec, record))
        return folder.path, folder.warnings


@contextmanager
def _memory_explained() -> Iterator[None]:
    """Raises BenchError with what helps where a GPU's memory does not suffice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise BenchError(
            f"the GPU's memory does not suffice ({str(error).splitlines()[0]}); lower train.microbatch_tokens or sampler.rows, set "
            "model.gradient_checkpointing=true, train.optimizer=adamw_8bit or model.lora_rank=16, with vllm lower sampler.memory or set "
            "sampler.sleep=2, or start several processes. What was saved stays"
        ) from error


def _check_ranks(spec: RunSpec, ranks: Ranks) -> None:
    """Raises ConfigError where some process would have no prompt to sample for."""
    prompts = _settings(spec).prompts
    if ranks.size > prompts:
        raise ConfigError(
            f"train.prompts is {prompts}, but {ranks.size} processes train the run, and each takes a share of the prompts; "
            f"start at most {prompts}, or raise train.prompts"
        )


def _show(spec: RunSpec, path: Path, observe: Callable[[RunSpec, Record], None], ranks: Ranks) -> None:
    for record in ranks.does(lambda: read_records(path)):
        observe(spec, record)


def _go_on(spec: RunSpec, folder: SharedFolder, work: Work, observe: Callable[[Record], None]) -> None:
    """Take up the newest checkpoint, if there is one, and run to the end."""
    saved = folder.rewound()
    work.prepare(folder)
    if saved is not None:
        work.restore(saved)
    for record in folder.read(lambda own: own.records()):
        observe(record)
    _pull(spec, folder, work, observe)


def _pull(spec: RunSpec, folder: SharedFolder, work: Work, observe: Callable[[Record], None]) -> None:
    """Draw records from the loop into the store until the budget is spent; save as often as the share of time allows."""
    loop, progress = train(work.learner, work.plan, work.progress), work.progress
    saved, cost = time.perf_counter(), 0.0
    while progress.samples < spec.budget:
        record = next(loop)
        work.ranks.same("how far they are", (record.step, progress.samples, progress.tokens, progress.updates, progress.drawn))
        folder.append(record, progress.examples)
        observe(record)
        now = time.perf_counter()
        if work.ranks.agreed(record.samples >= spec.budget or (record.step > 0 and now - saved > cost / SAVE_SHARE)):
            folder.checkpoint(record.step, work.tensors(), progress.to_json())
            saved = time.perf_counter()
            cost = saved - now
    folder.finish(folder.read(lambda own: own.records()[-1]))


class Work:
    """Everything a run holds in memory, built from its specification."""

    def __init__(self, spec: RunSpec, ranks: Ranks = ALONE) -> None:
        self.spec, self.ranks, settings = spec, ranks, _settings(spec)
        task = registry.load("tasks", spec.task.name)(**spec.task.settings)
        rule = registry.load("algorithms", spec.algorithm.name)(**spec.algorithm.settings)
        sampler = registry.load("samplers", spec.sampler.name)(**spec.sampler.settings)
        held_out = _evaluated(task, settings)
        _check_demonstrations(spec, task, held_out)
        if rule.forms:
            _check_forms(spec, task, held_out)
        policy = start_policy(spec, ranks)
        self.progress = Progress()
        self.learner = learner(rule, policy, settings, sampler, Verifier(task, _workers(spec, ranks)))
        self.plan = Plan(task, held_out, settings, spec.seed, max(1, spec.budget // settings.eval_points), spec.budget)

    def facts(self) -> dict[str, Any]:
        """What the run is made on, for its folder."""
        asked = self.plan.task.protocol()
        found = provenance() | {"model": self.learner.policy.facts(), "ranks": self.ranks.size}
        return found | ({} if asked is None else {"protocol": asked.facts()})

    def prepare(self, folder: SharedFolder) -> None:
        """The reward model, where the run has one: read from the run's folder, or trained and put there. Its cost counts as progress."""
        if self.spec.reward.name != "model":
            return
        held = folder.kept("reward_model")
        if held is None:
            at, settings = self.learner, RewardSettings(**self.spec.reward.settings)
            made = reward_model.train(at.policy, at.looking, at.verifier, self.plan.task, settings, self.plan.limit, self.spec.seed)
            tensors = collected({"model": made.model.tensors()}, self.ranks)
            folder.keep("reward_model", tensors.get("model", {}), made.to_json())
        else:
            made = reward_model.RewardModel.of(self.learner.policy, *held)
        self.learner.reward_model = made
        self.progress.samples = self.progress.verifier_calls = made.facts.samples
        self.progress.tokens, self.progress.drawn = made.facts.tokens, made.facts.drawn
        self.progress.seconds, self.progress.cpu_seconds = made.facts.seconds, made.facts.cpu_seconds

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Weights and optimizer states by file name; of a run of several processes whole in the first, and nothing in the others."""
        found = {name: model.tensors() for name, model in self.learner.weights().items()}
        for name, (optimizer, model) in self.learner.optimizers().items():
            found[name] = optimizers.state(optimizer, list(model.tensors()))
        return collected({name: held for name, held in found.items() if held}, self.ranks)

    def restore(self, checkpoint: Saved) -> None:
        """Take back what `tensors` and the progress gave."""
        for name, model in self.learner.weights().items():
            model.restore(checkpoint.tensors(name))
        self.progress = Progress.from_json(checkpoint.state)
        for name, (optimizer, model) in self.learner.optimizers().items():
            if checkpoint.holds(name):  # not before it has stepped
                own, held = model.tensors(), checkpoint.tensors(name)
                ready = {key: placed(held[key], own[key.rpartition("/")[0]]) for key in held}
                optimizers.restore(optimizer, list(own), ready)
        self.learner.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.learner.close()


def _workers(spec: RunSpec, ranks: Ranks) -> int:
    """Verifying processes: one for the tiny tier's short answers, else as many as cores, shared with the other processes of the run."""
    return 1 if spec.tier == "tiny" else max(1, min(MOST_WORKERS, usable_cores() // ranks.size))


def _settings(spec: RunSpec) -> TrainSettings:
    assert isinstance(spec.train, TrainSettings)
    return spec.train


def _evaluated(task: TextTask, settings: TrainSettings) -> list[Problem]:
    """Raises MissingError where the task cannot get at its data; the task's own message says how."""
    try:
        return evaluation.problems(task, settings.eval_split, settings.eval_problems)
    except (OSError, ImportError, ValueError) as error:
        raise MissingError(str(error)) from error


def _check_demonstrations(spec: RunSpec, task: TextTask, problems: list[Problem]) -> None:
    """Raises ConfigError where the run is to learn from demonstrations and the task has none."""
    if _settings(spec).ptx_coef > 0:
        try:
            task.demonstration(problems[0], generator("demonstrations", "check"))
        except ValueError as error:
            raise ConfigError(
                f"train.ptx_coef is {_settings(spec).ptx_coef:g}, but task {spec.task.name!r} has no demonstrations at tier {spec.tier!r}; "
                "leave it at 0, or choose another task or tier"
            ) from error


def _check_forms(spec: RunSpec, task: TextTask, problems: list[Problem]) -> None:
    """Raises ConfigError where the rule is paid by the form of an answer, of which the task's verifier says nothing."""
    parts = task.score(problems[0], problems[0].answer).parts
    if "format" not in parts:
        raise ConfigError(
            f'{spec.algorithm.name} needs the part "format" in the scores of task {spec.task.name!r}, which give '
            f"{', '.join(sorted(parts)) or 'none'}; choose another algorithm, or let the task's score say it"
        )


def start_policy(spec: RunSpec, ranks: Ranks = ALONE) -> Policy:
    """The start checkpoint, in pieces over several processes.

    Raises ConfigError where its weights are no longer those of the specification.
    """
    folder = model_folder(spec.model.name)
    wanted = spec.model.settings.get("digest")
    if wanted is not None and digest(folder, spec.tier) != wanted:
        raise ConfigError(f"the weights in {folder} are not those the run began with (digest {wanted}); put them back or start a new run")
    device = ranks.device(spec.tier == "full" and torch.cuda.is_available())
    settings = build(ModelSettings, "model", {name: value for name, value in spec.model.settings.items() if name != "digest"})
    name = folder if wanted is not None else spec.model.name
    if ranks.size == 1:
        return Policy.load(name, device, settings)
    suited = replace(settings, attention=attention(settings, device) or "auto")  # to the device that the layers go to, one by one
    return Policy.load(name, "cpu", suited).shard(ranks, device)
