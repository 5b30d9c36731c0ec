"""What several seeds keep of themselves together, so that a run killed at any moment goes on to the very same curves."""

from __future__ import annotations

from bench.checkpoint import Checkpoint
from bench.control.training import Progress, Run
from bench.run_folder import RunFolder


def complete(folders: list[RunFolder]) -> bool:
    """Whether all seeds were killed after `keep` had kept their networks, so that only their marks are missing."""
    found = [folder.newest() for folder in folders]
    complete = [checkpoint for checkpoint in found if checkpoint is not None and "trainer" not in checkpoint.state]
    if len(complete) < len(folders):
        return False
    for folder, checkpoint in zip(folders, complete, strict=True):
        folder.rewind(checkpoint)
    return True


def take_up(run: Run, folders: list[RunFolder]) -> None:
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
        for folder in folders if whole else ():
            folder.warnings.append("not every seed that was trained beside this one has left a whole checkpoint; all of them began again")
        return
    tensors = [{name: c.tensors(name) for name in c.state["tensors"]} for c in whole]
    run.final = {row: each.pop("final") for row, each in enumerate(tensors) if "final" in each}
    run.trainer.restore([(each, c.state["trainer"]) for each, c in zip(tensors, whole, strict=True)])
    run.progress = [Progress(**c.state["progress"]) for c in whole]
    if not run.trainer.exact:
        for folder in folders:
            folder.warnings.append("with task.autoreset, an episode cannot be taken up again; new ones were begun")


def save(run: Run, folders: list[RunFolder]) -> None:
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


def keep(run: Run, folders: list[RunFolder]) -> None:
    """Keep each seed's networks as they were when its budget was spent, without what only going on would need."""
    for row, folder in enumerate(folders):
        folder.checkpoint(run.trainer.count.iterations, {"model": run.final[row]}, {}, alone=False)


def mark(folder: RunFolder) -> None:
    """Mark a run whose networks are kept as finished with its last record."""
    last = folder.records()[-1]
    folder.keep_checkpoint(max(folder.checkpoints()))
    folder.finish({"score": last.eval_score, "samples": last.samples, "tokens": last.tokens, "steps": last.step})
