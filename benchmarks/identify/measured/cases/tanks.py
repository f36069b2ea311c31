"""Cascaded tanks with overflow: the official records, scored from sample 50 (Schoukens & Noel 2017)."""

import numpy as np
from sets import folder, Measured


def load() -> Measured:
    """Training and test record."""
    file = folder("cascaded_tanks") / "dataBenchmark.csv"
    table = np.genfromtxt(file, delimiter=",", skip_header=1, usecols=(0, 1, 2, 3))
    train, test = (table[:, [0]], table[:, [2]]), (table[:, [1]], table[:, [3]])
    return Measured(train, {"": test}, dt=4.0, skip=50, unit="V")


SETS = {"cascaded tanks": load}
