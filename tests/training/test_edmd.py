"""Dynamic mode decomposition and its extensions against closed forms."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.core import RESULTS
from sciml.simulation import free_run
from sciml.sources import record, stack
from sciml.systems.models import Functions, Polynomial
from sciml.training import dmd, edmd

A = np.array([[0.9, 0.2, 0.0], [-0.2, 0.9, 0.1], [0.0, 0.0, 0.7]])
B = np.array([[0.0], [1.0], [0.5]])


def run(n, seed, u=None):
    rng = np.random.default_rng(seed)
    x = [rng.normal(size=3)]
    for k in range(n - 1):
        x.append(A @ x[-1] + (0 if u is None else B @ u[k]))
    return np.array(x)


def test_dmd_is_least_squares_over_all_pairs_of_all_records():
    rng = np.random.default_rng(0)
    noisy = [run(n, n) + 0.01 * rng.normal(size=(n, 3)) for n in (12, 20)]
    noisy[1][7, 1] = np.nan  # takes two pairs with it
    found = dmd(stack([record(y, dt=0.5) for y in noisy]))
    keep = [k for k in range(19) if k not in (6, 7)]
    X = np.concatenate([noisy[0][:-1], noisy[1][keep]])
    Y = np.concatenate([noisy[0][1:], noisy[1][[k + 1 for k in keep]]])
    K = np.linalg.pinv(X) @ Y
    np.testing.assert_allclose(found.value.system.A, K.T, rtol=1e-10)
    assert int(found.stats.pairs) == 28 and found.value.system.dt == 0.5
    # ResDMD: ‖(Y - λX) g‖ / ‖X g‖ for each eigenpair.
    values, g = np.linalg.eig(K)
    residuals = np.linalg.norm(Y @ g - X @ g * values, axis=0) / np.linalg.norm(X @ g, axis=0)
    np.testing.assert_allclose(found.stats.residuals, np.sort(residuals), rtol=1e-8)


def test_truncated_dmd_is_the_projection_on_leading_singular_vectors():
    y = run(30, 1)
    U, s, Vt = np.linalg.svd(y[:-1], full_matrices=False)
    K = Vt[:2].T / s[:2] @ U[:, :2].T @ y[1:]
    np.testing.assert_allclose(dmd(record(y, dt=1.0), rank=2).value.system.A, K.T, atol=1e-12)


def test_dmd_with_control_recovers_the_plant():
    u = np.random.default_rng(2).normal(size=(40, 1))
    found = dmd(record(run(40, 3, u), u, dt=0.1))
    np.testing.assert_allclose(found.value.system.A, A, atol=1e-12)
    np.testing.assert_allclose(found.value.system.B, B, atol=1e-12)
    expected = np.sort_complex(np.linalg.eigvals(A))
    np.testing.assert_allclose(np.sort_complex(np.asarray(found.stats.eigenvalues)), expected, atol=1e-12)
    assert np.all(np.asarray(found.stats.residuals) < 1e-12)


def manifold(n, seed):
    """x0⁺ = a x0, x1⁺ = b x1 + (a² - b) x0²: eigenfunctions x0, x0², x1 - x0² with eigenvalues a, a², b."""
    x = [np.random.default_rng(seed).uniform(-1, 1, 2)]
    for _ in range(n - 1):
        x0, x1 = x[-1]
        x.append(np.array([0.9 * x0, 0.5 * x1 + (0.81 - 0.5) * x0**2]))
    return np.array(x)


DATA = stack([record(manifold(10, seed), dt=1.0) for seed in range(8)])


def test_edmd_in_an_invariant_space_is_exact():
    library = Functions(lambda x, u: jnp.stack([x[0], x[1], x[0] ** 2]), ["a", "b", "a²"])
    found = edmd(library, DATA)
    np.testing.assert_allclose(np.sort(np.asarray(found.stats.eigenvalues).real), [0.5, 0.81, 0.9], atol=1e-12)
    assert np.all(np.asarray(found.stats.residuals) < 1e-12)
    np.testing.assert_allclose(found.value.system.C, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    fresh = record(manifold(30, 99), dt=1.0)
    np.testing.assert_allclose(free_run(found.value, fresh).y, fresh.y, atol=1e-12)
    # Modes: y = Σ modes[:, j] φ_j(x).
    x = jnp.array([0.3, -0.4])
    phi = np.asarray(library(x, None)) @ np.asarray(found.stats.eigenfunctions)
    np.testing.assert_allclose(np.asarray(found.stats.modes) @ phi, x, atol=1e-12)


def test_residuals_tell_spurious_eigenvalues_from_true_ones():
    """Monomials up to degree 2: x0 x1 and x1² leave the space, and nothing else can be trusted that needs them."""
    stats = edmd(Polynomial(2), DATA).stats
    true = np.array([1.0, 0.9, 0.81, 0.5])
    eigenvalues, residuals = np.asarray(stats.eigenvalues), np.asarray(stats.residuals)
    np.testing.assert_allclose(np.sort(eigenvalues[:4].real), np.sort(true), atol=1e-8)
    assert np.all(residuals[:4] < 1e-8) and np.all(residuals[4:] > 1e-3)


def test_errors():
    y = run(10, 0)
    with pytest.raises(ValueError, match="expected even sampling"):
        dmd(record(y, t=np.arange(10.0) ** 2))
    with pytest.raises(ValueError, match="9 pairs of samples for 10 observables"):
        edmd(Polynomial(2), record(y, dt=1.0))
    with pytest.raises(ValueError, match="`rank`: got 0"):
        dmd(record(y, dt=1.0), rank=0)
    bad = edmd(Functions(lambda x, u: x / 0, ["a", "b", "c"]), record(y, dt=1.0))
    assert bad.result == RESULTS.diverged and bool(jnp.all(bad.value.system.A == 0))
    assert bool(jnp.all(jnp.isinf(bad.stats.residuals)))  # nothing was found, and nothing is said to be accurate
    single = eqx.tree_at(lambda r: r.length, record(y, dt=1.0), jnp.asarray(1))
    with pytest.raises(ValueError, match="`data`: got records of one sample"):
        dmd(single)
