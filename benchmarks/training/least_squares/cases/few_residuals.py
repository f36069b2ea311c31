"""Fewer residuals than parameters: a network of 1,981 parameters through 300 points."""

import numpy as np
from cases._common import judge as judge, METRICS as METRICS


def instance(seed):
    """A smooth function at random points."""
    x = np.random.default_rng(seed).uniform(-1, 1, size=(300, 2))
    return {"x": x, "y": np.sin(3 * x[:, 0]) * np.cos(2 * x[:, 1])}
