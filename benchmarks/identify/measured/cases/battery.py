"""A Li-ion cell under pulses: voltage from current; trained at 90 to 50 % of charge, tested at 40 to 10 %."""

import csv
import gzip
import io

import numpy as np
from sets import folder, Measured

DT = 10.0  # s; the pulses last 10 and 30 s
FROM, BETWEEN, TO = 20_200.0, 44_000.0, 58_960.0  # s; before the pulses at 90 % and at 40 %, and the end


def load() -> Measured:
    """The record on an even grid: mean current of each interval, voltage at its beginning."""
    file = folder("nissan_leaf_cell") / "NissanLeaf-cell-Low-Current-HPPC-25C-2.csv.gz"
    with gzip.open(file) as raw:
        rows = list(csv.reader(io.TextIOWrapper(raw, encoding="utf-8")))[1:]
    t, current, voltage = np.array([[float(row[k]) for k in (1, 8, 9)] for row in rows]).T
    charge = np.concatenate([[0.0], np.cumsum(current[1:] * np.diff(t))])  # every row ends its interval
    parts = []
    for start, end in ((FROM, BETWEEN), (BETWEEN, TO)):
        grid = np.arange(start, end, DT)
        mean = np.diff(np.interp(np.append(grid, grid[-1] + DT), t, charge)) / DT
        parts.append((mean[:, None], np.interp(grid, t, voltage)[:, None]))
    return Measured(parts[0], {"": parts[1]}, dt=DT, unit="V")


SETS = {"battery": load}
