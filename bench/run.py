"""From a specification to a finished run folder."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from bench import evaluation, registry, reward_model
from bench.checkpoint import Checkpoint
from bench.config import CONTROL, RewardSettings, RunSpec, TrainSettings, build
from bench.control import run as control
from bench.errors import ConfigError, DivergedError, MissingError
from bench.loops.progress import Progress
from bench.loops.setup import Plan, learner
from bench.loops.training import train
from bench.model_settings import ModelSettings
from bench.policy import Policy
from bench.provenance import provenance
from bench.record import Record
from bench.resolve import digest, model_folder
from bench.run_folder import RunFolder, read_records
from bench.store import RunStore
from bench.verifying import Verifier
from tasks.base import Problem, TextTask, generator

SAVE_SHARE = 0.05  # of a run's time may go into checkpoints


@dataclass(frozen=True)
class Result:
    """A finished run."""

    folder: Path
    records: list[Record]
    warnings: list[str]
    seconds: float  # this call's, of all seeds; runs that were finished before take next to none


def execute(spec: RunSpec, store: RunStore, observe: Callable[[Record], None]) -> Result:
    """Run to the end of the budget, or go on where the run was left; `observe` sees every record, those of earlier calls first.

    Raises BenchError. What was recorded before stays, and the same call continues from it.
    """
    return execute_seeds([spec], store, lambda _, record: observe(record))[0]


def execute_seeds(specs: Sequence[RunSpec], store: RunStore, observe: Callable[[RunSpec, Record], None]) -> list[Result]:
    """The same for specifications that differ in their seed alone: together where they are small networks, else one after the other."""
    began = time.perf_counter()
    store.check()
    together = specs[0].tier == CONTROL
    found = control.execute(specs, store, observe) if together else [_alone(spec, store, observe) for spec in specs]
    seconds = time.perf_counter() - began
    return [Result(path, read_records(path), warnings, seconds) for path, warnings in found]


def _alone(spec: RunSpec, store: RunStore, observe: Callable[[RunSpec, Record], None]) -> tuple[Path, list[str]]:
    """The folder of a run on text, finished, and what there is to warn of."""
    if spec.tier == "tiny":
        torch.set_num_threads(1)  # small matrices; and the same bits whatever the machine's number of cores
    path = store.finished(spec)
    if path is not None:
        _show(spec, path, observe)
        return path, []
    with Work(spec) as work, store.open(spec, provenance()) as folder:
        if folder.finished:  # by another process, while this one loaded the model
            _show(spec, folder.path, observe)
            return folder.path, folder.warnings
        try:
            _go_on(spec, folder, work, lambda record: observe(spec, record))
        except DivergedError as error:
            folder.fail("diverged", str(error))
            raise
        return folder.path, folder.warnings


def _show(spec: RunSpec, path: Path, observe: Callable[[RunSpec, Record], None]) -> None:
    for record in read_records(path):
        observe(spec, record)


def _go_on(spec: RunSpec, folder: RunFolder, work: Work, observe: Callable[[Record], None]) -> None:
    """Take up the newest checkpoint, if there is one, and run to the end."""
    checkpoint = folder.latest()
    folder.rewind(checkpoint)
    work.prepare(folder)
    if checkpoint is not None:
        work.restore(checkpoint)
    for record in folder.records():
        observe(record)
    _pull(spec, folder, work, observe)


def _pull(spec: RunSpec, folder: RunFolder, work: Work, observe: Callable[[Record], None]) -> None:
    """Draw records from the loop into the store until the budget is spent; save as often as the share of time allows."""
    loop = train(work.learner, work.plan, work.progress)
    saved, cost = time.perf_counter(), 0.0
    while work.progress.samples < spec.budget:
        record = next(loop)
        folder.append(record, work.progress.examples)
        observe(record)
        now = time.perf_counter()
        if record.samples >= spec.budget or (record.step and now - saved > cost / SAVE_SHARE):
            folder.checkpoint(record.step, work.tensors(), work.progress.to_json())
            saved = time.perf_counter()
            cost = saved - now
    last = folder.records()[-1]
    folder.finish({"score": last.eval_score, "samples": last.samples, "tokens": last.tokens, "steps": last.step})


class Work:
    """Everything a run holds in memory, built from its specification."""

    def __init__(self, spec: RunSpec) -> None:
        self.spec, settings = spec, _settings(spec)
        task = registry.load("tasks", spec.task.name)(**spec.task.settings)
        rule = registry.load("algorithms", spec.algorithm.name)(**spec.algorithm.settings)
        sampler = registry.load("samplers", spec.sampler.name)(**spec.sampler.settings)
        held_out = _evaluated(task, settings)
        _check_demonstrations(spec, task, held_out)
        if rule.forms:
            _check_forms(spec, task, held_out)
        policy = _policy(spec)
        self.progress = Progress()
        self.learner = learner(rule, policy, settings, sampler, Verifier(task))
        self.plan = Plan(task, held_out, settings, spec.seed, max(1, spec.budget // settings.eval_points), spec.budget)

    def prepare(self, folder: RunFolder) -> None:
        """The reward model, where the run has one: read from the run's folder, or trained and put there. Its cost counts as progress."""
        if self.spec.reward.name != "model":
            return
        held = folder.kept("reward_model")
        if held is None:
            at, settings = self.learner, RewardSettings(**self.spec.reward.settings)
            made = reward_model.train(at.policy, at.looking, at.verifier, self.plan.task, settings, self.plan.limit, self.spec.seed)
            folder.keep("reward_model", made.model.tensors(), made.to_json())
        else:
            made = reward_model.RewardModel.of(self.learner.policy, *held)
        self.learner.reward_model = made
        self.progress.samples = self.progress.verifier_calls = made.facts.samples
        self.progress.tokens, self.progress.drawn = made.facts.tokens, made.facts.drawn
        self.progress.seconds, self.progress.cpu_seconds = made.facts.seconds, made.facts.cpu_seconds

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Weights and optimizer states by file name."""
        found = {name: model.tensors() for name, model in self.learner.weights().items()}
        for name, (optimizer, model) in self.learner.optimizers().items():
            names, state = list(model.tensors()), optimizer.state_dict()["state"]
            found[name] = {f"{names[i]}/{key}": value for i, held in state.items() for key, value in held.items()}
        return {name: held for name, held in found.items() if held}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `tensors` and the progress gave."""
        for name, model in self.learner.weights().items():
            model.restore(checkpoint.tensors(name))
        self.progress = Progress.from_json(checkpoint.state)
        for name, (optimizer, model) in self.learner.optimizers().items():
            if checkpoint.holds(name):  # not before it has stepped
                names = list(model.tensors())
                state: dict[int, dict[str, Any]] = {i: {} for i in range(len(names))}
                for key, value in checkpoint.tensors(name).items():
                    weight, _, part = key.rpartition("/")
                    state[names.index(weight)][part] = value
                optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        self.learner.session.refresh()
        self.learner.looking.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.learner.close()


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


def _policy(spec: RunSpec) -> Policy:
    """The start checkpoint. Raises ConfigError where its weights are no longer those of the specification."""
    folder = model_folder(spec.model.name)
    wanted = spec.model.settings.get("digest")
    if wanted is not None and digest(folder) != wanted:
        raise ConfigError(f"the weights in {folder} are not those the run began with (digest {wanted}); put them back or start a new run")
    device = "cuda" if spec.tier == "full" and torch.cuda.is_available() else "cpu"
    settings = build(ModelSettings, "model", {name: value for name, value in spec.model.settings.items() if name != "digest"})
    return Policy.load(folder if wanted is not None else spec.model.name, device, settings)
