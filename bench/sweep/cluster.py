"""Jobs as tasks of a Ray cluster, all of whose machines see the results folder."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.errors import MissingError
from bench.store import RunStore
from bench.sweep.events import Event
from bench.sweep.jobs import Job
from bench.sweep.slots import gpus, usable_cores
from bench.sweep.work import died, perform

LOOK = 2.0  # seconds between two looks at the curves of runs at work


def require() -> None:
    """Raises MissingError where Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingError('ray is not installed; pip install -c constraints.txt "rl-bench-suite[ray]", or leave out --executor ray')


def task(line: str, results: str, reserve: int) -> list[str]:
    """A job on whichever machine Ray chose: what there is to tell of it but its records, which the results folder tells."""
    told: list[Event] = []
    perform(Job.from_json(line), RunStore(Path(results), reserve), told.append)
    return [event.to_json() for event in told if event.kind != "record"]


class RayCrew:
    """Ray places the tasks and watches their processes. A task that dies is told of and not repeated: that is the sweep's to decide."""

    def __init__(self, store: RunStore, address: str, workers: int) -> None:
        """Join the cluster at the address, or start one on this machine. `workers`: tasks at a time; 0 for what the cluster has.

        Raises MissingError where the cluster cannot be reached.
        """
        ray: Any = importlib.import_module("ray")
        self._ray, self._store, self._workers = ray, store, workers
        self._at_work: dict[Any, Job] = {}
        self._seen: dict[str, int] = {}  # samples of each run when last looked at
        self._looked = time.monotonic()
        try:
            ray.init(address=address or None, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, **_local(address))
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise MissingError(f"no Ray cluster can be had at {address or 'this machine'} ({error}); give its --ray-address") from error

    @property
    def busy(self) -> int:
        """Tasks that Ray has."""
        return len(self._at_work)

    def takes(self, job: Job) -> bool:
        """Whether the cluster has room for one more."""
        have = self._ray.cluster_resources()
        return self.busy < (self._workers or int(have.get("GPU" if job.gpu else "CPU", 1)))

    def start(self, job: Job) -> None:
        """Hand it to Ray."""
        large = job.gpu and self._ray.cluster_resources().get("GPU", 0) > 0
        options = {"num_cpus": 1, "num_gpus": 1 if large else 0, "max_retries": 0, "name": job.title}
        remote = self._ray.remote(**options)(task)
        self._at_work[remote.remote(job.to_json(), str(self._store.root.absolute()), self._store.reserve)] = job

    def poll(self, seconds: float) -> list[tuple[Job, Event | None]]:
        """What has become known within that time, job by job; None where the job is over."""
        ready, _ = self._ray.wait(list(self._at_work), num_returns=1, timeout=seconds)
        found: list[tuple[Job, Event | None]] = []
        for reference in ready:
            job = self._at_work.pop(reference)
            found += [(job, event) for event in self._told(reference, job)] + [(job, None)]
        if time.monotonic() - self._looked > LOOK:
            found += [(job, event) for job in self._at_work.values() for event in self._news(job)]
            self._looked = time.monotonic()
        return found

    def close(self) -> None:
        """Stop every task; what was at work can be taken up. A cluster that was started here ends, one that was joined goes on."""
        for reference in self._at_work:
            self._ray.cancel(reference, force=True)
        self._ray.shutdown()

    def _told(self, reference: Any, job: Job) -> list[Event]:
        try:
            return [Event.from_json(line) for line in self._ray.get(reference)]
        except self._ray.exceptions.OutOfMemoryError:
            return died(job.specs, self._store, "memory", "killed by Ray, whose machine was out of memory; use fewer --workers")
        except self._ray.exceptions.RayError as error:
            reason = f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            return died(job.specs, self._store, "killed", f"Ray lost its process ({reason})")

    def _news(self, job: Job) -> list[Event]:
        """How far the runs of a job have come since the last look."""
        found = []
        for spec in job.specs:
            info = self._store.info(spec)
            if info is not None and info.last is not None and info.last.samples > self._seen.get(spec.run_id, 0):
                self._seen[spec.run_id] = info.last.samples
                score = next((r.eval_score for r in reversed(info.records()) if r.eval_score is not None), None)
                found.append(Event("record", spec.run_id, info.last.samples, score, info.last.seconds))
        return found


def _local(address: str) -> dict[str, Any]:
    """How a cluster of this machine's own is started: it imports what we do, and has as many cores as we may use. Machines of another
    cluster have `bench` installed."""
    if address:
        return {}
    variables = {"PYTHONPATH": os.pathsep.join(entry or os.getcwd() for entry in sys.path), "OMP_NUM_THREADS": "1"}
    return {"num_cpus": usable_cores(), "num_gpus": len(gpus()), "runtime_env": {"env_vars": variables}}
