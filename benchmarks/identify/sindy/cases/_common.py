"""Integration in NumPy, and the Lorenz records at several levels of noise."""

import numpy as np
from harness.examples import Metric

NOISE = (0.025, 0.05, 0.1, 0.2)
RECORDS = 32
DT = 0.01


def integrate(field, x0, dt, steps, fine=50):
    """Classical Runge-Kutta with `fine` steps per sample."""
    h, x, out = dt / fine, np.array(x0, float), [np.array(x0, float)]
    for _ in range(steps):
        for _ in range(fine):
            k1 = field(x)
            k2 = field(x + h / 2 * k1)
            k3 = field(x + h / 2 * k2)
            k4 = field(x + h * k3)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        out.append(x)
    return np.array(out)


def lorenz(x):
    return np.array([10 * (x[1] - x[0]), x[0] * (28 - x[2]) - x[1], x[0] * x[1] - 8 / 3 * x[2]])


# Rows 1, x, y, z, xx, xy, xz, yy, yz, zz.
LORENZ = np.zeros((10, 3))
LORENZ[[1, 2], 0] = -10, 10
LORENZ[[1, 2, 6], 1] = 28, -1, -1
LORENZ[[3, 5], 2] = -8 / 3, 1


def records(length, seed):
    """Noise is a ratio of the standard deviation of all clean states; seed 1 draws what nothing was tuned on."""
    clean = integrate(lorenz, [-8, 8, 27], DT, round(length / DT))
    draws = [np.random.default_rng(1000 * seed + k).normal(size=clean.shape) for k in range(RECORDS)]
    y = clean + np.array(NOISE)[:, None, None, None] * np.std(clean) * np.array(draws)
    return {"t": DT * np.arange(len(clean)), "y": y.reshape(-1, *clean.shape), "degree": np.array(2)}


def name(ratio):
    return f"records with exactly the true terms of {RECORDS}, {100 * ratio:g} % noise"


def metrics(targets):
    return {name(r): Metric(target=targets.get(r), better="higher") for r in NOISE}


def judge(data, found):
    """How many supports are exact."""
    coefficients = found["identify"]["coefficients"].reshape(len(NOISE), RECORDS, *LORENZ.shape)
    exact = np.all((coefficients != 0) == (LORENZ != 0), axis=(2, 3))
    return {name(r): float(np.sum(row)) for r, row in zip(NOISE, exact, strict=True)}
