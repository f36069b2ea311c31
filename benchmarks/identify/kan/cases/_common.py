"""What every case asks of a network: its error on points without noise that no fit has seen."""

import numpy as np
from harness.examples import Metric

METRICS = {
    "held-out mean squared error, Adam": Metric(),
    "held-out mean squared error, Levenberg-Marquardt": Metric(),
    "parameters": Metric(),
}


def judge(data, found):
    """Mean squared errors of the fits that there are, and the size of the network."""
    errors = {action: np.mean((arrays["y"] - data["truth"]) ** 2) for action, arrays in found.items()}
    words = dict(zip(("adam", "lm"), METRICS, strict=False))
    size = next(iter(found.values()))["size"]
    return {words[action]: error for action, error in errors.items()} | {"parameters": size}


def one_input(seed):
    """`exp(sin 4πx²)` on [0, 2]: 400 samples with noise of 0.1."""
    rng, f = np.random.default_rng(seed), lambda x: np.exp(np.sin(4 * np.pi * x[:, 0] ** 2))
    x, points = rng.uniform(0, 2, size=(400, 1)), np.linspace(0, 2, 1000)[:, None]
    return _with_noise(0.1, x, f, points, seed, rng)


def two_inputs(seed):
    """`sin(4πx²) sin(6πy²)` on the unit square: 1,000 samples with noise of 0.05."""
    rng = np.random.default_rng(seed)
    f = lambda x: np.sin(4 * np.pi * x[:, 0] ** 2) * np.sin(6 * np.pi * x[:, 1] ** 2)
    x, points = rng.uniform(size=(1000, 2)), rng.uniform(size=(1000, 2))
    return _with_noise(0.05, x, f, points, seed, rng)


def _with_noise(noise, x, f, points, seed, rng):
    """The samples, and the truth at the points of the test."""
    y = f(x) + noise * rng.normal(size=len(x))
    return {"x": x, "y": y, "noise": noise, "points": points, "truth": f(points), "seed": seed}
