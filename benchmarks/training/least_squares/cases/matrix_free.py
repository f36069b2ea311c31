"""Too many of both for a matrix: a network of 10,291 parameters through 20,000 points."""

import numpy as np
from cases import _common
from harness.examples import Metric

METRICS = {**_common.METRICS, "peak memory of the process": Metric(target=4.295, unit="GB")}
judge = _common.judge
SEEDS = (0,)


def instance(seed):
    """A smooth function at random points."""
    x = np.random.default_rng(seed).uniform(-1, 1, size=(20_000, 3))
    return {"x": x, "y": np.sin(3 * x[:, 0]) * np.cos(2 * x[:, 1]) + x[:, 2] ** 2}
