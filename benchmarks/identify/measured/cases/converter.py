"""Buck converter: its training and its test record."""

import numpy as np
from sets import folder, Measured


def load() -> Measured:
    """Two records; columns are time, input, output."""
    read = lambda file: np.genfromtxt(folder("buck_converter") / file, delimiter=",", skip_header=1)
    signals = lambda table: (table[:, [1]], table[:, [2]])
    return Measured(signals(read("buck_id.csv")), {"": signals(read("buck_valid.csv"))}, dt=1e-5, unit="V")


SETS = {"buck converter": load}
