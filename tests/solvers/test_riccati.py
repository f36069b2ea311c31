"""The linear-quadratic kernel against a dense KKT solve with NumPy, and its inertia test against eigenvalues."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.solvers import _riccati
from sciml.solvers._riccati import Associative, LQ, Sequential

SCANS = (Sequential(), Associative())
run = eqx.filter_jit(lambda lq, vectors, scan: (lambda f: (f, f.solve(*vectors)))(_riccati.factorise(lq, scan)))


def problem(N: int, nx: int, nu: int, seed: int = 0) -> tuple[LQ, tuple]:
    """Random, convex, with cross terms and data that vary in time."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((N + 1, nx + nu, nx + nu))
    W = root @ root.mT / (nx + nu) + 0.1 * np.eye(nx + nu)
    A = np.eye(nx) + 0.3 * rng.standard_normal((N, nx, nx)) / np.sqrt(nx)
    B = rng.standard_normal((N, nx, nu)) / np.sqrt(nx)
    lq = LQ(*(jnp.asarray(m) for m in (W[:, :nx, :nx], W[:-1, nx:, :nx], W[:-1, nx:, nx:], A, B)))
    vectors = (rng.standard_normal(shape) for shape in ((N + 1, nx), (N, nu), (N, nx), (nx,)))
    return lq, tuple(jnp.asarray(v) for v in vectors)


def dense(lq: LQ) -> tuple[np.ndarray, np.ndarray]:
    """Hessian and constraint Jacobian over `z = [x_0 ... x_N, u_0 ... u_{N-1}]`; the first rows fix `x_0`."""
    Q, S, R, A, B = (np.asarray(m) for m in (lq.Q, lq.S, lq.R, lq.A, lq.B))
    N, nx, nu = B.shape
    at_x = lambda k: slice(k * nx, (k + 1) * nx)
    at_u = lambda k: slice((N + 1) * nx + k * nu, (N + 1) * nx + (k + 1) * nu)
    n = (N + 1) * nx + N * nu
    H, E = np.zeros((n, n)), np.zeros(((N + 1) * nx, n))
    E[:nx, :nx] = np.eye(nx)
    H[at_x(N), at_x(N)] = Q[N]
    for k in range(N):
        H[at_x(k), at_x(k)], H[at_u(k), at_u(k)] = Q[k], R[k]
        H[at_u(k), at_x(k)], H[at_x(k), at_u(k)] = S[k], S[k].T
        E[at_x(k + 1), at_x(k + 1)] = np.eye(nx)
        E[at_x(k + 1), at_x(k)], E[at_x(k + 1), at_u(k)] = -A[k], -B[k]
    return H, E


