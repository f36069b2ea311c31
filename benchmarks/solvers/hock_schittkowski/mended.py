"""Problems that `sif2jax` 0.0.8 states differently from the book, as a verified optimum tells.

HS101 and HS103, which have none, are HS102 with other exponents.

Like those of `sif2jax`: `objective(x, args)` and `constraint(x) -> (zero, nonnegative)`.

Source: Hock & Schittkowski (1981), Test Examples for Nonlinear Programming Codes, Springer, under the same numbers;
LNP (two of the constraints, as equalities) and MOD are variants of CUTEst.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np


class Mended:
    """A problem with some of its parts replaced."""

    args = None

    def __init__(self, y0: Any, bounds: Any, objective: Callable, constraint: Callable):
        self.y0, self.bounds = jnp.asarray(y0, float), bounds
        self.objective, self.constraint = (lambda x, args: objective(x)), constraint


def hs74(source: Any) -> Mended:
    """`sif2jax` has other equalities."""
    angle = 0.55

    def objective(x: Any) -> Any:
        return 3 * x[0] + 1e-6 * x[0] ** 3 + 2 * x[1] + 2e-6 / 3 * x[1] ** 3

    def constraint(x: Any) -> Any:
        wave = lambda angle: 1000 * jnp.sin(angle - 0.25)
        zero = [
            wave(-x[2]) + wave(-x[3]) + 894.8 - x[0],
            wave(x[2]) + wave(x[2] - x[3]) + 894.8 - x[1],
            wave(x[3]) + wave(x[3] - x[2]) + 1294.8,
        ]
        return jnp.stack(zero), jnp.stack([x[3] - x[2] + angle, x[2] - x[3] + angle])

    low, high = np.array([0.0, 0.0, -angle, -angle]), np.array([1200.0, 1200.0, angle, angle])
    return Mended(np.zeros(4), (low, high), objective, constraint)


def hs76(source: Any) -> Mended:
    """`sif2jax` has the second constraint with the other sign."""
    rows = np.array([[-1.0, -2.0, -1.0, -1.0], [-3.0, -1.0, -2.0, 1.0], [0.0, 1.0, 4.0, 0.0]])
    constraint = lambda x: (None, rows @ x + np.array([5.0, 4.0, -1.5]))
    return Mended(source.y0, source.bounds, lambda x: source.objective(x, source.args), constraint)


def hs84(source: Any) -> Mended:
    """`sif2jax` has the constant term with the other sign."""
    objective = lambda x: source.objective(x, source.args) + 2 * 24345.0
    return Mended(source.y0, source.bounds, objective, source.constraint)


def _hs100(x: Any) -> Any:
    polynomial = (x[0] - 10) ** 2 + 5 * (x[1] - 12) ** 2 + x[2] ** 4 + 3 * (x[3] - 11) ** 2 + 10 * x[4] ** 6
    return polynomial + 7 * x[5] ** 2 + x[6] ** 4 - 4 * x[5] * x[6] - 10 * x[5] - 8 * x[6]


def hs100lnp(source: Any) -> Mended:
    """`sif2jax` has another objective and another constraint."""

    def constraint(x: Any) -> Any:
        first = 127 - 2 * x[0] ** 2 - 3 * x[1] ** 4 - x[2] - 4 * x[3] ** 2 - 5 * x[4]
        fourth = -4 * x[0] ** 2 - x[1] ** 2 + 3 * x[0] * x[1] - 2 * x[2] ** 2 - 5 * x[5] + 11 * x[6]
        return jnp.stack([first, fourth]), None

    return Mended(source.y0, None, _hs100, constraint)


def hs100mod(source: Any) -> Mended:
    """`sif2jax` has another objective."""
    return Mended(source.y0, source.bounds, _hs100, source.constraint)


def hs102(source: Any) -> Mended:
    """`sif2jax` has every constraint with the other sign."""
    constraint = lambda x: (None, -source.constraint(x)[1])
    return Mended(source.y0, source.bounds, lambda x: source.objective(x, source.args), constraint)


def hs108(source: Any) -> Mended:
    """`sif2jax` has another constraint."""

    def objective(x: Any) -> Any:
        x1, x2, x3, x4, x5, x6, x7, x8, x9 = x
        return -0.5 * (x1 * x4 - x2 * x3 + x3 * x9 - x5 * x9 + x5 * x8 - x6 * x7)

    def constraint(x: Any) -> Any:
        x1, x2, x3, x4, x5, x6, x7, x8, x9 = x
        disc = lambda a, b: 1 - a**2 - b**2
        discs = [disc(x3, x4), disc(x9, 0.0), disc(x5, x6), disc(x1, x2 - x9), disc(x1 - x5, x2 - x6)]
        discs += [disc(x1 - x7, x2 - x8), disc(x3 - x5, x4 - x6), disc(x3 - x7, x4 - x8), disc(x7, x8 - x9)]
        return None, jnp.stack([*discs, x1 * x4 - x2 * x3, x3 * x9, -x5 * x9, x5 * x8 - x6 * x7])

    low = np.array([-np.inf] * 8 + [0.0])
    return Mended(source.y0, (low, np.full(9, np.inf)), objective, constraint)


MENDED = {
    "HS74": hs74,
    "HS76": hs76,
    "HS76I": hs76,
    "HS84": hs84,
    "HS100LNP": hs100lnp,
    "HS100MOD": hs100mod,
    "HS101": hs102,
    "HS102": hs102,
    "HS103": hs102,
    "HS108": hs108,
}
