"""What a run on text came to, as a model again."""

from __future__ import annotations

from pathlib import Path

from bench.checkpoint import Checkpoint
from bench.config import RunSpec
from bench.errors import ConfigError, StoreError
from bench.eval_plan import trained_run
from bench.policy import Policy
from bench.run import start_policy


def trained_policy(spec: RunSpec, checkpoint: Checkpoint | None) -> Policy:
    """The model a specification starts from, with the weights of a checkpoint where there is one; value heads are left out.

    Raises what loading the start model raises, StoreError for a checkpoint of another model.
    """
    policy = start_policy(spec)
    if checkpoint is not None:
        held = checkpoint.tensors("model")
        policy.restore({name: tensor for name, tensor in held.items() if not name.startswith("value_head.")})
    return policy


def save(run: Path, out: Path) -> int:
    """Writes the newest weights of a run, adapters merged, as a checkpoint that transformers reads; returns the step they are of.

    Raises ConfigError for what is no run on text, MissingError for one without a checkpoint, StoreError for a folder that holds something
    or cannot be written.
    """
    found = trained_run(str(run))
    if found is None:
        raise ConfigError(f"{run} is no run's folder; `bench ls runs` lists them")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise StoreError(f"{out} is there and holds something; choose another folder")
    policy = trained_policy(*found)
    try:
        policy.save(out)
    except OSError as error:
        raise StoreError(f"{out} cannot be written ({error.strerror or error}); choose another folder") from error
    return found[1].step
