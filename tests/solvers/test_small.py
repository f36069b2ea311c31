"""Small Cholesky factorisations against NumPy, on both sides of the limit of unrolling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.solvers import _small

SIZES = (1, 2, 5, _small.UNROLLED + 1)
jit_rows = jax.jit(_small.factor_rows)


def spd(n: int, seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).standard_normal((n, n))
    return root @ root.T + 0.5 * np.eye(n)


@pytest.mark.parametrize("n", SIZES)
def test_factor_and_solutions(n):
    matrix = spd(n)
    right = np.random.default_rng(1).standard_normal((n, 3))
    factor = jax.jit(_small.cholesky)(jnp.asarray(np.tril(matrix)))  # only the lower triangle is read
    np.testing.assert_allclose(factor, np.linalg.cholesky(matrix), rtol=0, atol=1e-12)
    lower = np.asarray(factor)
    np.testing.assert_allclose(lower @ jax.jit(_small.solve_lower)(factor, jnp.asarray(right)), right, atol=1e-12)
    np.testing.assert_allclose(lower.T @ jax.jit(_small.solve_upper)(factor, jnp.asarray(right)), right, atol=1e-12)
    expected = np.linalg.solve(matrix, right)
    np.testing.assert_allclose(jax.jit(_small.solve_cholesky)(factor, jnp.asarray(right)), expected, rtol=0, atol=1e-11)


@pytest.mark.parametrize("n", SIZES)
def test_elimination_leaves_the_schur_complement(n):
    matrix = spd(n + 3)
    rows = jit_rows(jnp.asarray(matrix[:n]))
    B, C, D = matrix[:n, :n], matrix[n:, :n], matrix[n:, n:]
    np.testing.assert_allclose(D - rows[:, n:].T @ rows[:, n:], D - C @ np.linalg.solve(B, C.T), rtol=0, atol=1e-11)
    np.testing.assert_allclose(rows, np.linalg.solve(np.linalg.cholesky(B), matrix[:n]), rtol=0, atol=1e-11)
    assert _small.pivots_are_positive(rows)


@pytest.mark.parametrize("n", (1, 5, _small.UNROLLED + 1))
@pytest.mark.parametrize("worst", [-1e-3, np.nan, np.inf])
def test_what_is_not_definite_is_seen(n, worst):
    matrix = spd(n)
    matrix[-1, -1] = worst
    assert not _small.pivots_are_positive(jit_rows(jnp.asarray(matrix)))
    singular = jnp.ones((n, n)) if n > 1 else jnp.zeros((1, 1))  # pivots are exactly 1, 0, ...
    assert not _small.pivots_are_positive(jit_rows(singular))


def test_batch_equals_loop_and_float32():
    matrices = jnp.asarray(np.stack([spd(5, seed) for seed in range(4)]))
    rights = jnp.asarray(np.random.default_rng(3).standard_normal((4, 5, 2)))
    solve = lambda a, b: _small.solve_cholesky(_small.cholesky(a), b)
    many = jax.jit(jax.vmap(solve))(matrices, rights)
    one = jnp.stack([solve(a, b) for a, b in zip(matrices, rights, strict=True)])
    np.testing.assert_allclose(many, one, rtol=1e-12, atol=1e-13)
    low = solve(matrices[0].astype(jnp.float32), rights[0].astype(jnp.float32))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, one[0], rtol=0, atol=1e-4)  # condition number about 50
