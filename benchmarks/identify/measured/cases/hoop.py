"""Ball and hoop: trained on the random steps, tested on the fixed ones."""

import numpy as np
from sets import folder, Measured


def load() -> Measured:
    """Two records."""
    from scipy.io import loadmat

    def read(file: str) -> tuple[np.ndarray, np.ndarray]:
        table = loadmat(folder("ball_and_hoop") / file)
        return table["u"].reshape(-1, 1).astype(float), table["y"].reshape(-1, 1).astype(float)

    return Measured(read("randomStepSequence.mat"), {"": read("fixedStepSequence.mat")}, dt=0.1, steps=20)


SETS = {"ball and hoop": load}
