"""CleanRL: TensorBoard event files, the hyperparameters that it writes into them, and a folder called env__experiment__seed__time."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from bench.exchange import tensorboard
from bench.exchange.log import Log, Names

TEXT = "hyperparameters/text_summary"
RETURN, LENGTH, JUDGED = "charts/episodic_return", "charts/episodic_length", "eval/episodic_return"
# Of a run but not of its algorithm: two runs that differ in nothing else are seeds of one entry.
KEEPING = frozenset(
    {"exp_name", "seed", "torch_deterministic", "cuda", "track", "wandb_project_name", "wandb_entity", "capture_video", "save_model"}
    | {"upload_model", "hf_entity", "env_id", "total_timesteps"}
)
NAMES = Names(
    library="cleanrl",
    title="CleanRL",
    unit="environment steps",
    # Not `losses/approx_kl`, `losses/old_approx_kl` and `losses/value_loss`, which are of an update's last minibatch alone, after all
    # others have stepped, nor `losses/clipfrac`, which counts ratios whether or not their gradient is shut.
    probes={
        RETURN: "ep/return",
        LENGTH: "ep/length",
        "losses/entropy": "entropy/token",
        "losses/explained_variance": "value/explained_var",
        "losses/alpha": "temperature",
        JUDGED: "eval/return",
    },
    trained=(RETURN,),
    judged=(JUDGED,),
    returns=frozenset({RETURN, JUDGED}),
    rate="charts/learning_rate",
)
runs = tensorboard.runs


def read(path: Path) -> Log:
    """The same errors as for any event files."""
    log = tensorboard.begun(path)
    held = tensorboard.accumulated(log)
    tensorboard.scalars(held, log)
    given = _hyperparameters(held)
    folder = re.fullmatch(r".+__.+__(\d+)__\d+", path.name if path.is_dir() else path.parent.name)
    seed = given.get("seed", folder[1] if folder else None)
    log.seed = None if seed is None else int(seed)
    log.budget = int(given["total_timesteps"]) if "total_timesteps" in given else None
    log.settings = {name: value for name, value in given.items() if name not in KEEPING}
    _closing_evaluation(log)
    return log


def _hyperparameters(held: Any) -> dict[str, Any]:
    """The table of arguments: numbers, flags and words."""
    if TEXT not in held.Tags()["tensors"]:
        return {}
    text = held.Tensors(TEXT)[0].tensor_proto.string_val[0].decode(errors="replace")
    rows = [line.strip("|").split("|", 1) for line in text.splitlines()[2:] if line.startswith("|")]
    return {row[0]: _value(row[1]) for row in rows if len(row) == 2}


def _value(text: str) -> Any:
    if text in ("True", "False", "None"):
        return {"True": True, "False": False, "None": None}[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _closing_evaluation(log: Log) -> None:
    """With save_model, the episodes evaluated at the end are logged at the steps 0, 1, 2, ...: they are of the last step of training."""
    episodes = log.series.pop(JUDGED, [])
    if not episodes:
        return
    last = max(log.steps(), default=0)
    log.items[last] = tuple(value for _, value in episodes)
    for value in log.items[last]:
        log.add(JUDGED, last, value)
