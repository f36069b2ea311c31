"""Levenberg-Marquardt in each of its regimes: against NumPy, SciPy's answers, dense Jacobians, and its memory limit."""

import json
from types import SimpleNamespace
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import scipy.optimize
from jaxtyping import Array

from sciml.core import RESULTS
from sciml.losses import MeanSquares, Samples, Sparsity
from sciml.training import Checkpoint, ensemble, fit, KeepBest, LevenbergMarquardt, Log
from sciml.training._damped import dense_steps, krylov_steps
from sciml.training._jacobian import footprint, Residuals, System
from tests.training.test_fit import Interrupt, same_bits

RNG = np.random.default_rng(0)


class Kinds(NamedTuple):
    """Two kinds of samples, of different numbers."""

    inside: Array
    edge: Array


def wave(m, x):
    return jnp.tanh(x @ m[:3]) + x[0] * jnp.sin(m[3] * x[1]) + x[2] * m[4]


def edge(m, x):
    return jnp.stack([m[0] * x, jnp.exp(-m[1] * x) - 0.5])


POINTS = Kinds(jnp.asarray(RNG.normal(size=(37, 3))), jnp.asarray(RNG.uniform(size=11)))
TRUE = jnp.asarray([0.5, -0.3, 0.8, 1.2, 0.4])
LOSS = MeanSquares(Kinds(lambda m, x: wave(m, x) - wave(TRUE, x), edge), Kinds(2.0, 0.7))
START = TRUE + 0.1


def system(form: str, memory: float, is_declared: bool) -> tuple[System, Residuals]:
    """What the engine makes of the two kinds of samples."""
    whole = lambda m: jnp.concatenate([jnp.ravel(r) for r in LOSS.residuals(m, POINTS)])
    scaled = lambda t: lambda m, s: t.scale * jnp.ravel(t.function(m, s))
    terms = tuple((scaled(t), t.data) for t in LOSS.structure(START, POINTS).terms) if is_declared else None
    problem = Residuals(whole, terms, None, (37 + 22, 5), memory)
    return jax.jit(lambda m: getattr(problem, form)(m))(START), problem


@pytest.mark.parametrize("memory", [2.0**31, 2000.0], ids=["at once", "in chunks"])
@pytest.mark.parametrize("is_declared", [True, False], ids=["samples", "dense"])
@pytest.mark.parametrize("form", ["normal", "rows"])
def test_systems_are_those_of_the_dense_jacobian(form, memory, is_declared):
    got, problem = system(form, memory, is_declared)
    r, J = problem.whole(START), jax.jacfwd(problem.whole)(START)
    assert problem.is_by_columns(START) == (not is_declared and memory > 1e4)  # rows where columns do not fit
    matrix = J.T @ J if form == "normal" else jnp.concatenate([J, r[:, None]], axis=1)
    want = System(0.5 * r @ r, J.T @ r, matrix, jnp.sum(J**2, axis=0))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("memory", [2.0**31, 2000.0], ids=["at once", "in chunks"])
def test_products_and_costs_are_those_of_the_dense_jacobian(memory):
    got, problem = system("diagonal", memory, True)
    r, J = problem.whole(START), jax.jacfwd(problem.whole)(START)
    np.testing.assert_allclose(got.diagonal, jnp.sum(J**2, axis=0), rtol=1e-12)
    v = jnp.arange(1.0, 6.0)
    np.testing.assert_allclose(problem.product(START)(v), J.T @ (J @ v), rtol=1e-11)
    np.testing.assert_allclose(problem.costs(jnp.stack([START, TRUE]))[0], 0.5 * r @ r, rtol=1e-12)


def test_the_estimated_diagonal_is_that_of_its_source():
    got, problem = system("diagonal", 2.0**31, False)
    J = jax.jacfwd(problem.whole)(START)
    signs = jr.rademacher(jr.key(0), (32, J.shape[0]), J.dtype)
    np.testing.assert_allclose(got.diagonal, jnp.mean((signs @ J) ** 2, axis=0), rtol=1e-12)
    # Its expectation is the diagonal: with every pattern of signs, each pair of rows cancels.
    every = 1.0 - 2.0 * (np.arange(2**6)[:, None] >> np.arange(6) & 1)
    np.testing.assert_allclose(np.mean((every @ J[:6]) ** 2, axis=0), np.sum(J[:6] ** 2, axis=0), rtol=1e-12)


