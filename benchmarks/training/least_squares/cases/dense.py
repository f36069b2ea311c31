"""Residuals that mix all data: a recurrent network of 88 parameters in free run over 2,000 samples."""

import numpy as np
from cases._common import judge as judge, METRICS as METRICS


def instance(seed):
    """A second-order plant under a random switching input."""
    rng = np.random.default_rng(seed)
    u = np.repeat(rng.choice([-1.0, 1.0], size=200), 10)
    y, x = np.zeros(2000), np.zeros(2)
    for k in range(2000):
        y[k] = x[0]
        x = np.array([x[0] + 0.1 * x[1], x[1] + 0.1 * (u[k] - 2 * np.sin(x[0]) - 0.6 * x[1])])
    return {"u": u, "y": y}
