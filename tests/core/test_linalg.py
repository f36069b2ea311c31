"""Matrix functions that are safe beside each other: against NumPy, in batches, with derivatives; and they return."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import _linalg as linalg, cholesky, one_at_a_time, solve_cholesky, solve_triangular

RNG = np.random.default_rng(0)
HALF = RNG.normal(size=(3, 5, 6, 6))
SPD = HALF @ HALF.swapaxes(-1, -2) + np.eye(6)
RIGHT = RNG.normal(size=(3, 5, 6, 2))


@pytest.fixture
def tiny_groups(monkeypatch):
    """Groups of two matrices, so that small batches are cut, whatever the jaxlib."""
    monkeypatch.setattr(linalg, "LAPACK_BLOCKS", True)
    monkeypatch.setattr(linalg, "LEAST_WORK", 3 * 6**3)


def twice(function):
    return jax.jit(jax.vmap(jax.vmap(function)))


def test_batches_in_groups_are_those_of_numpy(tiny_groups):
    factor = twice(lambda m: cholesky(m))(jnp.asarray(SPD))
    np.testing.assert_allclose(factor, np.linalg.cholesky(SPD), rtol=1e-13, atol=1e-13)
    for transposed, matrix in ((False, np.tril(SPD)), (True, np.tril(SPD).swapaxes(-1, -2))):
        solve = twice(lambda m, b, t=transposed: solve_triangular(m, b, transposed=t))
        got = solve(jnp.asarray(SPD), jnp.asarray(RIGHT))
        np.testing.assert_allclose(got, np.linalg.solve(matrix, RIGHT), rtol=1e-11, atol=1e-13)
    both = twice(solve_cholesky)(factor, jnp.asarray(RIGHT))
    np.testing.assert_allclose(both, np.linalg.solve(SPD, RIGHT), rtol=1e-9, atol=1e-12)


def test_a_shared_matrix_is_solved_once(tiny_groups):
    factor = jnp.asarray(np.tril(SPD[0, 0]))
    batch = jax.jit(jax.vmap(lambda b: solve_triangular(factor, b)))
    np.testing.assert_allclose(batch(jnp.asarray(RIGHT[0])), np.linalg.solve(factor, RIGHT[0]), rtol=1e-12)
    text = batch.lower(jnp.asarray(RIGHT[0])).as_text()
    assert "while" not in text and text.count("triangular_solve") + text.count("trsm") == 1


@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev, jax.hessian])
def test_derivatives_are_those_of_jax(tiny_groups, transform):
    weight = jnp.asarray(RIGHT[0, 1, :3])

    def ours(m):
        factor = cholesky(m)
        return jnp.sum(solve_triangular(factor, weight) * solve_triangular(factor, weight, transposed=True))

    def plain(m):
        factor = jnp.linalg.cholesky(jnp.tril(m) + jnp.tril(m, -1).T)
        solve = lambda lower, b: jax.lax.linalg.triangular_solve(lower, b, left_side=True, lower=True)
        up = jax.lax.linalg.triangular_solve(factor, weight, left_side=True, lower=True, transpose_a=True)
        return jnp.sum(solve(factor, weight) * up)

    m = jnp.asarray(SPD[0, :2, :3, :3])
    got, want = (jax.jit(jax.vmap(transform(f)))(m) for f in (ours, plain))
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * float(jnp.max(jnp.abs(want))))


def test_one_at_a_time(monkeypatch):
    monkeypatch.setattr(linalg, "LAPACK_BLOCKS", True)
    values = one_at_a_time(jnp.linalg.eigvalsh)
    np.testing.assert_allclose(twice(values)(jnp.asarray(SPD)), np.linalg.eigvalsh(SPD), rtol=1e-11)
    solve = one_at_a_time(jnp.linalg.solve)
    shared = jax.jit(jax.vmap(solve, in_axes=(None, 0)))(jnp.asarray(SPD[0, 0]), jnp.asarray(RIGHT[0]))
    np.testing.assert_allclose(shared, np.linalg.solve(SPD[0, 0], RIGHT[0]), rtol=1e-10)
    slope = jax.jit(jax.vmap(jax.grad(lambda m: jnp.sum(values(m)))))(jnp.asarray(SPD[0]))
    np.testing.assert_allclose(slope, np.broadcast_to(np.eye(6), (5, 6, 6)), atol=1e-10)  # the trace's derivative


@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev, jax.hessian])
def test_derivatives_of_one_at_a_time_are_those_of_jax(monkeypatch, transform):
    """Several arguments, an integer among them, several values, and a matrix that the batch shares."""
    monkeypatch.setattr(linalg, "LAPACK_BLOCKS", True)

    def plain(matrix, right, index):
        x = jnp.linalg.solve(matrix, right)
        return x**2, x[index], index

    ours = one_at_a_time(plain)
    value = lambda f: lambda m, b: (lambda out: jnp.sum(out[0]) + jnp.sum(out[1]))(f(m, b, jnp.asarray(1)))
    m, b = jnp.asarray(SPD[0, :2, :3, :3]), jnp.asarray(RIGHT[0, :2, :3])
    for axes in ((0, 0), (None, 0)):
        at = m if axes[0] == 0 else m[0]
        got, want = (jax.jit(jax.vmap(transform(value(f), argnums=(0, 1)), axes))(at, b) for f in (ours, plain))
        for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
            np.testing.assert_allclose(x, y, rtol=1e-8, atol=1e-9 * float(jnp.max(jnp.abs(y))))
    assert jax.jvp(ours, (m[0], b[0], jnp.asarray(1)), (m[0], b[0], np.zeros((), jax.dtypes.float0)))[0][2] == 1


SIDE_BY_SIDE = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from sciml.core import cholesky, solve_triangular
half = np.random.default_rng(0).normal(size=(200, 40, 40))
batch = jnp.asarray(half @ half.transpose(0, 2, 1) + 40 * np.eye(40))
step = jax.vmap(lambda m: m + 1e-6 * solve_triangular(cholesky(m), m))
loop = lambda batch: jax.lax.fori_loop(0, 30, lambda i, b: step(b), batch)
jax.block_until_ready(jax.jit(lambda a, b: (loop(a), loop(b), loop(a + b)))(batch, 2 * batch))
print("returned")
"""


