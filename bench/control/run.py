"""From specifications that differ in their seed alone to finished run folders, one for each seed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from bench.config import RunSpec
from bench.control import saving
from bench.control.build import build
from bench.control.process import made_small
from bench.control.training import Run
from bench.control_settings import EpisodeSettings, ReplaySettings
from bench.errors import DivergedError
from bench.provenance import provenance
from bench.record import Record
from bench.run_folder import RunFolder, read_records
from bench.store import RunStore
from tasks.log import LogTask

SAVE_SHARE = 0.05  # of a run's time may go into checkpoints
Observe = Callable[[RunSpec, Record], None]


def execute(specs: Sequence[RunSpec], store: RunStore, observe: Observe) -> list[tuple[Path, list[str]]]:
    """The folder of each run and what there is to warn of, once all are finished. Those that are not yet are trained side by side, or
    one after the other where that would change them; what was begun together goes on together.

    `observe` sees every record, those of earlier calls first.
    """
    done = {spec.seed: path for spec in specs if (path := store.finished(spec)) is not None}
    _show([spec for spec in specs if spec.seed in done], done, observe)
    left, warnings = [spec for spec in specs if spec.seed not in done], dict[int, list[str]]()
    for spec in left:
        store.check_free(spec)
    with made_small():
        for group in _groups(left, store):
            for folder in _together(group, store, observe):
                done[folder.spec.seed], warnings[folder.spec.seed] = folder.path, folder.warnings
    return [(done[spec.seed], warnings.get(spec.seed, [])) for spec in specs]


def _groups(specs: Sequence[RunSpec], store: RunStore) -> list[list[RunSpec]]:
    """Seeds that were last trained together; those that begin are a group as well."""
    if not all(_in_step(spec) for spec in specs):
        return [[spec] for spec in specs]
    known = {spec.seed: facts.get("seeds_together", [spec.seed]) for spec in specs if (facts := store.opened_with(spec)) is not None}
    groups: dict[tuple[int, ...], list[RunSpec]] = {}
    for spec in specs:
        others = next((together for together in known.values() if spec.seed in together), ())  # killed before it had a folder, if so
        groups.setdefault(tuple(known.get(spec.seed, others)), []).append(spec)
    return list(groups.values())


def _in_step(spec: RunSpec) -> bool:
    """Whether seeds side by side are always at the same point of every schedule: those that count different samples in the same time
    are not, and a schedule is one for all."""
    settings = spec.train
    alike = not isinstance(settings, EpisodeSettings) and spec.task.settings["autoreset"] != "next_step"
    scheduled = isinstance(settings, ReplaySettings) or getattr(settings, "lr_end", 1) != 1 or getattr(settings, "clip_end", 1) != 1
    return alike or not scheduled


def _show(specs: Sequence[RunSpec], folders: Mapping[int, Path], observe: Observe) -> None:
    """Let the records of several runs be seen, step by step."""
    known = [(record.step, i, record) for i, spec in enumerate(specs) for record in read_records(folders[spec.seed])]
    for _, i, record in sorted(known, key=lambda one: one[:2]):
        observe(specs[i], record)


def _together(specs: Sequence[RunSpec], store: RunStore, observe: Observe) -> list[RunFolder]:
    """Train unfinished runs side by side; their folders."""
    with closing(build(specs)) as run, ExitStack() as opened:
        facts, task = provenance() | {"seeds_together": [spec.seed for spec in specs]}, run.evaluator.task
        facts |= {"log": task.provenance()} if isinstance(task, LogTask) else {}
        folders = [opened.enter_context(store.open(spec, facts)) for spec in specs]
        complete = saving.complete(folders)
        if not complete:
            saving.take_up(run, folders)
        _show(specs, {folder.spec.seed: folder.path for folder in folders}, observe)
        if not complete:
            with _marked(folders):
                _pull(run, folders, observe)
        for folder in folders:
            saving.mark(folder)
    return folders


@contextmanager
def _marked(folders: Sequence[RunFolder]) -> Iterator[None]:
    """Marks the seed that diverges; those beside it are only stopped."""
    try:
        yield
    except DivergedError as error:
        for folder in folders:
            if folder.spec.seed == error.seed:
                folder.fail("diverged", str(error))
        raise


def _pull(run: Run, folders: list[RunFolder], observe: Observe) -> None:
    """Draw records into the store until all budgets are spent, saving as often as the share of time allows; then keep the networks.

    A seed that ends before the others stays among them, for products of fewer seeds round otherwise, and a run that was killed and taken
    up would not be the same.
    """
    saved, cost = time.perf_counter(), 0.0
    for records in run.train():
        for row, record in records.items():
            folders[row].append(record)
            observe(folders[row].spec, record)
        now = time.perf_counter()
        if run.going and run.trainer.count.iterations and now - saved > cost / SAVE_SHARE:
            saving.save(run, folders)
            saved = time.perf_counter()
            cost = saved - now
    saving.keep(run, folders)
