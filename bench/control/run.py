"""From specifications that differ in their seed alone to finished run folders, one for each seed."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import torch

from bench.checkpoint import Checkpoint
from bench.config import RunSpec
from bench.control.build import build
from bench.control.training import Progress, Run
from bench.control_settings import EpisodeSettings, ReplaySettings
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
        complete = _complete(folders)
        if not complete:
            _take_up(run, folders)
        _show(specs, {folder.spec.seed: folder.path for folder in folders}, observe)
        if not complete:
            _pull(run, folders, observe)
        for folder in folders:
            _mark(folder)
    return folders


def _complete(folders: list[RunFolder]) -> bool:
    """Whether all seeds were killed after `_keep` had kept their networks, so that only their marks are missing."""
    found = [folder.newest() for folder in folders]
    complete = [checkpoint for checkpoint in found if checkpoint is not None and "trainer" not in checkpoint.state]
    if len(complete) < len(folders):
        return False
    for folder, checkpoint in zip(folders, complete, strict=True):
        folder.rewind(checkpoint)
    return True


@contextmanager
def made_small() -> Iterator[None]:
    """Sets this process up for small tensors: one thread, no slow arithmetic on numbers next to nothing, and freed memory kept."""
    threads, denormal = torch.get_num_threads(), bool(torch.tensor(1e-40) * 1 > 0)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        libc = ctypes.CDLL(None)
        for option in (-1, -3):  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD: giving pages back and fetching them anew costs more than a product
            libc.mallopt(option, 2**30)
    except (OSError, AttributeError):  # another C library
        pass
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        torch.set_flush_denormal(not denormal)


def _take_up(run: Run, folders: list[RunFolder]) -> None:
    """Go back to the newest point that all seeds have saved; to the start where there is none, or where one of them is damaged."""
    common = set.intersection(*(set(folder.checkpoints()) for folder in folders))
    found: list[Checkpoint | None] = []
    for folder in folders:
        folder.keep_checkpoint(max(common, default=None))
        found.append(folder.latest())
    whole = [checkpoint for checkpoint in found if checkpoint is not None]
    complete = len(whole) == len(folders)
    for folder, checkpoint in zip(folders, found, strict=True):
        folder.rewind(checkpoint if complete else None)
    if not complete:
        return
    tensors = [{name: c.tensors(name) for name in c.state["tensors"]} for c in whole]
    run.final = {row: each.pop("final") for row, each in enumerate(tensors) if "final" in each}
    run.trainer.restore([(each, c.state["trainer"]) for each, c in zip(tensors, whole, strict=True)])
    run.progress = [Progress(**c.state["progress"]) for c in whole]
    if not run.trainer.exact:
        for folder in folders:
            folder.warnings.append("with task.autoreset, an episode cannot be taken up again; new ones were begun")


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
            _save(run, folders)
            saved = time.perf_counter()
            cost = saved - now
    _keep(run, folders)


def _save(run: Run, folders: list[RunFolder]) -> None:
    """Save every seed; the older point of any goes only once all have the new one."""
    step = run.trainer.count.iterations
    for row, folder in enumerate(folders):
        tensors, facts = run.trainer.state(row)
        held = {name: group for name, group in tensors.items() if group}
        held |= {"final": run.final[row]} if row in run.final else {}
        state = {"trainer": facts, "progress": run.progress[row].to_json(), "tensors": list(held)}
        folder.checkpoint(step, held, state, alone=False)
    for folder in folders:
        folder.keep_checkpoint(step)


def _keep(run: Run, folders: list[RunFolder]) -> None:
    """Keep each seed's networks as they were when its budget was spent, without what only going on would need."""
    for row, folder in enumerate(folders):
        folder.checkpoint(run.trainer.count.iterations, {"model": run.final[row]}, {}, alone=False)


def _mark(folder: RunFolder) -> None:
    """Mark a run whose networks are kept as finished with its last record."""
    last = folder.records()[-1]
    folder.keep_checkpoint(max(folder.checkpoints()))
    folder.finish({"score": last.eval_score, "samples": last.samples, "tokens": last.tokens, "steps": last.step})
