"""Training of several seeds side by side as a generator of records."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from bench.control.evaluation import Evaluator
from bench.control.setup import Trainer
from bench.control.worlds import Episode
from bench.control_settings import ControlSettings
from bench.loops.probes import check
from bench.record import Record


@dataclass
class Progress:
    """How far one seed has come in its records."""

    step: int = 0
    samples: int = 0  # at the newest record
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """JSON values that `Progress(**...)` takes back."""
        return asdict(self)


@dataclass
class Run:
    """S seeds in step, each of which ends when its budget is spent."""

    trainer: Trainer
    evaluator: Evaluator
    settings: ControlSettings
    progress: list[Progress] = field(default_factory=list)
    final: dict[int, dict[str, Tensor]] = field(default_factory=dict)  # networks of the seeds that have ended, by row

    def __post_init__(self) -> None:
        self.progress = self.progress or [Progress() for _ in self.trainer.plan.seeds]

    def close(self) -> None:
        """Give back what environments hold."""
        self.trainer.close()
        self.evaluator.close()

    @property
    def going(self) -> list[int]:
        """Rows of the seeds that have budget left."""
        return [row for row, p in enumerate(self.progress) if p.samples < self.trainer.plan.budget]

    def train(self) -> Iterator[dict[int, Record]]:
        """Yields the records that are due, by seed's row: all at the start, then after each interval of the budget; ends when all have
        spent theirs. `progress` is up to date at each yield."""
        clock, budget = _Clock(self), self.trainer.plan.budget
        interval, eval_every = -(-budget // self.settings.records), -(-budget // self.settings.eval_points)
        if not self.progress[0].step and not self.trainer.count.iterations:
            yield clock.stamp(self._records(self.going, self.going))
        while self.going:
            self.trainer.advance()
            samples = self.trainer.count.samples.tolist()
            ended = {row for row in self.going if samples[row] >= budget}
            due = [r for r in self.going if r in ended or samples[r] // interval > self.progress[r].samples // interval]
            if due:
                looked = [r for r in due if r in ended or samples[r] // eval_every > self.progress[r].samples // eval_every]
                for row in due:
                    self.progress[row].step += 1
                    self.progress[row].samples = samples[row]
                self.final |= {row: self.trainer.stack.tensors(row) for row in ended}
                yield clock.stamp(self._records(due, looked))

    def _records(self, due: list[int], looked: list[int]) -> dict[int, Record]:
        count, seeds = self.trainer.count, self.trainer.plan.seeds
        names = [f"{seeds[row]}:{self.progress[row].step}" for row in looked]
        scores = dict(zip(looked, self.evaluator(self.trainer, looked, names), strict=True)) if looked else {}
        found = {}
        for row in due:
            episodes = _of_episodes(count.episodes.pop(row, []))
            judged = scores.get(row)
            probes = self.trainer.probes(row) | episodes | ({} if judged is None else judged.probes)
            others = f", or leave {seeds[row]} out of --seeds, and the others go on" if len(seeds) > 1 else ""
            check(probes, self.progress[row].step, f"train.lr{others}", seeds[row])
            trained = self.evaluator.task.score(episodes["ep/return"]) if episodes else None
            samples = self.progress[row].samples
            found[row] = Record(
                step=self.progress[row].step,
                samples=samples,
                tokens=samples,
                verifier_calls=0,
                updates=count.updates,
                seconds=0.0,
                cpu_seconds=0.0,
                train_score=trained,
                eval_score=probes.get("eval/score"),
                probes=probes,
                items=None if judged is None else judged.items,
            )
        return found


def _of_episodes(episodes: list[Episode]) -> dict[str, float]:
    """What training's own episodes, exploration included, came to; nothing where none has finished."""
    if not episodes:
        return {}
    n = len(episodes)
    return {
        "ep/return": sum(e.total for e in episodes) / n,
        "ep/length": sum(e.length for e in episodes) / n,
        "ep/truncated_frac": sum(e.truncated for e in episodes) / n,
        "ep/count": float(n),
    }


class _Clock:
    """Shares the time since the newest stamp evenly among the seeds that were trained in it."""

    def __init__(self, run: Run) -> None:
        self.run, self.wall, self.cpu = run, time.perf_counter(), time.process_time()

    def stamp(self, records: dict[int, Record]) -> dict[int, Record]:
        wall, cpu = time.perf_counter(), time.process_time()
        sharing = {*self.run.going, *records}
        for row in sharing:
            self.run.progress[row].seconds += (wall - self.wall) / len(sharing)
            self.run.progress[row].cpu_seconds += (cpu - self.cpu) / len(sharing)
        self.wall, self.cpu = wall, cpu
        at = self.run.progress
        return {row: replace(r, seconds=at[row].seconds, cpu_seconds=at[row].cpu_seconds) for row, r in records.items()}
