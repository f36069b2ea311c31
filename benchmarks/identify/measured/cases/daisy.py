"""Eleven sets of DaISy, the first half to train and the second to test (De Moor, ed., KU Leuven)."""

from functools import partial

import numpy as np
from sets import folder, halves, Measured

# File, columns of the inputs, columns of the outputs, sampling time in seconds (1 where none is stated).
COLUMNS = {
    "dryer": ("dryer.dat", [0], [1], 0.08),
    "exchanger": ("exchanger.dat", [1], [2], 1.0),
    "robot arm": ("robot_arm.dat", [0], [1], 1.0),
    "ball and beam": ("ballbeam.dat", [0], [1], 0.1),
    "winding": ("winding.dat", [0, 1, 2, 3, 4], [5, 6], 0.1),
    "heating system": ("heating_system.dat", [1], [2], 2.0),
    "glass furnace": ("glassfurnace.dat", [1, 2, 3], [4, 5, 6, 7, 8, 9], 1.0),
    "industrial dryer": ("dryer2.dat", [1, 2, 3], [4, 5, 6], 10.0),
    "stirred tank": ("cstr.dat", [1], [2, 3], 6.0),
    "steam generator": ("steamgen.dat.gz", [1, 2, 3, 4], [5, 6, 7, 8], 3.0),
    "pH neutralisation": ("pHdata.dat", [1, 2], [3], 10.0),
}


def load(file: str, inputs: list[int], outputs: list[int], dt: float) -> Measured:
    """One set."""
    table = np.loadtxt(folder("daisy") / file)
    steps = 12 if len(table) * len(outputs) > 20_000 else 40
    return halves(table[:, inputs], table[:, outputs], dt)._replace(steps=steps)


SETS = {name: partial(load, *columns) for name, columns in COLUMNS.items()}