def truth(lq: LQ, vectors: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, u and ν by one dense solve of the KKT conditions of `f + νᵀh`."""
    H, E = dense(lq)
    q, r, c, x0 = (np.asarray(v) for v in vectors)
    n, m = H.shape[0], E.shape[0]
    K = np.block([[H, E.T], [E, np.zeros((m, m))]])
    right = np.concatenate([-q.ravel(), -r.ravel(), x0, c.ravel()])
    z = np.linalg.solve(K, right)
    return z[: q.size].reshape(q.shape), z[q.size : n].reshape(r.shape), z[n + x0.size :].reshape(c.shape)


def reduced_eigenvalue(lq: LQ) -> float:
    """Smallest eigenvalue of the Hessian on the null space of the constraints."""
    H, E = dense(lq)
    basis = np.linalg.svd(E)[2][E.shape[0] :].T
    return np.linalg.eigvalsh(basis.T @ H @ basis)[0]


def check(found: tuple, expected: tuple, tolerance: float) -> None:
    for name, a, b in zip(("x", "u", "nu"), found, expected, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * max(1.0, np.abs(b).max()), err_msg=name)


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("N, nx, nu", [(1, 3, 2), (7, 3, 2), (30, 8, 4), (4, 3, 10)])
def test_solution_of_the_kkt_conditions(scan, N, nx, nu):
    lq, vectors = problem(N, nx, nu)
    factors, found = run(lq, vectors, scan)
    assert factors.is_definite
    check(found, truth(lq, vectors), 1e-9)


@pytest.mark.parametrize("scan", SCANS)
def test_factors_serve_other_vectors(scan):
    lq, vectors = problem(7, 3, 2)
    others = tuple(jnp.stack([v, 2 * v + 1, -v]) for v in vectors)
    factors = run(lq, vectors, scan)[0]
    many = jax.jit(jax.vmap(lambda *v: factors.solve(*v)))(*others)
    for i in range(3):
        check(tuple(m[i] for m in many), truth(lq, tuple(v[i] for v in others)), 1e-9)


@pytest.mark.parametrize("scan", SCANS)
def test_indefinite_states_with_a_definite_reduced_hessian(scan):
    lq, vectors = problem(7, 3, 2)
    shifted = eqx.tree_at(lambda m: m.Q, lq, lq.Q.at[0].add(-5 * jnp.eye(3)).at[4].add(-0.3 * jnp.eye(3)))
    assert np.linalg.eigvalsh(shifted.Q).min() < -0.1
    assert reduced_eigenvalue(shifted) > 1e-3
    factors, found = run(shifted, vectors, scan)
    assert factors.is_definite
    check(found, truth(shifted, vectors), 1e-9)


def test_indefinite_inputs_with_a_definite_reduced_hessian():
    lq, vectors = problem(7, 3, 2)
    lq = eqx.tree_at(lambda m: (m.R, m.S), lq, (lq.R.at[3].set(-0.05 * jnp.eye(2)), 0 * lq.S))
    assert reduced_eigenvalue(lq) > 1e-3
    factors, found = run(lq, vectors, Sequential())
    assert factors.is_definite
    check(found, truth(lq, vectors), 1e-9)
    assert not run(lq, vectors, Associative())[0].is_definite  # documented: errs on the safe side


@pytest.mark.parametrize("scan", SCANS)
def test_inertia_test_agrees_with_eigenvalues(scan):
    lq, vectors = problem(7, 3, 2)
    seen = set()
    for shift in np.linspace(0, 1.5, 11):
        moved = eqx.tree_at(lambda m: m.Q, lq, lq.Q - shift * jnp.eye(3))
        expected = reduced_eigenvalue(moved) > 0
        factors, found = run(moved, vectors, scan)
        assert bool(factors.is_definite) == expected, shift
        seen.add(bool(expected))
        assert all(np.all(np.isfinite(v)) for v in found)
    assert seen == {True, False}


@pytest.mark.parametrize("scan", SCANS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite(scan, bad):
    lq, vectors = problem(7, 3, 2)
    for name in ("Q", "S", "R", "A", "B"):
        matrix = getattr(lq, name)
        broken = eqx.tree_at(lambda m: getattr(m, name), lq, matrix.at[2, 0, 1].set(bad))  # noqa: B023
        factors, found = run(broken, vectors, scan)
        assert not factors.is_definite, name
        assert all(np.all(np.isfinite(v)) for v in found), name
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(factors)), name


def test_back_ends_agree_on_a_long_horizon():
    lq, vectors = problem(33, 3, 2, seed=1)
    (one, first), (two, second) = (run(lq, vectors, scan) for scan in SCANS)
    np.testing.assert_allclose(one.P, two.P, rtol=0, atol=1e-10 * np.abs(one.P).max())
    check(second, tuple(np.asarray(v) for v in first), 1e-10)


@pytest.mark.parametrize("scan", SCANS)
def test_float32(scan):
    lq, vectors = problem(30, 8, 4)
    low_lq, low_vectors = jax.tree.map(lambda v: v.astype(jnp.float32), (lq, vectors))
    factors, found = run(low_lq, low_vectors, scan)
    assert factors.is_definite
    assert all(v.dtype == jnp.float32 for v in found)
    check(found, truth(lq, vectors), 1e-4)


@pytest.mark.parametrize("scan", SCANS)
def test_jit_equals_eager_and_batch_equals_loop(scan):
    cases = [problem(7, 3, 2, seed) for seed in range(3)]
    lqs, vectors = jax.tree.map(lambda *leaves: jnp.stack(leaves), *cases)
    alone = [run(*case, scan)[1] for case in cases]
    batch = jax.jit(jax.vmap(lambda lq, v: _riccati.factorise(lq, scan).solve(*v)))(lqs, vectors)
    short = problem(2, 3, 2)  # eager code compiles every operation of every level
    eager = _riccati.factorise(short[0], scan).solve(*short[1])
    check(eager, tuple(np.asarray(v) for v in run(*short, scan)[1]), 1e-12)
    for i in range(3):
        check(tuple(v[i] for v in batch), tuple(np.asarray(v) for v in alone[i]), 1e-12)
    unrolled = run(*cases[0], Sequential(unroll=2))[1]
    check(unrolled, tuple(np.asarray(v) for v in alone[0]), 1e-12)
