"""Published optima of Hock & Schittkowski (1981), Test Examples for Nonlinear Programming Codes.

DOI 10.1007/978-3-642-48320-2.

All problems share one compiled program: each is padded to the same shape with entries that are fixed by their bounds,
inequalities that never bind and equalities that are empty, and a `switch` picks the functions.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import RESULTS
from sciml.programs import Program
from sciml.solvers import InteriorPoint, solve
from tests.truth.kkt_referee import referee

N, G, H = 8, 6, 3
INF = float("inf")


class Problem(NamedTuple):
    """One test problem in our signs: `g <= 0`, `h = 0`."""

    x0: list[float]
    optimum: float
    f: Callable
    g: Callable = lambda x: []
    h: Callable = lambda x: []
    lower: list[float] | None = None
    upper: list[float] | None = None


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


PROBLEMS = {
    "HS6": Problem([-1.2, 1.0], 0.0, lambda x: (1 - x[0]) ** 2, h=lambda x: [10 * (x[1] - x[0] ** 2)]),
    "HS7": Problem(
        [2.0, 2.0],
        -(3**0.5),
        lambda x: jnp.log(1 + x[0] ** 2) - x[1],
        h=lambda x: [(1 + x[0] ** 2) ** 2 + x[1] ** 2 - 4],
    ),
    "HS10": Problem(
        [-10.0, 10.0], -1.0, lambda x: x[0] - x[1], lambda x: [3 * x[0] ** 2 - 2 * x[0] * x[1] + x[1] ** 2 - 1]
    ),
    "HS11": Problem([4.9, 0.1], -8.498464223, lambda x: (x[0] - 5) ** 2 + x[1] ** 2 - 25, lambda x: [x[0] ** 2 - x[1]]),
    "HS12": Problem(
        [0.0, 0.0],
        -30.0,
        lambda x: 0.5 * x[0] ** 2 + x[1] ** 2 - x[0] * x[1] - 7 * x[0] - 7 * x[1],
        lambda x: [4 * x[0] ** 2 + x[1] ** 2 - 25],
    ),
    "HS14": Problem(
        [2.0, 2.0],
        9 - 2.875 * 7**0.5,
        lambda x: (x[0] - 2) ** 2 + (x[1] - 1) ** 2,
        lambda x: [x[0] ** 2 / 4 + x[1] ** 2 - 1],
        lambda x: [x[0] - 2 * x[1] + 1],
    ),
    "HS15": Problem([-2.0, 1.0], 306.5, rosenbrock, lambda x: [1 - x[0] * x[1], -x[0] - x[1] ** 2], upper=[0.5, INF]),
    "HS21": Problem(
        [-1.0, -1.0],
        -99.96,
        lambda x: 0.01 * x[0] ** 2 + x[1] ** 2 - 100,
        lambda x: [10 - 10 * x[0] + x[1]],
        lower=[2.0, -50.0],
        upper=[50.0, 50.0],
    ),
    "HS24": Problem(
        [1.0, 0.5],
        -1.0,
        lambda x: ((x[0] - 3) ** 2 - 9) * x[1] ** 3 / (27 * 3**0.5),
        lambda x: [x[1] - x[0] / 3**0.5, -x[0] - 3**0.5 * x[1], x[0] + 3**0.5 * x[1] - 6],
        lower=[0.0, 0.0],
    ),
    "HS26": Problem(
        [-2.6, 2.0, 2.0],
        0.0,
        lambda x: (x[0] - x[1]) ** 2 + (x[1] - x[2]) ** 4,
        h=lambda x: [(1 + x[1] ** 2) * x[0] + x[2] ** 4 - 3],
    ),
    "HS35": Problem(
        [0.5, 0.5, 0.5],
        1 / 9,
        lambda x: (
            9
            - 8 * x[0]
            - 6 * x[1]
            - 4 * x[2]
            + 2 * x[0] ** 2
            + 2 * x[1] ** 2
            + x[2] ** 2
            + 2 * x[0] * x[1]
            + 2 * x[0] * x[2]
        ),  # fmt: skip
        lambda x: [x[0] + x[1] + 2 * x[2] - 3],
        lower=[0.0, 0.0, 0.0],
    ),
    "HS39": Problem(
        [2.0] * 4, -1.0, lambda x: -x[0], h=lambda x: [x[1] - x[0] ** 3 - x[2] ** 2, x[0] ** 2 - x[1] - x[3] ** 2]
    ),
    "HS40": Problem(
        [0.8] * 4,
        -0.25,
        lambda x: -x[0] * x[1] * x[2] * x[3],
        h=lambda x: [x[0] ** 3 + x[1] ** 2 - 1, x[0] ** 2 * x[3] - x[2], x[3] ** 2 - x[1]],
    ),
    "HS42": Problem(
        [1.0] * 4,
        28 - 10 * 2**0.5,
        lambda x: (x[0] - 1) ** 2 + (x[1] - 2) ** 2 + (x[2] - 3) ** 2 + (x[3] - 4) ** 2,
        h=lambda x: [x[0] - 2, x[2] ** 2 + x[3] ** 2 - 2],
    ),
    "HS43": Problem(
        [0.0] * 4,
        -44.0,
        lambda x: x[0] ** 2 + x[1] ** 2 + 2 * x[2] ** 2 + x[3] ** 2 - 5 * x[0] - 5 * x[1] - 21 * x[2] + 7 * x[3],
        lambda x: [
            x[0] ** 2 + x[1] ** 2 + x[2] ** 2 + x[3] ** 2 + x[0] - x[1] + x[2] - x[3] - 8,
            x[0] ** 2 + 2 * x[1] ** 2 + x[2] ** 2 + 2 * x[3] ** 2 - x[0] - x[3] - 10,
            2 * x[0] ** 2 + x[1] ** 2 + x[2] ** 2 + 2 * x[0] - x[1] - x[3] - 5,
        ],
    ),
    "HS71": Problem(
        [1.0, 5.0, 5.0, 1.0],
        17.0140173,
        lambda x: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
        lambda x: [25 - x[0] * x[1] * x[2] * x[3]],
        lambda x: [x[0] ** 2 + x[1] ** 2 + x[2] ** 2 + x[3] ** 2 - 40],
        [1.0] * 4,
        [5.0] * 4,
    ),
    "HS76": Problem(
        [0.5] * 4,
        -4.681818182,
        lambda x: (
            x[0] ** 2
            + 0.5 * x[1] ** 2
            + x[2] ** 2
            + 0.5 * x[3] ** 2
            - x[0] * x[2]
            + x[2] * x[3]
            - x[0]
            - 3 * x[1]
            + x[2]
            - x[3]
        ),  # fmt: skip
        lambda x: [
            x[0] + 2 * x[1] + x[2] + x[3] - 5,
            3 * x[0] + x[1] + 2 * x[2] - x[3] - 4,
            1.5 - x[1] - 4 * x[2],
        ],
        lower=[0.0] * 4,
    ),
    "HS100": Problem(
        [1.0, 2.0, 0.0, 4.0, 0.0, 1.0, 1.0],
        680.6300573,
        lambda x: (
            (x[0] - 10) ** 2
            + 5 * (x[1] - 12) ** 2
            + x[2] ** 4
            + 3 * (x[3] - 11) ** 2
            + 10 * x[4] ** 6
            + 7 * x[5] ** 2
            + x[6] ** 4
            - 4 * x[5] * x[6]
            - 10 * x[5]
            - 8 * x[6]
        ),  # fmt: skip
        lambda x: [
            2 * x[0] ** 2 + 3 * x[1] ** 4 + x[2] + 4 * x[3] ** 2 + 5 * x[4] - 127,
            7 * x[0] + 3 * x[1] + 10 * x[2] ** 2 + x[3] - x[4] - 282,
            23 * x[0] + x[1] ** 2 + 6 * x[5] ** 2 - 8 * x[6] - 196,
            4 * x[0] ** 2 + x[1] ** 2 - 3 * x[0] * x[1] + 2 * x[2] ** 2 + 5 * x[5] - 11 * x[6],
        ],
    ),
    "HS106": Problem(  # badly scaled: entries from 1e2 to 1e4, constraints up to 1e6
        [5000.0, 5000.0, 5000.0, 200.0, 350.0, 150.0, 225.0, 425.0],
        7049.248020529,
        lambda x: x[0] + x[1] + x[2],
        lambda x: [
            0.0025 * (x[3] + x[5]) - 1,
            0.0025 * (x[4] + x[6] - x[3]) - 1,
            0.01 * (x[7] - x[4]) - 1,
            -x[0] * x[5] + 833.33252 * x[3] + 100 * x[0] - 83333.333,
            -x[1] * x[6] + 1250 * x[4] + x[1] * x[3] - 1250 * x[3],
            -x[2] * x[7] + 1250000 + x[2] * x[4] - 2500 * x[4],
        ],
        lower=[100.0, 1000.0, 1000.0] + [10.0] * 5,
        upper=[10000.0] * 3 + [1000.0] * 5,
    ),
}


def padded(values: list, size: int, filler: float):
    return jnp.stack([jnp.asarray(v) for v in values] + [jnp.asarray(filler)] * (size - len(values)))


def limit(name: str, which: str, missing: float) -> np.ndarray:
    problem = PROBLEMS[name]
    given = getattr(problem, which) or [missing] * len(problem.x0)
    return np.array(given + [0.0] * (N - len(given)))


NAMES = list(PROBLEMS)
LOWER = np.stack([limit(name, "lower", -INF) for name in NAMES])
UPPER = np.stack([limit(name, "upper", INF) for name in NAMES])


def choose(k, branches):
    return lambda x: jax.lax.switch(k, branches, x)


@jax.jit
def answer(k, x0):
    """The solution of problem number `k`, by one program for all."""
    every = PROBLEMS.values()
    program = Program(
        lambda x, k: choose(k, [q.f for q in every])(x),
        ineq=lambda x, k: choose(k, [lambda x, q=q: padded(q.g(x), G, -1.0) for q in every])(x),
        eq=lambda x, k: choose(k, [lambda x, q=q: padded(q.h(x), H, 0.0) for q in every])(x),
        lower=lambda k: jnp.asarray(LOWER)[k],
        upper=lambda k: jnp.asarray(UPPER)[k],
    )
    return solve(program, InteriorPoint(), x0, k, throw=False)


@pytest.mark.parametrize("name", NAMES)
def test_published_optimum(name: str):
    problem = PROBLEMS[name]
    n = len(problem.x0)
    solution = answer(NAMES.index(name), jnp.array(problem.x0 + [0.0] * (N - n)))
    assert solution.result == RESULTS.successful
    x = np.asarray(solution.value)[:n]
    # 1e-7: the published optima have ten digits at most.
    assert float(problem.f(x)) == pytest.approx(problem.optimum, rel=1e-7, abs=1e-7)
    assert referee(problem, x, np.asarray(solution.duals.ineq), np.asarray(solution.duals.eq)) <= 1e-6
    assert float(solution.stats.residual.largest) <= 1e-6
    assert int(solution.stats.steps) <= 60
