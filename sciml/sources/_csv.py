"""Measured records from CSV files, with checks."""

import csv
import math
from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from jax.typing import ArrayLike

from sciml.core import invalid

Rows = list[tuple[int, list[str]]]  # line number in the file, cells


def read_csv(
    path: str | PathLike[str],
    columns: Sequence[str],
    *,
    optional: Sequence[str] = (),
    scalars: Sequence[str] = (),
    gaps: Sequence[str] = (),
    min_length: int = 1,
) -> dict[str, np.ndarray]:
    """The named columns of a comma-separated file as float64 arrays of one length, on the host.

    The first line names the columns (quotes are legal). Columns without a name and columns not asked for are ignored,
    as are empty lines at the end.

    Args:
        path: the file, UTF-8.
        columns: names of the columns that must be there.
        optional: names of further columns, read if they are there.
        scalars: names of columns that hold one value for the whole record, in the first row alone or repeated in every
            row, such as a sampling time.
        gaps: names of columns, among the others, in which samples may be missing: an empty cell or `nan`.
        min_length: least number of samples, >= 1.

    Returns:
        A dictionary from name to array: shape `(samples,)` for columns, `()` for scalars. Missing samples are NaN.

    Raises:
        ValueError: no such file, an empty file, a column that is missing or there twice, text or a number that is not
            finite (line and column are named), an empty cell between others, columns of unequal lengths, a
            scalar that changes, or fewer than `min_length` samples.
    """
    path = Path(path)
    header, rows = _read(path)
    _check_header(path, header, [*columns, *scalars], [*columns, *scalars, *optional])
    present = [*columns, *(name for name in optional if name in header)]
    record = {name: _series(path, name, header.index(name), rows, name in gaps) for name in present}
    _check_lengths(path, {name: len(values) for name, values in record.items()}, min_length)
    record |= {name: _scalar(path, name, header.index(name), rows) for name in scalars}
    return record


def sampling_time(values: ArrayLike, *, rtol: float = 1e-3) -> float:
    """The constant time between two samples.

    Args:
        values: the sampling time itself (a single number), or the times of all samples, increasing.
        rtol: largest deviation of a step from the mean step, relative to it; the default allows for times that are
            written with few digits.

    Returns:
        The sampling time, > 0, in the unit of `values`.

    Raises:
        ValueError: steps that differ, a time that is not positive and finite, or fewer than two times.
    """
    times = np.asarray(values, dtype=float)
    if times.ndim > 1 or times.size == 0 or (times.ndim == 1 and times.size < 2):
        raise invalid(
            "values", f"an array of shape {times.shape}", "one number, or two times or more", "pass one column"
        )
    steps = np.diff(times) if times.ndim == 1 else times[None]
    mean = float(np.mean(steps))
    if not np.all(np.isfinite(steps)) or not np.all(steps > 0):
        worst = int(np.argmin(np.where(np.isfinite(steps), steps, -np.inf)))
        raise invalid("values", f"a step of {steps[worst]} at sample {worst}", "steps > 0", "sort the record by time")
    worst = int(np.argmax(np.abs(steps - mean)))
    if abs(steps[worst] - mean) > rtol * mean:
        raise invalid(
            "values",
            f"non-constant sampling: a step of {steps[worst]:.6g} at sample {worst}, {mean:.6g} on average",
            f"steps equal to {rtol:g} relative",
            "resample the record at a constant rate, or raise `rtol`",
        )
    return mean


def _read(path: Path) -> tuple[list[str], Rows]:
    """The header and the rows below it, without empty rows at the end."""
    if not path.is_file():
        raise invalid("path", f"{path}, which is not a file", "a CSV file", "check the name and the folder")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise invalid("path", f"{path}: {error}", "a text file in UTF-8", "export the record as CSV") from error
    while rows and not any(rows[-1][1]):
        rows.pop()
    if not rows:
        raise invalid("path", f"{path}, which is empty", "a header and samples", "export the record again")
    (_, header), *body = rows
    for line, cells in body:
        if any(cells[len(header) :]):
            raise invalid(
                "path",
                f"{len(cells)} cells in line {line} of {path.name}",
                f"{len(header)} as in the header",
                "quote cells that hold a comma, and write numbers with a decimal point",
            )
    return header, body


def _check_header(path: Path, header: list[str], needed: list[str], wanted: list[str]) -> None:
    missing = [name for name in needed if name not in header]
    if missing:
        raise invalid(
            "path",
            f"columns {[name for name in header if name]} in {path.name}, without {missing}",
            f"columns {needed}",
            "rename the columns in the first line, and separate them by commas",
        )
    repeated = sorted({name for name in wanted if header.count(name) > 1})
    if repeated:
        raise invalid("path", f"columns {repeated} twice in {path.name}", "each name once", "rename one of them")


def _series(path: Path, name: str, column: int, rows: Rows, has_gaps: bool) -> np.ndarray:
    """All numbers of a column, down to its last filled cell; of one with gaps, one for every row."""
    cells = [(line, row[column] if column < len(row) else "") for line, row in rows]
    if has_gaps:
        return np.array(
            [math.nan if cell.lower() in ("", "nan") else _number(path, name, n, cell) for n, cell in cells]
        )
    while cells and not cells[-1][1]:
        cells.pop()
    return np.array([_number(path, name, line, cell) for line, cell in cells])


def _scalar(path: Path, name: str, column: int, rows: Rows) -> np.ndarray:
    cells = [(line, row[column]) for line, row in rows if column < len(row) and row[column]]
    values = [_number(path, name, line, cell) for line, cell in cells]
    if not values or any(value != values[0] for value in values):
        distinct = sorted(set(values))
        got = f"values from {distinct[0]} to {distinct[-1]}" if distinct else "no value"
        raise invalid(
            "path",
            f"{got} in column {name!r} of {path.name}",
            "one value for the whole record",
            "resample the record if this is its sampling time; write the value in the first row",
        )
    return np.array(values[0])


def _number(path: Path, name: str, line: int, cell: str) -> float:
    where = f"in column {name!r}, line {line} of {path.name}"
    try:
        value = float(cell.replace("_", " "))  # Python would read 1_0 as 10
    except ValueError:
        got = f"the text {cell!r} {where}" if cell else f"an empty cell {where}"
        raise invalid("path", got, "a number", "correct the cell, or cut the record there") from None
    if not math.isfinite(value):
        raise invalid("path", f"{cell} {where}", "a finite number", "interpolate the gap, or cut the record there")
    return value


def _check_lengths(path: Path, lengths: dict[str, int], min_length: int) -> None:
    if len(set(lengths.values())) > 1:
        raise invalid(
            "path",
            f"columns of unequal lengths {lengths} in {path.name}",
            "one length",
            "cut the longer ones, or declare columns with a single value as `scalars`",
        )
    shortest = min(lengths.values(), default=0)
    if lengths and shortest < max(min_length, 1):
        raise invalid(
            "path", f"{shortest} samples in {path.name}", f"at least {max(min_length, 1)}", "use a longer record"
        )
