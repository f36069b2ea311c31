"""The outside referee of quadratic programs: residuals of the optimality conditions in float64 NumPy.

minimise ½ z'Qz + q'z  subject to  A z = b,  G z <= h;  multipliers `eq` of `A z - b`, `ineq` of `G z - h`, `ineq >= 0`.
Every array may carry a leading batch axis or not.
"""

import numpy as np

Arrays = dict[str, np.ndarray]


def _times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return np.matmul(np.asarray(matrix, np.float64), np.asarray(vector, np.float64)[..., None])[..., 0]


def _transposed(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    return _times(np.swapaxes(matrix, -1, -2), vector)


def _largest(values: np.ndarray) -> np.ndarray:
    return np.max(np.abs(values), axis=-1, initial=0.0)


def conditions(slope: np.ndarray, equality: np.ndarray, inequality: np.ndarray, multiplier: np.ndarray) -> Arrays:
    """Largest entry of every optimality condition, for each instance; NaN counts as infinite.

    Args:
        slope: gradient of the Lagrangian.
        equality: values that should be zero.
        inequality: values that should not be positive.
        multiplier: of the inequalities.

    Source: Boyd & Vandenberghe (2004), Convex Optimization, section 5.5.3.
    """
    parts = {
        "stationarity": _largest(slope),
        "equality": _largest(equality),
        "inequality": _largest(np.maximum(inequality, 0.0)),
        "sign": _largest(np.minimum(multiplier, 0.0)),
        "complementarity": _largest(multiplier * inequality),
    }
    parts = {name: np.where(np.isfinite(part), part, np.inf) for name, part in parts.items()}
    parts["violation"] = np.maximum(parts["equality"], parts["inequality"])
    parts["largest"] = np.max(np.stack(list(parts.values())), axis=0)
    return parts


def residuals(data: Arrays, z: np.ndarray, eq: np.ndarray, ineq: np.ndarray) -> Arrays:
    """The conditions of a quadratic program."""
    slope = _times(data["Q"], z) + data["q"] + _transposed(data["A"], eq) + _transposed(data["G"], ineq)
    return conditions(slope, _times(data["A"], z) - data["b"], _times(data["G"], z) - data["h"], ineq)


def objective(data: Arrays, z: np.ndarray) -> np.ndarray:
    """½ z'Qz + q'z of each instance."""
    return np.sum(z * (0.5 * _times(data["Q"], z) + data["q"]), axis=-1)


def gradient(data: Arrays, z: np.ndarray, ineq: np.ndarray, weight: np.ndarray) -> Arrays:
    """Derivatives of `weight' z` with respect to `q` and `b` at one solution: the linear system of the active set.

    With the active rows `G_a`, the solution obeys `K [z; ν; λ_a] = [-q; b; h_a]`; `K` is symmetric, so that the
    derivative with respect to the right-hand side is `K⁻¹ [weight; 0; 0]`.

    Source: Amos & Kolter (2017), "OptNet", section 3.1, ICML.
    """
    active = ineq > data["h"] - _times(data["G"], z)
    rows = np.concatenate([data["A"], data["G"][active]])
    n, m = len(z), len(rows)
    system = np.block([[np.asarray(data["Q"], np.float64), rows.T], [rows, np.zeros((m, m))]])
    solved = np.linalg.solve(system, np.concatenate([weight, np.zeros(m)]))
    return {"q": -solved[:n], "b": solved[n : n + len(data["A"])]}
