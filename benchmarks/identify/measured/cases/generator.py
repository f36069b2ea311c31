"""Electromechanical generator: every 500th sample, the first half to train."""

import numpy as np
from sets import folder, halves, Measured


def load() -> Measured:
    """The thinned record, in its own units."""
    with np.load(folder("electromechanical_generator") / "generator.npz") as file:
        u, y = (np.asarray(file[name], float).ravel()[::500, None] for name in ("x", "y"))
    return halves(u, y, 1.0)


SETS = {"generator": load}
