"""Thomas's attractor without noise, as in NeuroMANCER's example: 1,000 samples at 0.1; sines, cosines, one, states."""

import numpy as np
from cases._common import integrate
from harness.examples import Metric

METRICS = {"largest error of a coefficient": Metric(target=1e-6), "terms too many or missing": Metric(target=0)}
TRUE = np.zeros((10, 3))
TRUE[[1, 2, 0], [0, 1, 2]] = 1.0
TRUE[[7, 8, 9], [0, 1, 2]] = -0.208186


def instance(seed):
    x0 = [1.0, -1.0, 1.0] if seed == 0 else np.random.default_rng(seed).uniform(-2, 2, 3)
    x = integrate(lambda x: np.sin(np.roll(x, -1)) - 0.208186 * x, x0, 0.1, 999)
    return {"t": 0.1 * np.arange(1000), "y": x[None], "degree": np.array(1)}


def judge(data, found):
    """Errors of coefficients and of their support."""
    (c,) = found["identify"]["coefficients"]
    wrong = np.sum((c != 0) != (TRUE != 0))
    return {"largest error of a coefficient": np.max(np.abs(c - TRUE)), "terms too many or missing": wrong}
