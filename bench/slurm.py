"""A sweep as a Slurm job array."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import files
from bench.errors import ConfigError
from bench.sweep import jobs as all_jobs
from bench.sweep.jobs import Job

LARGEST = 1000  # indices of an array: Slurm's own default of MaxArraySize allows 1001

SCRIPT = """#!/bin/bash
#SBATCH --job-name=bench-sweep
#SBATCH --array=0-{last_index}
#SBATCH --ntasks=1
#SBATCH --cpus-per-task={cores}
{gpu}#SBATCH --output={logs}/%A_%a.log
#SBATCH --requeue
#
# {count} jobs, one a line of {lines}. What sbatch is told wins over the lines above:
#
#     sbatch --partition=NAME --time=4:00:00 --array=0-{last_index}%20 {script}
#
# A run that is cut off goes on from its checkpoint: give the same line again. What is finished is skipped.
set -euo pipefail

index=${{SLURM_ARRAY_TASK_ID:?run this with sbatch, or set SLURM_ARRAY_TASK_ID}}
export OMP_NUM_THREADS="${{SLURM_CPUS_PER_TASK:-{cores}}}"
exec {python} -m bench sweep \\
    --file {jobs} \\
    --only "$(seq -s, "$index" {width} {last})" \\
    --results {results} --workers 1
"""


def write(script: Path, jobs: Sequence[Job], results: Path) -> str:
    """Write the script, and the jobs with all they need to know in a file beside it; what to do with them.

    Beyond Slurm's usual limit, an index of the array runs several jobs, one after the other. Raises ConfigError where there is nothing to
    run or a path has a line break, StoreError where the files cannot be written.
    """
    if not jobs:
        raise ConfigError("there is nothing to run; give --algo and --task")
    script, results = script.absolute(), results.absolute()
    lines, logs = script.with_name(f"{script.name}.jobs"), script.with_name(f"{script.name}.logs")
    if any(letter in str(path) for path in (script, results) for letter in "\n%"):
        raise ConfigError(f"{script} or {results} has a line break or a %, which Slurm reads otherwise; choose another path")
    width, gpu = min(len(jobs), LARGEST), any(job.gpu for job in jobs)
    text = SCRIPT.format(
        count=len(jobs),
        lines=lines.name,
        script=script.name,
        last_index=width - 1,
        last=len(jobs) - 1,
        width=width,
        cores=8 if gpu else 1,
        gpu="#SBATCH --gpus-per-task=1\n" if gpu else "",
        logs=str(logs).replace(" ", "\\ "),
        python=shlex.quote(sys.executable),
        jobs=shlex.quote(str(lines)),
        results=shlex.quote(str(results)),
    )
    all_jobs.write(lines, jobs)
    with files.guarded(script):
        logs.mkdir(exist_ok=True)
        files.replace(script, text)
        script.chmod(0o755)
    return f"{script} runs {len(jobs)} jobs, listed in {lines.name}: sbatch {shlex.quote(str(script))}"
