"""Sets a value in the text of a TOML file and leaves all else as it stands, comments included."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

from bench.errors import ConfigError

MARK = "# tuned: "


def put(text: str, table: tuple[str, ...], key: str, value: Any, why: str) -> str:
    """The text with `key = value` in the table, below a comment that says why; a comment that an earlier call put there is replaced.

    Raises ConfigError where the file is written so that a line cannot be exchanged, as with a table inside braces.
    """
    lines, header = text.splitlines(), f"[{'.'.join(table)}]"
    new = [f"{MARK}{why}", f"{key} = {written(value)}"]
    start = next((i for i, line in enumerate(lines) if _header(line) == header), None)
    if start is None:
        place = _after(lines, table[:-1])
        lines[place:place] = ["", header, *new] if place else [header, *new]
    else:
        end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
        at = next((i for i in range(start + 1, end) if re.match(rf"\s*{re.escape(key)}\s*=", lines[i])), None)
        if at is None:
            lines[start + 1 : start + 1] = new
        else:
            first = at - 1 if lines[at - 1].startswith(MARK) else at
            lines[first : at + 1] = new
    result = "\n".join(lines) + "\n"
    _check(text, result, table, key, value)
    return result


def written(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, float):
        short = f"{value:g}"
        return _dotted(short if float(short) == value else repr(value))
    return json.dumps(value)


def _dotted(number: str) -> str:
    """0.0001 and 1e-05 are floats in TOML; 1 would be an integer."""
    return re.sub(r"e([-+])0*", r"e\1", number) if "e" in number or "." in number else f"{number}.0"


def _header(line: str) -> str:
    """`[a.b]` of a line that is a table's header, without comment and spaces; empty for others."""
    found = re.match(r"\s*\[\s*([\w.-]+)\s*\]\s*(#.*)?$", line)
    return f"[{found[1]}]" if found else ""


def _after(lines: list[str], parent: tuple[str, ...]) -> int:
    """Where a table's new child goes: after its last line, or at the end of the file."""
    start = next((i for i, line in enumerate(lines) if _header(line) == f"[{'.'.join(parent)}]"), None)
    if start is None:
        return len(lines)
    end = next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith("#")):
        end -= 1  # a comment before the next header is that one's
    return end


def _check(before: str, after: str, table: tuple[str, ...], key: str, value: Any) -> None:
    """Raises ConfigError unless the value is set and nothing else has changed."""
    remedy = f"set {key} = {written(value)} under [{'.'.join(table)}] by hand"
    try:
        wanted, found = tomllib.loads(before), tomllib.loads(after)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"the recipe cannot be edited line by line ({error}); {remedy}") from error
    at = wanted
    for name in table:
        at = at.setdefault(name, {})
    at[key] = list(value) if isinstance(value, tuple) else value
    if wanted != found:
        raise ConfigError(f"the recipe cannot be edited line by line; {remedy}")
