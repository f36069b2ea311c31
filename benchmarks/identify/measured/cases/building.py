"""A heated building, hourly: its temperature from heating power and ambient temperature; the last five days test."""

import csv

import numpy as np
from sets import folder, Measured


def load() -> Measured:
    """One record in two parts."""
    with (folder("building_darkgreybox") / "demo_data.csv").open(encoding="utf-8") as file:
        table = np.array([[float(row[name]) for name in ("Ph", "Ta", "Ti")] for row in csv.DictReader(file)])
    parts = [(part[:, :2], part[:, 2:]) for part in (table[:-120], table[-120:])]
    return Measured(parts[0], {"": parts[1]}, dt=1.0, unit="K")


SETS = {"building": load}