def test_steps_for_several_dampings_solve_their_systems():
    J, r = RNG.normal(size=(50, 20)) * np.logspace(0, -2, 20), RNG.normal(size=50)
    D = np.sum(J**2, axis=0)
    D = D + 1e-6 * D.max()
    dampings = np.array([1e-3, 1e-2, 0.1, 1.0])
    want = np.stack([np.linalg.solve(J.T @ J + damping * np.diag(D), -J.T @ r) for damping in dampings])
    normal = System(jnp.zeros(()), jnp.asarray(J.T @ r), jnp.asarray(J.T @ J), jnp.asarray(np.sum(J**2, axis=0)))
    dual = System(jnp.zeros(()), normal.gradient, jnp.asarray(np.c_[J, r]), normal.diagonal)
    close = lambda got, rows=slice(None): np.testing.assert_allclose(got, want[rows], rtol=1e-8, atol=1e-10)
    close(dense_steps(normal, jnp.asarray(dampings), is_dual=False))
    close(dense_steps(normal, jnp.asarray(dampings[2:3]), is_dual=False), slice(2, 3))
    close(dense_steps(dual, jnp.asarray(dampings), is_dual=True))
    product = lambda v: normal.matrix @ v
    steps, count = krylov_steps(normal, product, jnp.asarray(dampings), rtol=1e-11, max_steps=100)
    close(steps)
    assert count <= 22  # twenty in exact arithmetic


# --------------------------------------------------------------------------------------------------- the whole method


class Basis(eqx.Module):
    """A sum of many fixed waves: linear in its parameters, so that the answer is known."""

    weight: Array

    def __call__(self, x):
        k = jnp.arange(1.0, self.weight.size + 1, dtype=x.dtype)
        return jnp.cos(k * x) @ self.weight


def misfit(model, sample):
    return model(sample[0]) - sample[1]


def line_data(count: int) -> tuple[Array, Array]:
    x = jnp.asarray(np.sort(RNG.uniform(0.0, 3.0, count)))
    return x, jnp.abs(x - 1.3)


def solve_line(n: int, count: int, method: LevenbergMarquardt, steps: int = 60, dtype=jnp.float64):
    data = jax.tree.map(lambda a: a.astype(dtype), line_data(count))
    done = fit(
        Basis(jnp.zeros(n, dtype)), MeanSquares(misfit), data, method, steps=steps, key=jr.key(0), progress=False
    )
    design = np.cos(np.arange(1, n + 1) * np.asarray(data[0], float)[:, None])
    best = np.linalg.lstsq(design, np.asarray(data[1], float), rcond=None)[0]
    lowest = 0.5 * np.mean((design @ best - np.asarray(data[1], float)) ** 2)
    return done, lowest


@pytest.mark.parametrize(
    ("method", "n", "count"),
    [
        (LevenbergMarquardt(memory=2e5), 20, 300),
        (LevenbergMarquardt(), 80, 300),
        (LevenbergMarquardt(dense_up_to=4, cg_rtol=1e-6), 20, 300),
    ],
    ids=["normal equations in chunks", "several dampings", "matrix-free"],
)
def test_each_regime_reaches_the_least_squares_solution(method, n, count):
    done, lowest = solve_line(n, count, method)
    assert done.result == RESULTS.successful
    # The problem is linear: what is left is of the order of the convergence test, a relative decrease of 1e-10.
    np.testing.assert_allclose(done.stats.loss, lowest, rtol=1e-9)
    assert (done.stats.matrix is None) == (method.dense_up_to == 4)
    losses = done.stats.losses[: done.stats.steps]
    assert np.all(np.diff(losses) <= 0) and np.all(np.isnan(done.stats.losses[done.stats.steps :]))


def test_fewer_residuals_than_parameters_are_met_exactly():
    done, lowest = solve_line(200, 30, LevenbergMarquardt(), steps=40)
    assert lowest < 1e-25 and done.stats.loss < 1e-20 and done.stats.matrix is None


def test_float32_matrix_free_and_dense():
    for method in (LevenbergMarquardt(), LevenbergMarquardt(dense_up_to=4)):
        done, lowest = solve_line(20, 300, method, dtype=jnp.float32)
        assert done.stats.loss.dtype == jnp.float32 and done.value.weight.dtype == jnp.float32
        np.testing.assert_allclose(done.stats.loss, lowest, rtol=1e-5)  # a hundred roundings of float32


