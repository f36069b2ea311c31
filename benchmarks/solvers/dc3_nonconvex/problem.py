"""The question in numbers: the nonconvex parametric program of DC3, and its test instances. NumPy only.

minimise ½ y'Qy + p'sin(y)  subject to  A y = x,  G y <= h, where only `x` differs between instances; the draws are
those of the convex problem (`../dc3_qp/problem.py`).

Source: Donti, Rolnick & Kolter (2021), "DC3: A learning method for optimization with hard constraints", section 4.2,
ICLR.
"""

import numpy as np
from dc3_qp import problem as convex

TESTED, SEEDS = convex.TESTED, convex.SEEDS
TOLERANCE = 1e-8  # asked of every contestant
OBJECTIVE = {17: -11.592}  # mean value of the tested instances that IPOPT finds, and DC3 publishes (-11.59)

Arrays = dict[str, np.ndarray]


def instance(seed: int, tested: int = TESTED, sequential: int = TESTED, timed: int = TESTED) -> Arrays:
    """`Q` (100,) the diagonal, `p`, `A`, `G`, `h` of all instances; `x` and `start` of each, which satisfies `A y = x`.

    `sequential` and `timed` say how many instances a sequential contestant solves, and how many it repeats.
    """
    data = convex.instance(seed, tested)
    shared = {"Q": np.diag(data["Q"]), "p": data["q"][0], "A": data["A"], "G": data["G"], "h": data["h"]}
    start = data["b"] @ np.linalg.pinv(data["A"]).T
    sequential = min(sequential, tested)
    counts = {"sequential": np.asarray(sequential), "timed": np.asarray(min(timed, sequential))}
    return {**shared, "x": data["b"], "start": start, **counts}


def objective(data: Arrays, y: np.ndarray) -> np.ndarray:
    """Of every instance."""
    return 0.5 * y**2 @ data["Q"] + np.sin(y) @ data["p"]


def slope(data: Arrays, y: np.ndarray, eq: np.ndarray, ineq: np.ndarray) -> np.ndarray:
    """Gradient of the Lagrangian, derived by hand."""
    return data["Q"] * y + data["p"] * np.cos(y) + eq @ data["A"] + ineq @ data["G"]


def values(data: Arrays, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Equalities, `= 0`, and inequalities, `<= 0`."""
    return y @ data["A"].T - data["x"][: len(y)], y @ data["G"].T - data["h"]
