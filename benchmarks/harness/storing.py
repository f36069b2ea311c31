"""Files of results."""

import json
from pathlib import Path
from typing import Any


def write(path: Path, content: Any) -> None:
    """JSON under a temporary name, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def merge(path: Path, rows: list[dict[str, Any]]) -> None:
    """Rows into a file of rows, in the place of those of the same item and metric."""
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    write(path, list({(row["item"], row["metric"]): row for row in [*old, *rows]}.values()))


def without_outputs(record: dict[str, Any]) -> dict[str, Any]:
    """The record as it is stored: times, no solutions."""
    slim = {who: {k: v for k, v in r.items() if k != "outputs"} for who, r in record["contestants"].items()}
    return {**record, "contestants": slim}
