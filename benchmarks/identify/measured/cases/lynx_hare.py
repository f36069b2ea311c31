"""Lynx and hare, 21 years without inputs: the first 16 to train."""

import numpy as np
from sets import folder, Measured


def load() -> Measured:
    """Thousands of pelts."""
    table = np.loadtxt(folder("lynx_hare") / "hudson_bay_data.dat")
    empty = lambda part: np.zeros((len(part), 0))
    train, test = table[:16, 1:], table[16:, 1:]
    return Measured((empty(train), train), {"": (empty(test), test)}, dt=1.0, skip=1)


SETS = {"lynx and hare": load}
