"""Quadratic programs: against closed forms and an outside referee, in every degenerate shape, in both precisions."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import is_successful, RESULTS
from sciml.programs import Program, QuadraticProgram
from sciml.solvers import derivative_health, InteriorPoint, InteriorPointQP, solve

inf = np.inf


def answer(program, n, p=None, dtype=jnp.float64, solver=None):
    return solve(program, InteriorPointQP() if solver is None else solver, jnp.zeros(n, dtype), p, throw=False)


def named(solution) -> str:
    return next(name for name in RESULTS._name_to_item if bool(solution.result == getattr(RESULTS, name)))


def random_program(seed: int, n: int = 8, m: int = 3, g: int = 6):
    """Strictly feasible by construction, with bounds of which some are active."""
    rng = np.random.default_rng(seed)
    root, inside = rng.normal(size=(n, n)), rng.uniform(-0.5, 0.5, n)
    A, G = rng.normal(size=(m, n)), rng.normal(size=(g, n))
    return root @ root.T, 3 * rng.normal(size=n), A, A @ inside, G, G @ inside + 0.1, -np.ones(n), np.ones(n)


def referee(data, z, duals) -> float:
    """The KKT residual in NumPy."""
    Q, q, A, b, G, h, lower, upper = data
    ineq, eq, low, up = (np.asarray(v, float) for v in (duals.ineq, duals.eq, duals.lower, duals.upper))
    slope = Q @ z + q + A.T @ eq + G.T @ ineq - low + up
    excess = np.concatenate([G @ z - h, lower - z, z - upper])
    signed = np.concatenate([ineq, low, up])
    parts = [np.abs(slope), np.abs(A @ z - b), excess, -signed, np.abs(signed * excess)]
    return max(float(part.max()) for part in parts)


SEEDS = range(6)
ENTRIES = [lambda p, i=i: p[i] for i in range(8)]


@cache
def compiled(dtype):
    """The solution of a program with every block from the instance."""
    one = jax.jit(lambda p: solve(QuadraticProgram(*ENTRIES), InteriorPointQP(), jnp.zeros(8, dtype), p, throw=False))
    return lambda data: one(tuple(jnp.asarray(block, dtype) for block in data))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "tol"), [(jnp.float64, 1e-9), (jnp.float32, 3e-5)])
def test_referee_agrees(seed: int, dtype, tol: float):
    """In float32 the referee sees the rounding of data of size 10 as well."""
    solution = compiled(dtype)(random_program(seed))
    assert bool(is_successful(solution.result))
    assert referee(random_program(seed), np.asarray(solution.value, float), solution.duals) <= tol


def test_agrees_with_the_general_solver():
    quick = compiled(jnp.float64)(random_program(4))
    general = answer(QuadraticProgram(*random_program(4)), 8, solver=InteriorPoint(tol=1e-10))
    np.testing.assert_allclose(quick.value, general.value, atol=1e-7)
    np.testing.assert_allclose(quick.duals.eq, general.duals.eq, atol=1e-6)
    np.testing.assert_allclose(quick.duals.ineq, general.duals.ineq, atol=1e-6)


SHARED = QuadraticProgram(*random_program(1)[:3], lambda p: p, *random_program(1)[4:])
cold = jax.jit(jax.vmap(lambda b: answer(SHARED, 8, b)))
LEVELS = jnp.asarray(random_program(1)[3]) + jnp.linspace(-0.05, 0.05, 6)[:, None]


def test_what_is_shared_gives_the_same_answers():
    """Eliminated equalities (a known `A`) against equalities that stay (`A` from the instance)."""
    data = random_program(1)
    quick = cold(LEVELS)
    assert bool(jnp.all(is_successful(quick.result)))
    for i, level in enumerate(LEVELS):
        general = compiled(jnp.float64)((*data[:3], level, *data[4:]))
        assert bool(is_successful(general.result))
        np.testing.assert_allclose(quick.value[i], general.value, atol=1e-8)
        np.testing.assert_allclose(quick.duals.eq[i], general.duals.eq, atol=1e-7)


CASES = {
    "linear over a box": (dict(q=[1.0, -2.0], lower=[-1.0, -1.0], upper=[3.0, 4.0]), [-1.0, 4.0]),
    "linear over a simplex": (dict(q=[-1.0, -2.0], G=[[1.0, 1.0]], h=[1.0], lower=[0.0, 0.0]), [0.0, 1.0]),
    "dependent rows": (dict(Q=np.eye(2), A=[[1.0, 1.0], [2.0, 2.0]], b=[1.0, 2.0]), [0.5, 0.5]),
    "as many rows as entries": (dict(Q=np.eye(2), A=[[1.0, 1.0], [1.0, 2.0]], b=[1.0, 3.0]), [-1.0, 2.0]),
    "no constraint": (dict(Q=np.eye(2), q=[1.0, -2.0]), [-1.0, 2.0]),
    "a fixed entry": (dict(Q=np.eye(2), q=[1.0, 1.0], lower=[0.5, -3.0], upper=[0.5, 3.0]), [0.5, -1.0]),
    "infinite bounds": (dict(Q=np.eye(2), q=[1.0, 1.0], lower=[0.0, -inf]), [0.0, -1.0]),
    "a row without limit": (
        dict(Q=np.eye(2), q=[-1.0, 0.0], G=[[1.0, 0.0], [1.0, 1.0]], h=[inf, 0.5]), [0.75, -0.25],
    ),
    "the same row thrice": (dict(Q=np.eye(2), q=[-3.0, -3.0], G=np.ones((3, 2)), h=np.ones(3)), [0.5, 0.5]),
    "a strong row": (dict(Q=np.eye(2), q=[-3.0, -3.0], G=[[1.0, 1.0]], h=[1.0], lower=[-3.0, -3.0]), [0.5, 0.5]),
    "a weak row": (dict(Q=np.eye(2), q=[-0.5, -0.5], G=[[1.0, 1.0]], h=[1.0]), [0.5, 0.5]),
}  # fmt: skip
FAILURES = {
    "contradicting rows": (dict(Q=np.eye(2), G=[[1.0, 0.0], [-1.0, 0.0]], h=[0.0, -1.0]), "infeasible"),
    "rows against bounds": (dict(Q=np.eye(2), G=[[1.0, 1.0]], h=[-1.0], lower=[0.0, 0.0]), "infeasible"),
    "contradicting equalities": (dict(Q=np.eye(2), A=[[1.0, 1.0], [2.0, 2.0]], b=[1.0, 3.0]), "infeasible"),
    "linear, no limit": (dict(q=[1.0, 2.0]), "unbounded"),
    "flat in one direction": (dict(Q=np.diag([1.0, 0.0]), q=[1.0, 1.0], upper=[1.0, 1.0]), "unbounded"),
    "crossed bounds": (dict(Q=np.eye(2), lower=[1.0, 1.0], upper=[0.0, 0.0]), "contradictory_bounds"),
    "a row below everything": (dict(Q=np.eye(2), G=[[1.0, 0.0]], h=[-inf]), "contradictory_bounds"),
    "not a number": (dict(Q=np.eye(2), q=[np.nan, 0.0]), "nonfinite_start"),
    "not convex": (dict(Q=np.diag([1.0, -1.0]), q=[1.0, 1.0]), "stalled"),
}


def padded(blocks: dict) -> tuple[np.ndarray, ...]:
    """All blocks of one shape: equalities `0 = 0` and rows without limit where there are none."""
    shapes = {"Q": (2, 2), "q": (2,), "A": (2, 2), "b": (2,), "G": (3, 2), "h": (3,), "lower": (2,), "upper": (2,)}
    fill = {"h": inf, "lower": -inf, "upper": inf}
    whole = {name: np.full(shape, fill.get(name, 0.0)) for name, shape in shapes.items()}
    for name, block in blocks.items():
        whole[name][: len(block)] = block
    return tuple(whole.values())


PADDED = QuadraticProgram(*ENTRIES)
degenerate = jax.jit(lambda p: answer(PADDED, 2, p))
health = jax.jit(lambda solution, p: derivative_health(PADDED, solution, p))


@cache
def lane(name: str):
    """The solution of a case and its data."""
    data = tuple(jnp.asarray(block) for block in padded({**CASES, **FAILURES}[name][0]))
    return degenerate(data), data


@pytest.mark.parametrize("name", CASES)
def test_degenerate_shapes(name: str):
    solution, _ = lane(name)
    assert named(solution) == "successful"
    # A weak row has neither slack nor multiplier: a product of 1e-9 leaves the square root of it.
    np.testing.assert_allclose(solution.value, CASES[name][1], atol=1e-4 if name == "a weak row" else 1e-9)
    assert solution.stats.residual.largest <= 1e-8


@pytest.mark.parametrize("name", FAILURES)
def test_failures_have_names(name: str):
    solution, _ = lane(name)
    assert named(solution) == FAILURES[name][1]
    assert bool(jnp.all(jnp.isfinite(solution.value)))


@pytest.mark.parametrize("name", ["no constraint", "dependent rows", "as many rows as entries"])
def test_special_shapes(name: str):
    """Missing blocks, and equalities that are known and eliminated, are programs of their own."""
    blocks, wanted = CASES[name]
    solution = answer(QuadraticProgram(**blocks), 2)
    assert named(solution) == "successful"
    np.testing.assert_allclose(solution.value, wanted, atol=1e-9)


def test_known_equalities_that_contradict():
    blocks, wanted = FAILURES["contradicting equalities"]
    assert named(answer(QuadraticProgram(**blocks), 2)) == wanted


def test_failures_leave_their_neighbours_alone():
    program = QuadraticProgram(
        np.eye(2), [1.0, 1.0], G=[[1.0, 0.0], [-1.0, 0.0]], h=lambda p: jnp.stack([p, -1.0 + 0 * p])
    )
    ps = jnp.array([2.0, 0.0, jnp.nan, 3.0])
    value = lambda p: (answer(program, 2, p).value.sum(), answer(program, 2, p))
    slopes, solution = jax.jit(jax.vmap(jax.grad(value, has_aux=True)))(ps)
    assert list(is_successful(solution.result)) == [True, False, False, True]
    np.testing.assert_allclose(solution.value[jnp.array([0, 3])], [[1.0, -1.0]] * 2, atol=1e-9)
    assert not np.any(slopes)  # the limit is not active, and failures have no derivative
    assert list(solution.stats.has_derivative) == [True, False, False, True]


def test_warm_start_and_state():
    state = cold(LEVELS).state
    warm = jax.jit(jax.vmap(lambda b, state: solve(SHARED, InteriorPointQP(), jnp.zeros(8), b, warm=state)))
    np.testing.assert_allclose(warm(LEVELS * 1.001, state).value, cold(LEVELS * 1.001).value, atol=1e-9)


def test_needs_matrices():
    with pytest.raises(ValueError, match="`program`: got a program of functions; expected a `QuadraticProgram`"):
        answer(Program(lambda z, p: jnp.sum(z**2)), 2)
    with pytest.raises(ValueError, match="`z0`: got 3 entries; expected 2 entries"):
        answer(QuadraticProgram(Q=np.eye(2), q=np.ones(2)), 3)
    with pytest.raises(ValueError, match="`z0`: got .*expected one vector"):
        solve(SHARED, InteriorPointQP(), {"a": jnp.zeros(8)}, jnp.zeros(3))


def test_health():
    """At z = (½, ½) the strong row has the multiplier 2.5 and the weak row none."""
    strong, weak, failed = (health(*lane(name)) for name in ("a strong row", "a weak row", "contradicting rows"))
    assert strong.residual < 1e-9 and strong.pivot > 0
    assert strong.margin == pytest.approx(2.5)  # rows without limit do not count
    assert weak.margin < 1e-4
    assert failed.margin == 0 and failed.pivot == 0 and failed.residual == jnp.inf


def test_given_rank():
    """Of a function, the rank is what the user says; an instance that has less fails, and says so."""
    program = QuadraticProgram(np.eye(3), np.zeros(3), lambda p: p, np.ones(2), rank=2)
    full, dependent = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), np.ones((2, 3))
    matrices = jnp.asarray(np.stack([full, dependent]))
    found = jax.vmap(lambda A: solve(program, InteriorPointQP(), jnp.zeros(3), A, throw=False))(matrices)
    np.testing.assert_allclose(found.value[0], [1.0, 1.0, 0.0], atol=1e-12)
    assert is_successful(found.result).tolist() == [True, False]
    assert np.all(np.isfinite(found.value))


@pytest.mark.parametrize("unit", [1e8, 6e10])
def test_rounding_of_a_large_objective_is_allowed(unit: float):
    """What rounding alone leaves is a success, feasible to the tolerance, and as accurate as the data allow."""
    Q, q, *rest = random_program(2)
    solution, small = compiled(jnp.float64)((unit * Q, unit * q, *rest)), compiled(jnp.float64)((Q, q, *rest))
    assert named(solution) == "successful"
    size = unit * float(np.max(np.abs(Q) @ np.abs(np.asarray(small.value)) + np.abs(q)))
    assert float(solution.stats.residual.stationarity) <= 1e-9 + 20 * np.finfo(float).eps * size
    assert float(solution.stats.residual.feasibility) <= 1e-9
    np.testing.assert_allclose(solution.value, small.value, atol=1e-9)


def test_a_far_optimum_is_not_called_unbounded():
    """A decision of size 1e8 within bounds of this size."""
    Q, q, A, b, G, h, lower, upper = random_program(3)
    far = compiled(jnp.float64)((Q, 1e8 * q, A, 1e8 * b, G, 1e8 * h, 1e8 * lower, 1e8 * upper))
    assert named(far) == "successful"
    np.testing.assert_allclose(far.value / 1e8, compiled(jnp.float64)(random_program(3)).value, atol=1e-9)


def test_a_small_product_does_not_decide_the_active_set():
    """In float32 the products of slack and multiplier end at 1e-5, with either of them up to its root."""
    limit, away = jnp.float32(0.0), jnp.asarray([3.5e-4, -3.5e-4, 2e-3, -2e-3], jnp.float32)
    program = QuadraticProgram(Q=jnp.eye(4, dtype=jnp.float32), q=lambda p: -p, lower=limit)
    of = lambda p: answer(program, 4, p, jnp.float32).value
    np.testing.assert_allclose(of(away), np.maximum(away, 0.0), atol=1e-6)
    np.testing.assert_allclose(np.diagonal(jax.jacrev(of)(away)), [1.0, 0.0, 1.0, 0.0], atol=1e-5)


def test_an_open_active_set_is_no_failure_at_the_limit_of_steps():
    program = QuadraticProgram(Q=jnp.eye(4, dtype=jnp.float32), q=lambda p: -p, lower=jnp.float32(0.0))
    away = jnp.asarray([3.5e-4, -3.5e-4, 2e-3, -2e-3], jnp.float32)
    ended = lambda most: solve(program, InteriorPointQP(), jnp.zeros(4, jnp.float32), away, max_steps=most, throw=False)
    within = [n for n in range(2, 9) if bool(is_successful(ended(n).result))]
    needed = int(ended(100).stats.steps)
    assert min(within) < needed and float(ended(min(within)).stats.residual.largest) <= 1e-5


def test_float32_is_limited_by_the_rows_not_by_their_products():
    """Sizes and draws of DC3; the figures beside are those of rows reduced to the null space of `A` in float32."""
    rng = np.random.default_rng(0)
    single = lambda v: np.asarray(v, np.float32)
    A, G = single(rng.normal(size=(50, 100))), single(rng.normal(size=(50, 100)))
    h, q = single(np.sum(np.abs(G @ np.linalg.pinv(A)), axis=1)), single(rng.random(100))
    program = QuadraticProgram(Q=np.diag(single(rng.random(100))), q=q, A=A, b=lambda p: p, G=G, h=h)
    values = single(rng.uniform(-1, 1, (64, 50)))
    solution = jax.jit(jax.vmap(lambda p: answer(program, 100, p, jnp.float32)))(values)
    assert np.all(is_successful(solution.result))
    violations = np.max(np.asarray(solution.value, np.float64) @ G.T.astype(float) - h, axis=1)
    assert np.max(violations) < 6e-6  # 7.5e-6 by reduced rows
    assert np.median(violations) < 3.1e-6  # 3.6e-6
