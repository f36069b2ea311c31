"""Rows of results: one number of ours beside those of the rivals, with what it means and where it comes from."""

import datetime
import math
import platform
import statistics
from collections.abc import Callable
from typing import Any

import numpy as np

from harness import environment

OURS = "sciml"
TIMES = {"cpu_s": "CPU time", "wall_s": "wall time"}
UNITS = {"s": 1.0, "ms": 1e3, "µs": 1e6}  # in a second
QUARTILES = {"": 0.5, ", lower quartile": 0.25, ", upper quartile": 0.75}

Record = dict[str, Any]
Row = dict[str, Any]


def row(item: str, metric: str, values: dict[str, float | None], *, ours: str = OURS, **rest: Any) -> Row:
    """One row of results; `values` by contestant, of which one is ours."""
    rivals = {name: value for name, value in values.items() if name != ours and value is not None}
    start = {"item": item, "metric": metric, "value": values.get(ours), "unit": "1", "target": None, "better": "lower"}
    return {**start, "rivals": rivals, "failures": 0, **rest}


def solved_row(item: str, metric: str, solved: dict[str, float | None], of: int, **rest: Any) -> Row:
    """How many `of` all the instances each contestant solved; those that ours did not are failures."""
    rest = {"target": of, "better": "higher", "failures": of - solved.get(OURS, 0), **rest}
    return row(item, metric, solved, **rest)


def paired(record: Record, above: tuple[str, str], below: tuple[str, str], kind: str = "cpu_s") -> float | None:
    """Median over the repetitions of the ratio of two (contestant, action); None where one of them is missing."""
    series = [record["contestants"].get(who, {}).get(kind, {}).get(action, []) for who, action in (above, below)]
    return ratio(*series)


def ratio(above: list[float], below: list[float]) -> float | None:
    """Median of the ratios of two series; None where one of them is empty."""
    ratios = [a / b for a, b in zip(above, below, strict=False)]
    return statistics.median(ratios) if ratios else None


def quantile_rows(
    item: str,
    words: str,
    record: Record,
    action: str,
    kind: str,
    *,
    unit: str = "ms",
    count: Callable[[str], int] = lambda who: 1,
    quantiles: dict[str, float] = QUARTILES,
) -> list[Row]:
    """Median and quartiles of the times `kind` of an action, by contestant, for each of its `count(who)` instances."""
    series = {who: r[kind][action] for who, r in record["contestants"].items() if r[kind].get(action)}
    series = {who: [time / count(who) for time in times] for who, times in series.items()}
    return series_rows(item, f"{TIMES[kind]} of {words}", series, unit=unit, quantiles=quantiles)


def series_rows(
    item: str, metric: str, series: dict[str, list[float]], *, unit: str, quantiles: dict[str, float] = QUARTILES
) -> list[Row]:
    """Median and quartiles of times in seconds, by contestant."""
    rows = []
    for suffix, share in quantiles.items():
        values = {who: UNITS[unit] * float(np.quantile(times, share)) for who, times in series.items()}
        rows.append(row(item, f"{metric}{suffix}", values, unit=unit))
    return rows


def time_rows(item: str, record: Record, actions: dict[str, str]) -> list[Row]:
    """CPU time with quartiles, wall time and compile time of every action; `actions` maps it to its words."""
    rows = []
    for action, words in actions.items():
        rows += quantile_rows(item, words, record, action, "cpu_s")
        rows += quantile_rows(item, words, record, action, "wall_s", quantiles={"": 0.5})
        compiles = {who: r["compile_s"][action] for who, r in record["contestants"].items() if action in r["compile_s"]}
        rows.append(row(item, f"compile time of {words}", compiles, unit="s"))
    return [r for r in rows if r["value"] is not None or r["rivals"]]


def finite(rows: list[Row]) -> list[Row]:
    """JSON has no infinity: a dash stands for it."""
    keep = lambda value: value if value is None or math.isfinite(value) else None
    return [
        {**r, "value": keep(r["value"]), "rivals": {k: v for k, v in r["rivals"].items() if math.isfinite(v)}}
        for r in rows
    ]


def cpu(threads: str = "1 thread") -> str:
    """This machine's processor, in words."""
    return f"{platform.machine().replace('_', '-')} CPU{', ' * bool(threads)}{threads}"


def origin(versions: dict[str, str], command: str, device: str | None = None) -> Row:
    """Where numbers come from: what every row says besides its own."""
    return {
        "versions": versions,
        "commit": environment.commit(),
        "device": cpu() if device is None else device,
        "date": datetime.date.today().isoformat(),
        "command": command,
    }


def finish(rows: list[Row], record: Record, command: str, device: str | None = None) -> list[Row]:
    """The rows with what they share; a contestant that failed counts in each."""
    common = origin(record["versions"], command, device)
    return [{**r, **common, "failures": r["failures"] + len(record["failures"])} for r in rows]


def show(rows: list[Row]) -> None:
    """Print the rows with a target."""
    for r in rows:
        if r["target"] is not None:
            rivals = ", ".join(f"{name} {value:.4g}" for name, value in r["rivals"].items())
            value = "–" if r["value"] is None else f"{r['value']:.4g}"
            print(f"{r['item']}: {r['metric']}: {value} (target {r['target']:g}; {rivals or 'no rival'})", flush=True)
