"""verl: the JSON lines of its `file` logger, or the lines of its `console` logger in what a job printed."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from bench.exchange.log import Log, Names, corrupt, text_lines

NAMES = Names(
    library="verl",
    title="verl",
    unit="training steps",
    # Not `actor/pg_clipfrac`, whose denominator has tokens without an advantage.
    probes={
        "actor/entropy": "entropy/token",
        "actor/ppo_kl": "kl_old/k1",
        "actor/grad_norm": "grad/norm",
        "critic/rewards/mean": "reward/mean",
        "critic/vf_explained_var": "value/explained_var",
        "response_length/mean": "len/mean",
        "response_length/max": "len/max",
    },
    trained=("critic/score/mean", "critic/rewards/mean"),
    judged=("val-core/*/acc/mean@*", "val-core/*/reward/mean@*"),
    rate="actor/lr",
)
CONSOLE = re.compile(r"(?:^|\s)step:(\d+) - (.*)$")
PAIR = re.compile(r"(.+):(?:[\w.]+\()?([-+]?(?:\d[\d.]*(?:e[-+]?\d+)?|nan|inf))\)?", re.IGNORECASE)
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
Parsed = tuple[int, dict[str, float]]


def runs(source: Path) -> list[Path]:
    """The logs below a folder, one a run; where the file logger was on, its files alone."""
    if source.is_file():
        return [source]
    lines = [path for path in sorted(source.rglob("*.jsonl")) if _begins(path, r'\s*\{"step":')]
    return lines or [path for kind in ("*.log", "*.txt", "*.out") for path in sorted(source.rglob(kind)) if _begins(path, CONSOLE.pattern)]


def _begins(path: Path, pattern: str) -> bool:
    """Whether a line of the file has the form."""
    with path.open(errors="replace") as file:
        return any(re.search(pattern, COLOUR.sub("", line.rstrip("\n"))) for line in file)


def read(path: Path) -> Log:
    """Raises StoreError for a file that is not one of these, naming it and the line at fault; a last line that was cut is left out."""
    lines, cut = text_lines(path)
    log = Log(path, [path])
    parse = _json if path.suffix == ".jsonl" else _console
    for step, values in parse(path, lines, cut, log.notes):
        for name, value in values.items():
            log.add(name, step, value)
    if not log.series:
        raise corrupt(path, "", "no line of verl's file or console logger in it")
    counts = _counts(log)
    if counts and max(counts) - min(counts) < 0.01 * max(counts):
        log.completions = float(round(sum(counts) / len(counts)))
    steps = dict(log.series.get("perf/time_per_step", []))
    if steps and set(steps) == set(range(1, max(steps) + 1)):
        clock = 0.0
        for step in sorted(steps):
            clock += steps[step]
            log.seconds[step] = clock
    return log


def _json(path: Path, lines: list[str], cut: bool, notes: list[str]) -> Iterator[Parsed]:
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            found = int(entry["step"]), {name: float(v) for name, v in entry["data"].items() if isinstance(v, int | float)}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if cut and number == len(lines):
                notes.append(f"{path} line {number} was cut, and is left out")
                return
            raise corrupt(path, f"line {number}", repr(error)) from error
        yield found


def _console(path: Path, lines: list[str], cut: bool, notes: list[str]) -> Iterator[Parsed]:
    for number, line in enumerate(lines, start=1):
        found = CONSOLE.search(COLOUR.sub("", line))
        if found is None:
            continue
        if cut and number == len(lines):
            notes.append(f"{path} line {number} was cut, and is left out")
            return
        pairs = [PAIR.fullmatch(part.strip()) for part in found[2].split(" - ")]
        if None in pairs:
            raise corrupt(path, f"line {number}", f"no number in {found[2].split(' - ')[pairs.index(None)].strip()[:60]!r}")
        yield int(found[1]), {pair[1]: float(pair[2]) for pair in pairs if pair is not None}


def _counts(log: Log) -> list[float]:
    """Completions of each step: all tokens of the batch over the mean length of a prompt and its answer."""
    total, prompt, response = (
        dict(log.series.get(name, [])) for name in ("perf/total_num_tokens", "prompt_length/mean", "response_length/mean")
    )
    known = [step for step in total if step in prompt and step in response and prompt[step] + response[step] > 0]
    return [total[step] / (prompt[step] + response[step]) for step in known]
