"""The question in numbers: plants from rest or from a disturbed start, inputs within bounds. NumPy only.

    minimise    Σ_k ½ dt (‖x_k - goal‖²_Q + ‖u_k - rest‖²_R)  +  ½ ‖x_N - goal‖²_P
    subject to  x_{k+1} = step(x_k, u_k),   x_0 given,   lower <= u <= upper

Each file in `cases/` gives the dynamics, the weights, the bounds and the box of initial states.
"""

from typing import Any

import numpy as np

CASES = ("lq", "cart_pole", "planar_quadrotor", "quadrotor")
BATCH = 16
SEEDS = (0, 1)  # the second is one that nothing was tuned on
TOLERANCE = 1e-8  # asked of every contestant


def instance(case: Any, seed: int) -> dict[str, np.ndarray]:
    """`x0` `(batch, x)`, uniform about that of the case."""
    rng = np.random.default_rng(seed)
    return {"x0": case.X0 + case.SPREAD * rng.uniform(-1, 1, (BATCH, len(case.X0)))}


def runge_kutta(rates: Any, x: Any, u: Any, dt: float, xp: Any) -> Any:
    """One step of the classical method."""
    k1 = rates(x, u, xp)
    k2 = rates(x + dt / 2 * k1, u, xp)
    k3 = rates(x + dt / 2 * k2, u, xp)
    k4 = rates(x + dt * k3, u, xp)
    return x + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def run(case: Any, x0: np.ndarray, u: np.ndarray, xp: Any) -> np.ndarray:
    """States 0 ... N under inputs, in NumPy."""
    xs = [x0]
    for one in u:
        xs.append(np.asarray(case.step(xs[-1], one, xp)))
    return np.stack(xs)


def start(case: Any) -> np.ndarray:
    """The inputs from which every contestant starts."""
    return np.tile(case.U0, (case.N, 1))


def cost(case: Any, x: np.ndarray, u: np.ndarray) -> float:
    """The objective of one trajectory, states 0 ... N."""
    stage = np.sum(case.Q * (x[:-1] - case.GOAL) ** 2) + np.sum(case.R * (u - case.REST) ** 2)
    return float(0.5 * case.DT * stage + 0.5 * np.sum(case.P * (x[-1] - case.GOAL) ** 2))
