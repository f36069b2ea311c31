"""The question in numbers: closed loops of predictive control from disturbed states. NumPy only.

In each of `STEPS` steps, from the present state as `x_0`:

    minimise    Σ_k ½ dt (‖x_k - goal‖²_Q + ‖u_k - rest‖²_R)  +  ½ ‖x_N - goal‖²_P
    subject to  x_{k+1} = step(x_k, u_k),   bounds on every input and on the states 1 ... N

and apply the first input. The plant is the model. Each file in `cases/` gives dynamics, weights, bounds and starts.
"""

from typing import Any

import numpy as np

CASES = ("cart_pole", "planar_quadrotor")
N, STEPS = 30, 60
BATCH = 256
LOOPS = 4  # of a contestant that runs one after the other
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
    """States 0 ... under inputs, in NumPy."""
    xs = [x0]
    for one in u:
        xs.append(np.asarray(case.step(xs[-1], one, xp)))
    return np.stack(xs)


def cost(case: Any, x: np.ndarray, u: np.ndarray) -> float:
    """The stage cost along a closed loop."""
    stage = np.sum(case.Q * (x[:-1] - case.GOAL) ** 2) + np.sum(case.R * (u - case.REST) ** 2)
    return float(0.5 * case.DT * stage)