def test_independent_batches_return():
    """Plain batched LAPACK calls hang here on jaxlib 0.10.2 with two processors, as a rule within the first calls."""
    run_with_limit(SIDE_BY_SIDE)


GRADIENTS = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
from sciml.core import one_at_a_time
from sciml.systems import discretise, Exact, LinearContinuous
rng = np.random.default_rng(0)
solve = one_at_a_time(jnp.linalg.solve)
loss = lambda m: jnp.sum(solve(m, m.T) ** 2)
step = jax.vmap(lambda m: m + 1e-9 * jax.grad(loss)(m))
loop = lambda batch: jax.lax.fori_loop(0, 5, lambda i, b: step(b), batch)
batch = jnp.asarray(rng.normal(size=(400, 40, 40)) + 20 * np.eye(40))
gradients = jax.jit(lambda a, b: (loop(a), loop(b), loop(a + b)))
B = jnp.ones((29, 1))
sample = jax.vmap(lambda A: discretise(LinearContinuous(A, B), Exact(), dt=0.1).A)
both = jax.jit(lambda a, b: (sample(a), sample(b)))
A = jnp.asarray(rng.normal(size=(400, 29, 29)))
for _ in range(6):
    jax.block_until_ready((gradients(batch, 2 * batch), both(A, 2 * A)))
print("returned")
"""


def test_gradients_and_discretisations_side_by_side_return():
    """With the plain derivative of `solve`, or a plain `expm`, this hung within six calls (jaxlib 0.10.2)."""
    run_with_limit(GRADIENTS)


def run_with_limit(code: str, seconds: float = 240.0) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0 and done.stdout == "returned\n", done.stderr
