"""Coupled electric drives, PRBS: the first half of each record to train, the second to test (Wigren & Schoukens 2017).

Record 1 is the split in use (Mattos et al.); the other two are treated alike.
"""

from functools import partial

import numpy as np
from sets import folder, halves, Measured


def load(index: int) -> Measured:
    """One of the three records."""
    table = np.genfromtxt(folder("coupled_electric_drives") / "DATAPRBS.csv", delimiter=",", skip_header=1)
    return halves(table[:, [index]], table[:, [3 + index]], 0.02)


SETS = {"coupled drives": partial(load, 0)}
