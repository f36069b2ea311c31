"""The question in numbers: the Rosenbrock function on half an annulus, with two parameters. NumPy only.

minimise (1 - x)² + a (y - x²)²  subject to  (p/2)² <= x² + y² <= p²,  y <= x;  a ~ U[0.2, 1.2], p ~ U[0.5, 2].

Source: NeuroMANCER (Pacific Northwest National Laboratory), tutorial "Part 1: basics" of its parametric programming,
version 1.5.6; the same ranges.
"""

import numpy as np

INSTANCES = 10_000
SEEDS = (0, 1)
START = (1.0, 0.0)  # for everyone; at the origin the inner circle has no gradient
TOLERANCE = 1e-8  # asked of every contestant
SAME = 1e-3  # distance of two decisions that count as the same optimum: where y <= x binds weakly, 1e-8 leaves 1e-4

Arrays = dict[str, np.ndarray]


def instance(seed: int, count: int = INSTANCES, timed: int = INSTANCES) -> Arrays:
    """`a` (count,) and `p` (count,), and how many of them a sequential contestant repeats for its times."""
    rng = np.random.default_rng(seed)
    data = {"a": rng.uniform(0.2, 1.2, count), "p": rng.uniform(0.5, 2.0, count)}
    return {**data, "timed": np.asarray(min(timed, count))}


def objective(data: Arrays, z: np.ndarray) -> np.ndarray:
    """Of every instance."""
    x, y = z[:, 0], z[:, 1]
    return (1 - x) ** 2 + data["a"] * (y - x**2) ** 2


def constraints(data: Arrays, z: np.ndarray) -> np.ndarray:
    """Inner circle, outer circle and order, `<= 0`."""
    x, y = z[:, 0], z[:, 1]
    radius = x**2 + y**2
    return np.stack([(data["p"] / 2) ** 2 - radius, radius - data["p"] ** 2, y - x], axis=1)


def slope(data: Arrays, z: np.ndarray, ineq: np.ndarray) -> np.ndarray:
    """Gradient of the Lagrangian, derived by hand."""
    x, y = z[:, 0], z[:, 1]
    bend, circles = data["a"] * (y - x**2), ineq[:, 1] - ineq[:, 0]
    return np.stack([-2 * (1 - x) - 4 * bend * x, 2 * bend], axis=1) + np.stack(
        [2 * circles * x - ineq[:, 2], 2 * circles * y + ineq[:, 2]], axis=1
    )
