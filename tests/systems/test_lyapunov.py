"""Lyapunov equations: SciPy over random systems, sums, integrals, derivatives, batches, failures; 10 CPU-s."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from sciml import RESULTS
from sciml.systems import continuous_lyapunov, discrete_lyapunov

SCIPY = {
    discrete_lyapunov: scipy.linalg.solve_discrete_lyapunov,
    continuous_lyapunov: lambda a, q: scipy.linalg.solve_continuous_lyapunov(a, -q),  # its sign of Q is the other one
}
both = pytest.mark.parametrize("equation", [discrete_lyapunov, continuous_lyapunov], ids=["discrete", "continuous"])


def stable(rng, n, radius, equation):
    A = rng.normal(size=(n, n))
    modes = np.linalg.eigvals(A)
    if equation is discrete_lyapunov:
        return radius / max(abs(modes)) * A
    return A - (max(modes.real) + 1 - radius) * np.eye(n)


@both
@pytest.mark.parametrize("n", [1, 3, 8])
def test_it_is_scipys(equation, n):
    rng = np.random.default_rng(n)
    for radius in (0.1, 0.9, 0.9999):
        A, Q = stable(rng, n, radius, equation), rng.normal(size=(n, n))
        solution, theirs = equation(A, Q), SCIPY[equation](A, Q)
        # The condition of the equation is up to 1e5 times the departure of A from normality.
        np.testing.assert_allclose(solution.value, theirs, rtol=0, atol=1e-9 * np.max(np.abs(theirs)))
        assert solution.stats.residual < 1e-11


def test_it_is_the_sum_and_the_integral():
    A, Q = np.array([[0.5, 0.4], [-0.3, 0.6]]), np.array([[1.0, 0.2], [0.2, 2.0]])
    powers = [np.linalg.matrix_power(A, k) for k in range(200)]
    np.testing.assert_allclose(discrete_lyapunov(A, Q).value, sum(p @ Q @ p.T for p in powers), rtol=1e-13)
    np.testing.assert_allclose(discrete_lyapunov(0 * A, Q).value, Q, rtol=1e-15)
    F, h = A - np.eye(2), 0.05
    ends = np.stack([(e := scipy.linalg.expm(F * h * k)) @ Q @ e.T for k in range(1201)])
    integral = h / 3 * (ends[0] + ends[-1] + 4 * ends[1:-1:2].sum(0) + 2 * ends[2:-1:2].sum(0))  # Simpson
    np.testing.assert_allclose(continuous_lyapunov(F, Q).value, integral, rtol=1e-6)


@both
def test_derivatives_batch_and_failures(equation):
    rng = np.random.default_rng(0)
    A, Q = (jnp.asarray(a) for a in (stable(rng, 3, 0.8, equation), rng.normal(size=(3, 3))))
    dA, dQ, weight = (jnp.asarray(rng.normal(size=(3, 3))) for _ in range(3))

    def value(s, A, Q):
        return jnp.sum(weight * jnp.sin(equation(A + s * dA, Q + s * dQ, throw=False).value))

    zero, h = jnp.asarray(0.0), 1e-5
    slopes = jax.jit(lambda s: jax.jvp(jax.grad(lambda s: value(s, A, Q)), (s,), (jnp.ones_like(s),)))
    slope, bend = slopes(zero)
    np.testing.assert_allclose(slope, (value(h, A, Q) - value(-h, A, Q)) / (2 * h), rtol=1e-6)
    np.testing.assert_allclose(bend, (slopes(h)[0] - slopes(-h)[0]) / (2 * h), rtol=1e-6)
    # A batch in which one matrix is not stable, one is on the limit, and one is not finite.
    eye = jnp.eye(3)
    many = jnp.stack([A, 4 * eye, eye if equation is discrete_lyapunov else 0 * eye, A * jnp.nan, 0.5 * A])

    def total(A):
        solution = equation(A, Q, throw=False)
        return jnp.sum(weight * jnp.sin(solution.value)), solution

    grads, solutions = jax.jit(jax.vmap(jax.grad(total, has_aux=True)))(many)
    for k, expected in enumerate([1, 0, 0, 0, 1]):
        grad, one = jax.tree.map(lambda a, k=k: a[k], (grads, solutions))
        assert one.result == (RESULTS.successful if expected else RESULTS.unstable)
        assert np.all(np.isfinite(one.value)) and np.all(np.isfinite(grad))
        assert bool(np.any(one.value)) == bool(np.any(grad)) == bool(expected)
    np.testing.assert_allclose(solutions.value[4], equation(0.5 * A, Q).value, rtol=1e-13)
    single = equation(A.astype(jnp.float32), Q.astype(jnp.float32))
    assert single.value.dtype == jnp.float32
    np.testing.assert_allclose(single.value, solutions.value[0], rtol=1e-4)


@both
def test_bad_input_is_named(equation):
    with pytest.raises(ValueError, match=r"`A`: got shape \(2, 3\)"):
        equation(np.ones((2, 3)), np.eye(2))
    with pytest.raises(ValueError, match=r"`Q`: got shape \(1, 1\); expected \(2, 2\)"):
        equation(np.zeros((2, 2)), np.eye(1))
    with pytest.raises(RuntimeError, match="`A` is not stable"):
        equation(2 * np.eye(2), np.eye(2))
