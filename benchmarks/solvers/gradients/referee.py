"""The outside referee: exact solutions and derivatives of an instance in NumPy, in double precision.

All constraints are linear, so that Newton's method on the equations of the active set needs no multipliers.
Derivatives: (i) the linear system of the active set, its right-hand side by complex steps; (ii) central
differences of solutions.

Source: Fiacco (1983), Introduction to Sensitivity and Stability Analysis, theorem 2.4.4; Squire & Trapp (1998), Using
complex variables to estimate derivatives of real functions, DOI 10.1137/S003614459631241X.
"""

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]
_NEWTON, _TINY, STEP = 12, 1e-30, 1e-6
_SETS = 20  # active sets tried
_SINGULAR = 1e10  # condition number from which active rows count as dependent


def rows(data: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """`C` and `d` of `C z <= d`; those of bounds follow the inequalities."""
    eye = np.eye(len(data["q"]))
    return np.vstack([data["G"], -eye, eye]), np.concatenate([data["h"], -data["lower"], data["upper"]])


def _matrix(data: Arrays, z: np.ndarray, active: np.ndarray) -> np.ndarray:
    C = np.vstack([rows(data)[0][active], data["A"]])
    H = 0.5 * (data["Q"] + data["Q"].T) - np.diag(data["c"] * np.sin(z))
    return np.block([[H, C.T], [C, np.zeros((len(C), len(C)))]])


def _residual(data: Arrays, z: np.ndarray, y: np.ndarray, active: np.ndarray) -> np.ndarray:
    """`∇L`, the active rows and the equalities; `y` are the multipliers of both."""
    C, d = rows(data)
    C, d = np.vstack([C[active], data["A"]]), np.concatenate([d[active], data["b"]])
    slope = 0.5 * (data["Q"] + data["Q"].T) @ z + data["q"] + data["c"] * np.cos(z) + C.T @ y
    return np.concatenate([slope, C @ z - d])


def exact(data: Arrays, z: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Solution, multipliers and margin `min |λ - s|` from the guess `z`.

    The margin is negative if this set is not the active one, and zero if its rows depend on each other.
    """
    y = np.zeros(np.sum(active) + len(data["b"]))
    for _ in range(_NEWTON):
        step = np.linalg.lstsq(_matrix(data, z, active), -_residual(data, z, y, active), rcond=None)[0]
        z, y = z + step[: len(z)], y + step[len(z) :]
    C, d = rows(data)
    slack, multiplier = np.where(active, 0.0, d - C @ z), np.zeros(len(d))
    multiplier[active] = y[: np.sum(active)]
    margin = float(np.min(np.where(active, multiplier, slack), initial=np.inf))
    regular = np.linalg.cond(_matrix(data, z, active)) < _SINGULAR
    return z, y, margin if regular else 0.0


def settled(data: Arrays, z: np.ndarray, active: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """As `exact`, with the active set corrected by the signs of multipliers and slacks until they agree with it.

    So a contestant that guesses a wrong set is judged by the right one, and not left out.
    """
    C, d = rows(data)
    for _ in range(_SETS):
        found, y, margin = exact(data, z, active)
        multiplier = np.zeros(len(d))
        multiplier[active] = y[: np.sum(active)]
        new = np.where(active, multiplier > 0.0, d - C @ found < 0.0)
        if margin >= 0.0 or np.array_equal(new, active):
            return found, y, active, margin
        z, active = found, new
    return found, y, active, 0.0


def tangent(
    arrays: Callable[[Arrays], Arrays], p: Arrays, dp: Arrays, z: np.ndarray, y: np.ndarray, active: np.ndarray
) -> np.ndarray:
    """`dz` along `dp` by the linear system."""
    moved = np.imag(_residual(arrays({name: p[name] + 1j * _TINY * dp[name] for name in p}), z, y, active)) / _TINY
    return np.linalg.solve(_matrix(arrays(p), z, active), -moved)[: len(z)]


def difference(
    arrays: Callable[[Arrays], Arrays], p: Arrays, dp: Arrays, z: np.ndarray, active: np.ndarray
) -> np.ndarray:
    """`dz` along `dp` by central differences of exact solutions."""
    above, below = ({name: p[name] + sign * STEP * dp[name] for name in p} for sign in (1, -1))
    return (exact(arrays(above), z, active)[0] - exact(arrays(below), z, active)[0]) / (2 * STEP)