def test_a_nonlinear_network_against_scipy():
    """Several dampings on one factorisation: as many steps from the same start end no higher than SciPy's."""
    model = eqx.nn.MLP(1, 1, 24, 2, jnp.tanh, key=jr.key(3))
    x = jnp.linspace(-1.0, 1.0, 60)[:, None]
    residual = lambda m, s: m(s[0])[0] - s[1]
    data = (x, jnp.sin(4 * x[:, 0]))
    done = fit(model, MeanSquares(residual), data, LevenbergMarquardt(), steps=60, key=jr.key(0), progress=False)
    flat, unravel = jax.flatten_util.ravel_pytree(eqx.filter(model, eqx.is_inexact_array))
    rest = eqx.filter(model, eqx.is_inexact_array, inverse=True)
    whole = jax.jit(lambda v: MeanSquares(residual).residuals(eqx.combine(unravel(v), rest), data))
    theirs = scipy.optimize.least_squares(whole, flat, jac=jax.jit(jax.jacfwd(whole)), method="trf", max_nfev=60)
    assert done.stats.loss <= theirs.cost


def test_many_starts_share_the_memory_and_isolate_what_diverges():
    starts = Basis(jnp.stack([jnp.zeros(20), jnp.full(20, jnp.nan), jnp.ones(20)]))
    method = LevenbergMarquardt(memory=6e5)
    done = ensemble(starts, MeanSquares(misfit), line_data(300), method, steps=40)
    assert float(done.stats.failed) == pytest.approx(1 / 3) and done.stats.losses[1] == jnp.inf
    np.testing.assert_allclose(done.stats.losses[0], done.stats.losses[2], rtol=1e-4)


def chained(v, m):
    """Residuals of two shared parameters and a block for every stretch of the record."""
    blocks = jnp.repeat(v[2:], m // (v.size - 2))
    return jnp.concatenate([jnp.tanh(v[0] * blocks + v[1]) - jnp.linspace(0.0, 1.0, m), v[3:] - v[2:-1]])


@pytest.mark.parametrize("memory", [2.0**31, 20_000.0, 4000.0], ids=["at once", "in chunks", "by rows"])
def test_sparse_systems_are_those_of_the_dense_jacobian(memory):
    whole, start = lambda v: chained(v, 40), jnp.linspace(0.2, 0.7, 10)
    sparsity = Sparsity.chain(2, (8, 1), (5, 1, 0))
    problem = Residuals(whole, None, sparsity, (47, 10), memory)
    assert problem.is_by_columns(start) == (memory > 4000.0)
    J, r = jax.jacfwd(whole)(start), whole(start)
    got = jax.jit(lambda v: problem.normal(v))(start)
    want = System(0.5 * r @ r, J.T @ r, J.T @ J, jnp.sum(J**2, axis=0))
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-13)
    rows = jax.jit(lambda v: problem.rows(v))(start).matrix
    np.testing.assert_allclose(rows, jnp.c_[J, r], rtol=1e-11, atol=1e-13)


def bytes_of(problem: Residuals, n: int) -> int:
    """Intermediate values of the compiled system."""
    return jax.jit(lambda v: problem.normal(v)).lower(jnp.zeros(n)).compile().memory_analysis().temp_size_in_bytes


def test_compiled_systems_keep_within_their_memory():
    """`J` alone would take 96 MB by samples, 161 MB by a chain, and 24 MB with nothing known."""
    whole = lambda v: jax.vmap(lambda x: jnp.tanh(jnp.cos(x * jnp.arange(600.0)) @ v))(jnp.linspace(0, 3, 20_000))
    one = lambda v, x: jnp.tanh(jnp.cos(x * jnp.arange(600.0)) @ v)[None]
    samples = Residuals(whole, ((one, jnp.linspace(0, 3, 20_000)),), None, (20_000, 600), 40e6)
    sparsity = Sparsity.chain(2, (400, 1), (125, 1, 0))
    chain = Residuals(lambda v: chained(v, 50_000), None, sparsity, (50_399, 402), 40e6)
    dense = Residuals(lambda v: chained(v, 30_000), None, None, (30_099, 102), 20e6)
    assert not dense.is_by_columns(jnp.zeros(102)) and chain.is_by_columns(jnp.zeros(402))
    for problem, n in ((samples, 600), (chain, 402), (dense, 102)):
        assert bytes_of(problem, n) < problem.memory


def test_footprints_count_all_steps_of_a_scan_only_where_they_are_kept():
    scan = lambda x: jax.lax.scan(lambda c, _: (jnp.sin(c), None), x, length=10)[0]
    x = jnp.zeros(100)
    assert footprint(scan, x) == 10 * 800 + 800 and footprint(scan, x, is_taped=False) == 800 + 800


# ------------------------------------------------------------------------------- watched, interrupted, resumed


