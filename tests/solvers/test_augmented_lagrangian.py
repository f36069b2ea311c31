"""The augmented Lagrangian: known answers, degenerate programs, reasons of failure, and no matrix anywhere."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from sciml.core import RESULTS
from sciml.programs import flatten, Program
from sciml.solvers import AugmentedLagrangian, NewtonPolish, ProjectedNewton, solve

INF = np.inf
NAMES = {int(getattr(RESULTS, name)._value): name for name in RESULTS._name_to_item}


class Case(NamedTuple):
    """A program in two variables by coefficients of `1, x, y, x², xy, y²`, and the optimum or the failure to expect."""

    start: list[float]
    expected: float | str
    f: list[float]
    g: list[list[float]] = [[-1, 0, 0, 0, 0, 0], [-1, 0, 0, 0, 0, 0]]
    h: list[list[float]] = [[0] * 6, [0] * 6]
    lower: float = -9.0
    upper: float = 9.0
    log: float = 0.0
    """Factor of `log(y)` in the objective."""
    root: float = 0.0
    """Factor of `√(1e-30 - (x - 1)²)` in the objective."""


DISTANCE, NEVER = [2.0, -2, -2, 1, 0, 1], [-1.0, 0, 0, 0, 0, 0]  # to (1, 1), squared
CIRCLE, LINE = [-1.0, 0, 0, 1, 0, 1], [-1.0, 1, 1, 0, 0, 0]
CASES = {
    "on a circle": Case([0.1, 0.3], -(2**0.5), [0, -1, -1, 0, 0, 0], [CIRCLE, NEVER]),
    "inequality twice": Case([-3.0, 1.0], 0.5, DISTANCE, [LINE, LINE]),
    "equality twice": Case([1.0, -0.4], -(2**0.5), [0, 1, 1, 0, 0, 0], h=[CIRCLE, [3 * c for c in CIRCLE]]),
    # z >= 0 and z_0 z_1 <= 0: nowhere do the active gradients admit a strictly feasible direction.
    "complementarity": Case([0.6, 0.3], 1.0, DISTANCE, [[0, 0, 0, 0, 1, 0], NEVER], lower=0.0),
    "contradiction": Case([0.3, 4.0], "infeasible", DISTANCE, [CIRCLE, [3, -1, -1, 0, 0, 0]]),
    "contradictory bounds": Case([0.3, 4.0], "contradictory_bounds", DISTANCE, lower=99.0),
    "ray": Case([1.0, 1.0], "unbounded", [0, -1, 0, 0, 0, 0], [[0, 1, -1, 0, 0, 0], NEVER], lower=0.0, upper=INF),
    "logarithm": Case([0.1, -0.3], "nonfinite_start", [0, 1, 0, 0, 0, 0], log=1.0),
    "a domain of one point": Case([1.0, 0.4], "nonfinite_step", [0, 1, 0, 0, 0, 1], root=1e-30),
}
DATA = Case(*(np.array(leaf, float) if i != 1 else None for i, leaf in enumerate(zip(*CASES.values(), strict=True))))


def polynomial(coefficients, z):
    x, y = z
    return coefficients @ jnp.stack([jnp.ones_like(x), x, y, x**2, x * y, y**2])


def objective(z, p):
    log = p.log * jnp.log(jnp.where(p.log > 0, z[1], 1.0))
    root = p.root * jnp.sqrt(jnp.where(p.root > 0, 1e-30 - (z[0] - 1) ** 2, 1.0))
    return polynomial(p.f, z) + log + root


EVERY = Program(
    objective,
    ineq=lambda z, p: polynomial(p.g, z),
    eq=lambda z, p: polynomial(p.h, z),
    lower=lambda p: p.lower + jnp.zeros(2),
    upper=lambda p: p.upper + jnp.zeros(2),
)


@pytest.fixture(scope="module")
def batch():
    one = lambda p: solve(EVERY, AugmentedLagrangian(), p.start, p, throw=False)
    return jax.jit(jax.vmap(one))(jax.tree.map(jnp.asarray, DATA))


@pytest.mark.parametrize("name", CASES)
def test_solution_or_reason_side_by_side(name: str, batch):
    i, case = list(CASES).index(name), CASES[name]
    outcome = NAMES[int(batch.result._value[i])]
    assert np.all(np.isfinite(batch.value[i])) and np.all(np.isfinite(batch.duals.ineq[i]))
    if isinstance(case.expected, str):
        assert outcome == case.expected
    else:
        assert outcome == "successful"
        assert float(polynomial(np.array(case.f, float), batch.value[i])) == pytest.approx(case.expected, abs=1e-7)
        assert float(batch.stats.residual.largest[i]) <= 1e-8


def test_a_cusp_is_not_called_a_solution():
    """HS13: its optimum (1, 0) has no multipliers; to come near it is right, to claim it would be wrong."""
    program = Program(lambda z, p: (z[0] - 2) ** 2 + z[1] ** 2, ineq=lambda z, p: z[1] - (1 - z[0]) ** 3, lower=0.0)
    solution = solve(program, AugmentedLagrangian(), jnp.array([-2.0, -2.0]), throw=False)
    assert NAMES[int(solution.result._value)] in ("stalled", "max_steps_reached")
    np.testing.assert_allclose(solution.value, [1.0, 0.0], atol=0.1)
    assert float(solution.stats.residual.largest) > 1e-8


HS71 = Program(
    lambda x, p: x[0] * x[3] * (x[0] + x[1] + x[2]) + x[2],
    ineq=lambda x, p: 25 - x[0] * x[1] * x[2] * x[3],
    eq=lambda x, p: jnp.sum(x**2) - 40,
    lower=1.0,
    upper=5.0,
)
START = jnp.array([1.0, 5.0, 5.0, 1.0])


@pytest.mark.parametrize(
    "solver",
    [
        AugmentedLagrangian(polish=None),
        AugmentedLagrangian(polish=NewtonPolish(steps=0)),
        AugmentedLagrangian(inner=optx.LBFGS(1e-9, 1e-9), inner_steps=200),
        AugmentedLagrangian(inner=optx.NonlinearCG(1e-9, 1e-9), inner_steps=200),
    ],
    ids=["without polish", "polish of no steps", "LBFGS", "NonlinearCG"],
)
def test_published_optimum_by_other_means(solver: AugmentedLagrangian):
    """Hock & Schittkowski (1981), problem 71; minimisers without bounds see them as inequalities."""
    solution = solve(HS71, solver, START)
    assert float(HS71.objective(solution.value, None)) == pytest.approx(17.0140173, abs=1e-7)
    assert float(solution.stats.residual.largest) <= 1e-8


def test_warm_start_keeps_multipliers():
    cold = solve(HS71, AugmentedLagrangian(polish=None), START)
    warm = solve(HS71, AugmentedLagrangian(polish=None), START, warm=cold.state)
    assert warm.stats.steps < cold.stats.steps
    np.testing.assert_allclose(warm.value, cold.value, atol=1e-7)


def test_steps_run_out():
    solution = solve(HS71, AugmentedLagrangian(polish=None), START, max_steps=2, throw=False)
    assert solution.result == RESULTS.max_steps_reached
    assert np.all(np.isfinite(solution.value))


def test_penalty_stays_where_infeasibility_falls():
    """A convex program with a strict minimum: multipliers alone make it feasible, at the penalty of the start."""
    program = Program(lambda z, p: jnp.sum((z - 1.0) ** 2), eq=lambda z, p: jnp.sum(z) - 1.0)
    solution = solve(program, AugmentedLagrangian(polish=None), jnp.zeros(3))
    flat, _, x0 = flatten(program, jnp.zeros(3), None)
    solver = AugmentedLagrangian(polish=None)
    first = solver.init(flat, solver.prepare(flat, None), x0, None, None)
    assert solution.state.penalty == first.penalty
    np.testing.assert_allclose(solution.value, 1 / 3, atol=1e-8)
    np.testing.assert_allclose(solution.duals.eq, 4 / 3, atol=1e-7)


def test_derivative_of_a_projection():
    """min ½|z - p|² with 1ᵀz = 1 has dz/dp = I - 11ᵀ/n."""
    program = Program(lambda z, p: 0.5 * jnp.sum((z - p) ** 2), eq=lambda z, p: jnp.sum(z) - 1.0)
    value = lambda p: solve(program, AugmentedLagrangian(), jnp.zeros(3), p, throw=False).value
    slopes = jax.jit(jax.jacrev(value))(jnp.array([0.3, -0.2, 0.7]))
    np.testing.assert_allclose(slopes, np.eye(3) - 1 / 3, atol=1e-9)


# --------------------------------------------------------------------------------------------------- without matrices
SIDE = 100
GRID = np.linspace(0.0, 1.0, SIDE + 2)[1:-1]
OBSTACLE = (0.5 - 3.0 * ((GRID[:, None] - 0.5) ** 2 + (GRID - 0.5) ** 2)).ravel()
AREA = 1.0 / (SIDE + 1) ** 2


def energy(u, p):
    """Of a membrane under a load, fixed at its edge."""
    v = jnp.pad(u.reshape(SIDE, SIDE), 1)
    return 0.5 * (jnp.sum(jnp.diff(v, axis=0) ** 2) + jnp.sum(jnp.diff(v, axis=1) ** 2)) + p * AREA * jnp.sum(u)


def laplacian(u: np.ndarray) -> np.ndarray:
    v = np.pad(u.reshape(SIDE, SIDE), 1)
    return (4 * v[1:-1, 1:-1] - v[:-2, 1:-1] - v[2:, 1:-1] - v[1:-1, :-2] - v[1:-1, 2:]).ravel()


MEMBRANES = {
    "bounds": Program(energy, lower=jnp.asarray(OBSTACLE)),
    "one equality": Program(energy, eq=lambda u, p: AREA * jnp.sum(u) - 0.05, lower=jnp.asarray(OBSTACLE)),
    "as many inequalities": Program(energy, ineq=lambda u, p: jnp.asarray(OBSTACLE) - u),
}


def subprograms(jaxpr: Any):
    """A program and all programs inside it."""
    yield jaxpr
    for eqn in jaxpr.eqns:
        for value in jax.tree.leaves(list(eqn.params.values()), is_leaf=lambda v: hasattr(v, "eqns")):
            core = getattr(value, "jaxpr", value)
            if hasattr(core, "eqns"):
                yield from subprograms(core)


@pytest.mark.parametrize("name", MEMBRANES)
def test_ten_thousand_decisions_without_a_matrix(name: str):
    """An obstacle problem of 100 x 100 points, judged by its complementarity conditions in NumPy."""
    n = SIDE * SIDE
    one = lambda p: solve(MEMBRANES[name], AugmentedLagrangian(), jnp.zeros(n), p, throw=False)
    traced = jax.jit(one).trace(jnp.asarray(10.0))
    shapes = [v.aval.shape for sub in subprograms(traced.jaxpr.jaxpr) for eqn in sub.eqns for v in eqn.outvars]
    assert max(np.prod(shape) for shape in shapes) <= 10 * n
    solution = traced.lower().compile()(jnp.asarray(10.0))
    assert solution.result == RESULTS.successful
    u = np.asarray(solution.value)
    slope = laplacian(u) + 10.0 * AREA
    if name == "one equality":
        assert AREA * u.sum() == pytest.approx(0.05, abs=1e-8)
        slope += AREA * float(solution.duals.eq)
    gap = u - OBSTACLE
    contact = gap < 1e-5
    assert 500 < contact.sum() < n - 500
    # 1e-7: inequalities are violated by up to 1e-8, which four neighbours see.
    assert gap.min() >= -1e-8 and slope.min() >= -1e-7 and np.abs(slope[~contact]).max() <= 1e-7


def test_minimiser_alone_within_bounds():
    """Rosenbrock's valley with z_0 <= 1/2 ends at (1/2, 1/4); free, at (1, 1)."""
    valley = lambda z, _: (1 - z[0]) ** 2 + 100 * (z[1] - z[0] ** 2) ** 2
    run = eqx.filter_jit(
        lambda upper: optx.minimise(valley, ProjectedNewton(), jnp.array([-1.2, 1.0]), options={"upper": upper}).value
    )
    np.testing.assert_allclose(run(jnp.array([INF, INF])), [1.0, 1.0], atol=1e-7)
    np.testing.assert_allclose(run(jnp.array([0.5, INF])), [0.5, 0.25], atol=1e-7)


def test_wrong_arguments():
    with pytest.raises(TypeError, match=r"inner.*AbstractMinimiser"):
        AugmentedLagrangian(inner=optx.Newton(1e-8, 1e-8))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"inner_steps.*at least 1"):
        AugmentedLagrangian(inner_steps=0)
