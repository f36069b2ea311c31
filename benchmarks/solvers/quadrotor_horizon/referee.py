"""The outside referee: optimality conditions in float64 NumPy, with derivatives of the dynamics by complex steps.

Source: Squire & Trapp (1998), Using complex variables to estimate derivatives of real functions,
DOI 10.1137/S003614459631241X: the derivative is exact to rounding.
"""

from types import SimpleNamespace

import numpy as np
import problem

NUMPY = SimpleNamespace(
    sin=np.sin, cos=np.cos, stack=lambda v: np.stack(v, -1), parts=lambda v: list(np.moveaxis(v, -1, 0))
)
_SMALL = 1e-30


def objective(data: dict[str, np.ndarray], i: int, x: np.ndarray, u: np.ndarray) -> float:
    """The cost of instance `i` with states 1 ... N and inputs 0 ... N-1."""
    error = np.concatenate([data["x0"][i][None], x]) - data["reference"]
    running = np.sum(problem.Q * error[:-1] ** 2) + np.sum(problem.R * (u - problem.HOVER) ** 2)
    return float(0.5 * problem.DT * running + 0.5 * np.sum(problem.P * error[-1] ** 2))


def _adjoint(x: np.ndarray, u: np.ndarray, nu: np.ndarray) -> np.ndarray:
    """`(∂step/∂(x, u))ᵀ ν` at every stage, `(N, 16)`."""
    found = np.empty((len(x), problem.NX + problem.NU))
    for j in range(found.shape[1]):
        moved = np.concatenate([x, u], axis=1).astype(complex)
        moved[:, j] += 1j * _SMALL
        slope = problem.step(moved[:, : problem.NX], moved[:, problem.NX :], NUMPY).imag / _SMALL
        found[:, j] = np.sum(slope * nu, axis=1)
    return found


def residuals(data: dict[str, np.ndarray], i: int, x: np.ndarray, u: np.ndarray, nu: np.ndarray) -> dict[str, float]:
    """Largest entry of every optimality condition of instance `i`; NaN counts as infinite.

    Multipliers of bounds are those that explain the slope best: its positive part at a lower bound, its negative part
    at an upper one. Complementarity is their product with the distance.

    Args:
        data: the instances.
        i: which of them.
        x: states 1 ... N.
        u: inputs 0 ... N-1.
        nu: multipliers of `x_{k+1} - step(x_k, u_k)`.
    """
    with np.errstate(invalid="ignore"):
        parts = _parts(data, i, x, u, nu)
    parts = {name: float(part) if np.isfinite(part) else np.inf for name, part in parts.items()}
    return {**parts, "largest": max(parts.values())}


def _parts(data: dict[str, np.ndarray], i: int, x: np.ndarray, u: np.ndarray, nu: np.ndarray) -> dict[str, float]:
    before = np.concatenate([data["x0"][i][None], x[:-1]])
    defects = x - problem.step(before, u, NUMPY)
    pulled = _adjoint(before, u, nu)
    slope_x = problem.DT * problem.Q * (x - data["reference"][1:])
    slope_x[-1] = problem.P * (x[-1] - data["reference"][-1])
    slope_x += nu
    slope_x[:-1] -= pulled[1:, : problem.NX]
    slope_u = problem.DT * problem.R * (u - problem.HOVER) - pulled[:, problem.NX :]
    value = np.concatenate([x, u], axis=1)
    slope = np.concatenate([slope_x, slope_u], axis=1)
    lower = np.concatenate([problem.X_LOWER, np.zeros(problem.NU)])
    upper = np.concatenate([problem.X_UPPER, np.full(problem.NU, problem.MOST_THRUST)])
    below, above = np.maximum(slope, 0.0), np.maximum(-slope, 0.0)
    at_lower = np.where(np.isfinite(lower), below * np.abs(value - lower), below)
    at_upper = np.where(np.isfinite(upper), above * np.abs(upper - value), above)
    return {
        "defect": np.max(np.abs(defects)),
        "bounds": np.max(np.maximum(np.maximum(lower - value, value - upper), 0.0)),
        "stationarity and complementarity": np.max(np.maximum(at_lower, at_upper)),
    }
