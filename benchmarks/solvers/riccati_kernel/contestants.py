"""One instance from matrices and vectors to states, inputs and multipliers, in several ways."""

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl

from sciml.solvers import _riccati


def ours(scan: _riccati.AbstractScan):
    """`factorise` and `solve` with one back end."""

    def solve(matrices, vectors):
        return _riccati.factorise(_riccati.LQ(*matrices), scan).solve(*vectors)

    return solve


def plain(matrices, vectors):
    """A textbook Riccati recursion: `jnp.linalg.cholesky` and `cho_solve` in the scan's body."""
    Q, S, R, A, B = matrices
    q, r, c, x0 = vectors

    def back(carry, at):
        P, p = carry
        Q, S, R, A, B, q, r, c = at
        factor = (jnp.linalg.cholesky(R + B.T @ P @ B), True)
        G, offset = S + B.T @ P @ A, P @ c + p
        both = -jsl.cho_solve(factor, jnp.column_stack([G, r + B.T @ offset]))
        K, k = both[:, :-1], both[:, -1]
        new = Q + A.T @ P @ A + G.T @ K
        return ((new + new.T) / 2, q + A.T @ offset + G.T @ k), (K, k, P, p)

    start, stages = (Q[-1], q[-1]), (Q[:-1], S, R, A, B, q[:-1], r, c)
    _, (K, k, P, p) = jax.lax.scan(back, start, stages, reverse=True)

    def ahead(x, at):
        A, B, c, K, k, P, p = at
        u = K @ x + k
        x = A @ x + B @ u + c
        return x, (x, u, -(P @ x + p))

    _, (x, u, nu) = jax.lax.scan(ahead, x0, (A, B, c, K, k, P, p))
    return jnp.concatenate([x0[None], x]), u, nu


def condensed(matrices, vectors):
    """States eliminated by the dynamics, one dense Cholesky factorisation of the reduced Hessian."""
    Q, S, R, A, B = matrices
    q, r, c, x0 = vectors
    steps, nx, n_u = B.shape

    def grow(row, at):
        k, A, B, c = at
        gain, free = row
        gain = jax.lax.dynamic_update_slice(A @ gain, B, (0, k * n_u))
        row = (gain, A @ free + c)
        return row, row

    zero = jnp.zeros((nx, steps * n_u), B.dtype)
    _, (gains, frees) = jax.lax.scan(grow, (zero, x0), (jnp.arange(steps), A, B, c))
    gains, frees = jnp.concatenate([zero[None], gains]), jnp.concatenate([x0[None], frees])
    half = (Q @ gains).reshape(-1, steps * n_u)
    cross = (S @ gains[:-1]).reshape(steps * n_u, -1)  # u rows
    H = gains.reshape(-1, steps * n_u).T @ half + cross + cross.T + jsl.block_diag(*R)
    slope = jnp.einsum("kij,kj->ki", Q, frees) + q
    g = jnp.einsum("kia,ki->a", gains, slope) + (r + jnp.einsum("kij,kj->ki", S, frees[:-1])).ravel()
    flat = -jsl.cho_solve((jnp.linalg.cholesky(H, symmetrize_input=False), True), g)
    x, u = jnp.einsum("kia,a->ki", gains, flat) + frees, flat.reshape(steps, n_u)
    cost = jnp.einsum("kij,kj->ki", Q, x) + q
    cost = cost.at[:-1].add(jnp.einsum("kji,kj->ki", S, u))

    def costate(nu, at):
        A, cost = at
        new = A.T @ nu - cost
        return new, nu

    _, nu = jax.lax.scan(costate, -cost[-1], (A, cost[:-1]), reverse=True)
    return x, u, nu
