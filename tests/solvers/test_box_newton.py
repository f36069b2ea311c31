"""Projected Newton within bounds: against an enumeration of active sets, and how it fails."""

from functools import cache
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import RESULTS
from sciml.programs import Program, QuadraticProgram
from sciml.solvers import BoxNewton, InteriorPointQP, solve

INF, N, LANES = np.inf, 3, 16
NAMES = {int(getattr(RESULTS, name)._value): name for name in RESULTS._name_to_item}
BOXED = QuadraticProgram(lambda p: p[0], lambda p: p[1], lower=lambda p: p[2], upper=lambda p: p[3])


def names(solution) -> list[str]:
    return [NAMES[int(value)] for value in np.atleast_1d(solution.result._value)]


def draw(seed: int, n: int = N):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(n, n))
    return root @ root.T + 0.1 * np.eye(n), 3 * rng.normal(size=n), -rng.uniform(0.1, 1, n), rng.uniform(0.1, 1, n)


def enumerated(Q, q, lower, upper):
    """The only point of all `3ⁿ` active sets that is feasible and has multipliers of the right sign."""
    for at in product((-1, 0, 1), repeat=len(q)):
        at = np.array(at)
        x, free = np.where(at < 0, lower, np.where(at > 0, upper, 0.0)), at == 0
        x[free] = np.linalg.solve(Q[np.ix_(free, free)], -(q + Q[:, ~free] @ x[~free])[free])
        slope = Q @ x + q
        if np.all(x >= lower - 1e-12) and np.all(x <= upper + 1e-12) and np.all((at == 0) | (slope * at <= 1e-12)):
            return x
    raise AssertionError("no active set")


@cache
def batch(solver, dtype=jnp.float64, n: int = N):
    return jax.jit(jax.vmap(lambda p, z0: solve(BOXED, solver, z0, p, throw=False)))


def run(data, dtype=jnp.float64, solver=None, z0=None):
    stacked = tuple(jnp.asarray(np.stack(block), dtype) for block in zip(*data, strict=True))
    start = jnp.zeros_like(stacked[1]) if z0 is None else jnp.asarray(z0, dtype)
    return batch(BoxNewton() if solver is None else solver, dtype)(stacked, start)


@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float64, 1e-8), (jnp.float32, 1e-3)])
def test_every_active_set_agrees(dtype, tol: float):
    """The error is the tolerance, 1e-9 and 1e-5, over the least eigenvalue, which is above 0.1."""
    data = [draw(seed) for seed in range(LANES)]
    solution = run(data, dtype)
    assert solution.value.dtype == dtype and names(solution) == ["successful"] * LANES
    np.testing.assert_allclose(solution.value, [enumerated(*one) for one in data], atol=tol)
    lower, upper = (np.stack([one[k] for one in data]).astype(solution.value.dtype) for k in (2, 3))
    assert np.all((solution.value >= lower) & (solution.value <= upper))  # exactly


def test_agrees_with_the_interior_point_method():
    data = [draw(seed, 10) for seed in range(LANES)]
    ours, other = run(data), run(data, solver=InteriorPointQP())
    for a, b in zip(
        jax.tree.leaves((ours.value, ours.duals)), jax.tree.leaves((other.value, other.duals)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=1e-7)
    assert np.all(ours.stats.steps <= 10)


def with_nan(size):
    return np.where(np.arange(size) == 1, np.nan, 1.0)


EYE, ONES = np.eye(N), np.ones(N)
CASES = {
    "linear": ((0 * EYE, np.array([1.0, -1.0, 0.0]), -ONES, ONES), "successful"),
    "no bounds": ((EYE, ONES, -INF * ONES, INF * ONES), "successful"),
    "fixed": ((EYE, ONES, np.array([0.5, -1.0, -1.0]), np.array([0.5, 1.0, 1.0])), "successful"),
    "flat and bounded": ((np.ones((N, N)), np.array([1.0, 2.0, -1.0]), -ONES, ONES), "successful"),
    "flat on one side": ((np.diag([1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0]), -ONES, INF * ONES), "successful"),
    "flat on the other": ((np.diag([1.0, 0.0, 1.0]), -ONES, -ONES, INF * ONES), "unbounded"),
    "a flat combination": ((np.ones((N, N)), np.array([1.0, -1.0, 0.0]), -INF * ONES, INF * ONES), "unbounded"),
    "not convex": ((np.diag([1.0, -1.0, 1.0]), ONES, -ONES, ONES), "stalled"),
    "a saddle at the start": ((np.diag([1.0, -1.0, 1.0]), 0 * ONES, -ONES, ONES), "stalled"),
    "crossed": ((EYE, ONES, ONES, -ONES), "contradictory_bounds"),
    "bounds at infinity": ((EYE, ONES, INF * ONES, INF * ONES), "contradictory_bounds"),
    "not a number": ((EYE, with_nan(N), -ONES, ONES), "nonfinite_start"),
    "not a bound": ((EYE, ONES, with_nan(N), 2 * ONES), "contradictory_bounds"),
}


@cache
def lanes():
    return run([data for data, _ in CASES.values()])


@pytest.mark.parametrize("name", CASES)
def test_cases_have_names(name: str):
    i, (Q, q, lower, upper), wanted = [*CASES].index(name), *CASES[name]
    assert names(lanes())[i] == wanted
    x = np.asarray(lanes().value[i])
    assert np.all(np.isfinite(x))
    if wanted == "successful":
        assert np.max(np.abs(x - np.clip(x - (Q @ x + q), lower, upper))) <= 1e-8
        assert lanes().stats.residual.largest[i] <= 1e-8


def test_success_is_never_false():
    """Indefinite programs: whatever is called a success is a minimiser, by the curvature over its free entries."""
    data = [(Q - np.eye(N), q, lower, upper) for Q, q, lower, upper in (draw(seed) for seed in range(4 * LANES))]
    z0 = np.random.default_rng(0).uniform(-1, 1, (len(data), N))
    solution = run(data, z0=z0)
    good = [name == "successful" for name in names(solution)]
    assert any(good) and not all(good)
    for (Q, q, lower, upper), x, ok in zip(data, np.asarray(solution.value), good, strict=True):
        if ok:
            slope, free = Q @ x + q, (x > lower) & (x < upper)
            assert np.max(np.abs(x - np.clip(x - slope, lower, upper))) <= 1e-8
            assert np.all(np.linalg.eigvalsh(Q[np.ix_(free, free)]) > -1e-8)


def test_runs_out_of_steps_and_starts_where_it_is_told():
    data = tuple(jnp.asarray(block) for block in draw(3, 10))
    solution = solve(BOXED, BoxNewton(), jnp.zeros(10), data, max_steps=1, throw=False)
    assert names(solution) == ["max_steps_reached"]
    whole = solve(BOXED, BoxNewton(), jnp.zeros(10), data)
    assert int(whole.stats.steps) > 1
    assert int(solve(BOXED, BoxNewton(), whole.value, data).stats.steps) == 1
    assert int(solve(BOXED, BoxNewton(), jnp.zeros(10), data, warm=whole.state).stats.steps) == 1


def test_needs_bounds_only():
    rows = QuadraticProgram(np.eye(2), G=np.eye(2), h=np.ones(2))
    with pytest.raises(ValueError, match="`program`: got 0 equalities and 2 inequalities; expected bounds only"):
        solve(rows, BoxNewton(), jnp.zeros(2))
    with pytest.raises(ValueError, match="`program`: got a program of functions; expected a `QuadraticProgram`"):
        solve(Program(lambda z, p: jnp.sum(z**2)), BoxNewton(), jnp.zeros(2))