def network_fit(**options):
    model = eqx.nn.MLP(1, 1, 8, 1, jnp.tanh, key=jr.key(3))
    x = jnp.linspace(-1.0, 1.0, 40)[:, None]
    data = (x, jnp.sin(4 * x[:, 0]))
    loss = MeanSquares(lambda m, s: m(s[0])[0] - s[1])
    options = {"steps": 30, "key": jr.key(0), "progress": False, **options}
    return fit(model, loss, data, LevenbergMarquardt(), **options)


def test_a_second_order_fit_resumes_to_the_same_bits(tmp_path):
    go = lambda name, at: network_fit(
        checkpoint=Checkpoint(str(tmp_path / name), every=8), monitor=Interrupt(at, every=5)
    )
    whole = go("whole", -1)
    with pytest.raises(KeyboardInterrupt):
        go("part", 20)
    assert (tmp_path / "part").exists()
    resumed = go("part", -1)
    assert same_bits(resumed, whole) and resumed.stats.steps == 30
    assert (tmp_path / "part").read_bytes() == (tmp_path / "whole").read_bytes()
    with pytest.raises(ValueError, match="`checkpoint`.*made with another `key`"):
        network_fit(
            checkpoint=Checkpoint(str(tmp_path / "whole"), every=8), monitor=Interrupt(-1, every=5), key=jr.key(1)
        )


def test_monitors_watch_a_second_order_fit(tmp_path):
    """The score is lowest at step 10 by construction: patience ends the fit at 20, with the model of step 10."""
    best = network_fit(steps=10)
    wanted = best.value(jnp.ones(1))
    score = lambda model: jnp.max(jnp.abs(model(jnp.ones(1)) - wanted))
    path = str(tmp_path / "log")
    done = network_fit(monitor=(KeepBest(score=score, every=5, patience=10), Log(path, every=5)))
    assert done.stats.steps == 20 and same_bits(done.value, best.value)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == [5, 10, 15, 20]
    np.testing.assert_allclose(lines[1]["loss"], done.stats.losses[9], rtol=1e-12)
    np.testing.assert_allclose(done.stats.loss, done.stats.losses[9], rtol=1e-12)  # of the model that is returned


# ------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("build", "match"),
    [
        (lambda: LevenbergMarquardt(memory=0), "`memory`: got 0; expected a positive number of bytes"),
        (lambda: LevenbergMarquardt(cg_steps=0), "`cg_steps`: got 0; expected an integer >= 1"),
        (lambda: LevenbergMarquardt(dense_up_to=-1), "`dense_up_to`: got -1; expected a number >= 0"),
        (lambda: LevenbergMarquardt(cg_rtol=-1.0), "`cg_rtol`: got -1.0; expected a number >= 0"),
        (lambda: MeanSquares(3.0).structure(START, POINTS), "`functions`: got 3.0; expected a function, or a record"),
        (lambda: LOSS.structure(START, (POINTS.inside,)), "`batch`: got the structure .*under the term's name"),
        (lambda: LOSS.structure(START, Kinds(jnp.zeros(()), jnp.zeros(2))), "`batch`: got leaves of shapes"),
        (lambda: MeanSquares(edge, (1.0, 2.0)).structure(START, POINTS.edge), "`weight`: got the structure"),
    ],
)
def test_bad_arguments_are_named(build, match):
    with pytest.raises(ValueError, match=match):
        build()


def test_a_memory_in_words_is_refused():
    """Past the run-time check of types, which users do not have."""
    with pytest.raises(TypeError, match=r"`memory`: got '2GiB'; expected a number of bytes.*`2\*\*31`"):
        LevenbergMarquardt.__check_init__(SimpleNamespace(memory="2GiB"))


def test_mean_squares_is_half_the_weighted_mean():
    one = jax.vmap(lambda x: jnp.sum((wave(START, x) - wave(TRUE, x)) ** 2))(POINTS.inside)
    two = jax.vmap(lambda x: jnp.sum(edge(START, x) ** 2))(POINTS.edge)
    np.testing.assert_allclose(LOSS(START, POINTS), 0.5 * (4.0 * one.mean() + 0.49 * two.mean()), rtol=1e-12)
    assert isinstance(LOSS.structure(START, POINTS), Samples)
    bare = MeanSquares(edge, 0.7)
    np.testing.assert_allclose(bare(START, POINTS.edge), 0.5 * 0.49 * two.mean(), rtol=1e-12)


def test_adam_takes_samples_of_several_kinds():
    """Data whose leaves have different leading axes, with a first-order method."""
    with jax.numpy_dtype_promotion("standard"):
        method = optax.adam(1e-2)
    done = fit(START, LOSS, POINTS, method, steps=50, key=jr.key(0), progress=False)
    assert done.stats.losses[-1] < done.stats.losses[0] and done.stats.losses.shape == (50,)
