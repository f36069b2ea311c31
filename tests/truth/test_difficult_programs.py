"""Programs that break solvers: what is solved must be a solution, what is not must say why.

As in the published set, all cases share one compiled program of three entries, three inequalities and two equalities.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.core import is_successful, RESULTS
from sciml.programs import Program
from sciml.solvers import InteriorPoint, solve
from tests.truth.kkt_referee import referee

N, G, H = 3, 3, 2
INF = float("inf")


class Case(NamedTuple):
    """A program, and the optimum of its objective or the failure to expect (None for any)."""

    x0: list[float]
    expected: float | RESULTS | None
    f: Callable
    g: Callable = lambda x: []
    h: Callable = lambda x: []
    lower: list[float] | None = None
    upper: list[float] | None = None


def rosenbrock(x):
    return 100 * (x[1] - x[0] ** 2) ** 2 + (1 - x[0]) ** 2


def distance(x):
    return (x[0] - 1) ** 2 + (x[1] - 1) ** 2


CASES = {
    # -------------------------------------------------------------------------------------- indefinite Hessians
    "saddle in a box": Case(
        [0.5, 0.1], -1.0, lambda x: x[0] ** 2 - x[1] ** 2, lower=[-1.0, -1.0], upper=[1.0, 1.0]
    ),
    "definite on the null space": Case([5.0, -1.0], -1.0, lambda x: -x[0] * x[1], h=lambda x: [x[0] + x[1] - 2]),
    "concave in a triangle": Case(
        [0.3, 0.2], -2.0, lambda x: -(x[0] ** 2) - 2 * x[1] ** 2, lambda x: [x[0] + x[1] - 1], lower=[0.0, 0.0]
    ),
    "start at a maximum": Case([0.0, 0.0], -1.00100006, lambda x: x[0] ** 4 - 2 * x[0] ** 2 + 1e-3 * x[0] + x[1] ** 2),
    # -------------------------------------------------------------------------------------------- degeneracies
    "dependent linear equalities": Case(
        [3.0, 0.0], 0.5, lambda x: x[0] ** 2 + x[1] ** 2, h=lambda x: [x[0] + x[1] - 1, 2 * x[0] + 2 * x[1] - 2]
    ),
    "dependent nonlinear equalities": Case(
        [1.0, -0.4],
        -(2**0.5),
        lambda x: x[0] + x[1],
        h=lambda x: [x[0] ** 2 + x[1] ** 2 - 1, 3 * (x[0] ** 2 + x[1] ** 2 - 1)],
    ),
    "three active constraints in the plane": Case(
        [0.0, 0.0], 0.5, distance, lambda x: [x[0] + x[1] - 1, x[0] - 0.5, x[0] + 0.5 * x[1] - 0.75]
    ),
    "inequality twice": Case([-3.0, 1.0], 0.5, distance, lambda x: [x[0] + x[1] - 1, x[0] + x[1] - 1]),
    "equality as two inequalities": Case([-3.0, 1.0], 0.5, distance, lambda x: [x[0] + x[1] - 1, 1 - x[0] - x[1]]),
    "weakly active": Case([2.0, 3.0], 0.0, distance, lambda x: [x[0] - 1]),
    "nothing but bounds": Case([9.0, 9.0], 1.0, distance, lower=[2.0, -INF], upper=[INF, INF]),
    "fixed entry": Case([9.0, 9.0], 4.0, distance, lower=[3.0, -INF], upper=[3.0, INF]),
    "every entry fixed": Case([9.0, 9.0], 5.0, distance, lower=[3.0, 2.0], upper=[3.0, 2.0]),
    "free of constraints": Case([-1.2, 1.0], 0.0, rosenbrock),
    "constant objective": Case([4.0, 1.0], 0.0, lambda x: 0.0 * x[0], h=lambda x: [x[0] ** 2 + x[1] - 3]),
    "linear program": Case([1.0, 1.0], -2.0, lambda x: -x[0] - x[1], lambda x: [x[0] + 2 * x[1] - 2], lower=[0.0, 0.0]),
    # Wächter & Biegler (2000), DOI 10.1007/PL00011386: many interior-point methods fail from this start.
    "Wächter-Biegler": Case(
        [-2.0, 3.0, 1.0],
        1.0,
        lambda x: x[0],
        h=lambda x: [x[0] ** 2 - x[1] - 1, x[0] - x[2] - 0.5],
        lower=[-INF, 0.0, 0.0],
    ),
    "badly scaled": Case(
        [1e5, 1.0], 2.0, lambda x: 1e-3 * x[0] + 1e3 * x[1], lambda x: [1 - x[0] * x[1]], lower=[0.0, 0.0]
    ),
    "badly scaled rows": Case(
        [3.0, 2.0], 0.5, distance, lambda x: [1e6 * (x[0] + x[1] - 1)], lambda x: [1e-4 * (x[0] - x[1])]
    ),
    "logarithms": Case(
        [1e-3, 5.0], 2.0, lambda x: x[0] - jnp.log(x[0]) + x[1] - jnp.log(x[1]), lower=[0.0, 0.0]
    ),
    "logarithms without bounds": Case([0.5, 3.0], 2.0, lambda x: x[0] - jnp.log(x[0]) + x[1] - jnp.log(x[1])),
    "cusp": Case(  # HS13: its optimum is no KKT point; claiming one would be wrong, stopping near it is right
        [-2.0, -2.0],
        None,
        lambda x: (x[0] - 2) ** 2 + x[1] ** 2,
        lambda x: [x[1] - (1 - x[0]) ** 3],
        lower=[0.0, 0.0],
    ),
    # ------------------------------------------------------------------------------------------------ failures
    "contradictory inequalities": Case([0.3, 4.0], RESULTS.infeasible, distance, lambda x: [x[0], 1 - x[0]]),
    "contradictory equalities": Case(
        [0.3, 4.0], RESULTS.infeasible, distance, h=lambda x: [x[0] + x[1], x[0] + x[1] - 1]
    ),
    "empty circle": Case([0.3, 4.0], RESULTS.infeasible, distance, h=lambda x: [x[0] ** 2 + x[1] ** 2 + 1]),
    "circle and half-plane apart": Case(
        [0.3, 4.0], RESULTS.infeasible, distance, lambda x: [x[0] ** 2 + x[1] ** 2 - 1, 3 - x[0] - x[1]]
    ),
    "out of the box": Case(
        [0.3, 0.4], RESULTS.infeasible, distance, h=lambda x: [x[0] + x[1] - 5], lower=[0.0, 0.0], upper=[1.0, 1.0]
    ),
    "contradictory bounds": Case(
        [0.3, 0.4], RESULTS.contradictory_bounds, distance, lower=[0.0, 2.0], upper=[1.0, 1.0]
    ),
    "unbounded linear": Case([0.3, 0.4], RESULTS.unbounded, lambda x: x[0] + x[1] ** 2),
    "unbounded cubic": Case([-0.3, 0.4], RESULTS.unbounded, lambda x: x[0] ** 3 + x[1] ** 2, h=lambda x: [x[1] - 1]),
    "unbounded along a ray": Case(
        [1.0, 1.0], RESULTS.unbounded, lambda x: -x[0], lambda x: [x[0] - x[1]], lower=[0.0, 0.0]
    ),
    "logarithm of a negative number": Case([-1.0, 0.4], RESULTS.nonfinite_start, lambda x: jnp.log(x[0]) + x[1] ** 2),
    "constraint infinite at the start": Case([0.0, 0.4], RESULTS.nonfinite_start, distance, lambda x: [1 / x[0]]),
    "a domain of one point": Case(
        [1.0, 0.4], RESULTS.nonfinite_step, lambda x: x[0] + x[1] ** 2 + 1e-30 * jnp.sqrt(1e-30 - (x[0] - 1) ** 2)
    ),
}  # fmt: skip
NAMES = list(CASES)


def padded(values: list, size: int, filler: float):
    return jnp.stack([jnp.asarray(v) for v in values] + [jnp.asarray(filler)] * (size - len(values)))


def limit(name: str, which: str, missing: float) -> np.ndarray:
    case = CASES[name]
    given = getattr(case, which) or [missing] * len(case.x0)
    return np.array(given + [0.0] * (N - len(given)))


LOWER = np.stack([limit(name, "lower", -INF) for name in NAMES])
UPPER = np.stack([limit(name, "upper", INF) for name in NAMES])


def choose(k, x, branches):
    return jax.lax.switch(k, branches, x)


EVERY = list(CASES.values())
PROGRAM = Program(
    lambda x, k: choose(k, x, [lambda x, q=q: jnp.asarray(q.f(x)) for q in EVERY]),
    ineq=lambda x, k: choose(k, x, [lambda x, q=q: padded(q.g(x), G, -1.0) for q in EVERY]),
    eq=lambda x, k: choose(k, x, [lambda x, q=q: padded(q.h(x), H, 0.0) for q in EVERY]),
    lower=lambda k: jnp.asarray(LOWER)[k],
    upper=lambda k: jnp.asarray(UPPER)[k],
)


@jax.jit
def answer(k, x0):
    return solve(PROGRAM, InteriorPoint(), x0, k, throw=False)


def start(name: str) -> jax.Array:
    return jnp.array(CASES[name].x0 + [0.0] * (N - len(CASES[name].x0)))


@pytest.mark.parametrize("name", NAMES)
def test_solution_or_reason(name: str):
    case = CASES[name]
    solution = answer(NAMES.index(name), start(name))
    assert all(np.all(np.isfinite(leaf)) for leaf in (solution.value, solution.duals.ineq, solution.duals.eq))
    if isinstance(case.expected, float):
        assert solution.result == RESULTS.successful
        x = np.asarray(solution.value)[: len(case.x0)]
        # 1e-6: where the optimum is degenerate the multipliers are large, and with them what a violation of 1e-8 gains.
        assert float(case.f(x)) == pytest.approx(case.expected, rel=1e-6, abs=1e-6)
        assert referee(case, x, np.asarray(solution.duals.ineq), np.asarray(solution.duals.eq)) <= 1e-6
        assert int(solution.stats.steps) <= 100
    else:
        assert solution.result != RESULTS.successful if case.expected is None else solution.result == case.expected
        assert not bool(solution.stats.has_derivative)


def test_every_start_in_a_nonconvex_ring_ends_at_a_solution():
    """min (1 - x)² + a (y - x²)² with r/2 <= ‖(x, y)‖ <= r and y <= x, from 500 random starts, judged in NumPy."""
    ring = Program(
        lambda z, p: (1 - z[0]) ** 2 + p[0] * (z[1] - z[0] ** 2) ** 2,
        ineq=lambda z, p: jnp.stack([(p[1] / 2) ** 2 - jnp.sum(z**2), jnp.sum(z**2) - p[1] ** 2, z[1] - z[0]]),
    )
    starts = jr.uniform(jr.key(3), (500, 2), minval=-2.0, maxval=2.0)
    ps = jr.uniform(jr.key(0), (500, 2), minval=0.2, maxval=2.0)
    one = lambda z0, p: solve(ring, InteriorPoint(), z0, p, throw=False)
    solution = jax.jit(jax.vmap(one))(starts, ps)
    assert bool(jnp.all(is_successful(solution.result)))
    (x, y), (a, r), m = np.asarray(solution.value).T, np.asarray(ps).T, np.asarray(solution.duals.ineq).T
    bend = y - x**2
    slope_x = -2 * (1 - x) - 4 * a * x * bend + 2 * x * (m[1] - m[0]) - m[2]
    slope_y = 2 * a * bend + 2 * y * (m[1] - m[0]) + m[2]
    g = np.stack([(r / 2) ** 2 - x**2 - y**2, x**2 + y**2 - r**2, y - x])
    assert max(np.abs([slope_x, slope_y]).max(), g.max(), np.abs(m * g).max(), -m.min()) <= 1e-6
    # A loop in lockstep is as slow as its slowest lane.
    assert int(jnp.max(solution.stats.steps)) <= 80
