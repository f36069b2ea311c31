"""A propeller on a hinged arm in closed loop: trained on steps, tested on a multisine."""

import numpy as np
from sets import folder, Measured


def load() -> Measured:
    """Two records; columns are time, reference, angle, control."""
    read = lambda file: np.genfromtxt(folder("quarter_drone") / file, delimiter=",", skip_header=1)
    train, test = read("sinal2_degraus_malha_fechada.csv"), read("sinal4_multiseno_malha_fechada.csv")
    signals = lambda table: (table[:, [3]], table[:, [2]])
    return Measured(signals(train), {"": signals(test)}, dt=0.01, steps=20, unit="deg")


SETS = {"quarter drone": load}
