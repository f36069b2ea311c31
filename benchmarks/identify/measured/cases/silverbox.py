"""Silverbox: the official splits, scored from sample 50 (Wigren & Schoukens 2013)."""

import numpy as np
from sets import folder, Measured

TRAIN, MULTISINE = slice(40650, 40650 + 65062), slice(40650 + 65062, 127400)
ARROW, INSIDE = slice(100, 40575), slice(100, 32100)


def load() -> Measured:
    """Training record, and three tests, in V."""
    with np.load(folder("silverbox") / "SNLS80mV.npz") as file:
        u, y = (np.asarray(file[name], float).reshape(-1, 1) for name in ("V1", "V2"))
    cut = lambda part: (u[part], y[part])
    tests = {"multisine": cut(MULTISINE), "arrow": cut(ARROW), "arrow, inside": cut(INSIDE)}
    return Measured(cut(TRAIN), tests, dt=2**14 / 1e7, skip=50, steps=12, unit="V")


SETS = {"Silverbox": load}
