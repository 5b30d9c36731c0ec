"""What a leaderboard that was written beside its runs said of them."""

from __future__ import annotations

import json
from pathlib import Path

from bench.errors import StoreError

NAME = "leaderboard.json"


def hashes(root: Path) -> dict[str, str]:
    """The hash of each row, `board/label`, in the leaderboard that lies in a results folder; nothing where none does.

    Raises StoreError for a file that is not one.
    """
    path = root / NAME
    try:
        held = json.loads(path.read_bytes())
        return {f"{board['board']}/{row['label']}": str(row["hash"]) for board in held["boards"] for row in board["rows"]}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path} cannot be read ({error!r}); `bench leaderboard --write {root}` makes it again") from error
