"""The same step by hand: the same Jacobian in the same chunks, the same damping, one linear solve, one trial."""

import resource

import jax
import jax.numpy as jnp
import jax.scipy.linalg as jsl
import numpy as np
from harness.timing import compile_ahead
from problems import build

DAMPING, CHUNK = 100.0, 512


def rows_of(function, flat, samples):
    """Jacobians and residuals of samples, by reverse mode through one of them at a time."""

    def one(sample):
        r, pull = jax.vjp(lambda v: function(v, sample), flat)
        return jax.vmap(lambda seed: pull(seed)[0])(jnp.eye(r.size, dtype=r.dtype)), r

    rows, r = jax.vmap(one)(samples)
    return rows.reshape(-1, flat.size), r.reshape(-1)


def normal(problem, flat):
    """`JᵀJ` and `Jᵀr` over chunks of samples."""
    total = jnp.zeros((flat.size, flat.size)), jnp.zeros(flat.size)
    for function, samples, scale in problem.terms:
        count = len(jax.tree.leaves(samples)[0])
        size = min(CHUNK, count)
        cut = lambda x, size=size: x[: len(x) // size * size].reshape(-1, size, *x.shape[1:])

        def add(total, chunk, function=function, scale=scale):
            rows, r = rows_of(function, flat, chunk)
            return (total[0] + scale**2 * rows.T @ rows, total[1] + scale**2 * r @ rows), None

        total, _ = jax.lax.scan(add, total, jax.tree.map(cut, samples))
        if count % size:
            total, _ = add(total, jax.tree.map(lambda x, n=count // size * size: x[n:], samples))
    return total


def solve(matrix, gradient):
    """`(JᵀJ + λD) d = -Jᵀr`."""
    diagonal = jnp.diagonal(matrix)
    diagonal = diagonal + 1e-6 * jnp.max(diagonal)
    return -jsl.cho_solve(jsl.cho_factor(matrix + DAMPING * jnp.diag(diagonal)), gradient)


def samples_step(problem, flat):
    """Normal equations from samples."""
    return solve(*normal(problem, flat))


def dense_step(problem, flat):
    """Normal equations from all columns at once, by forward mode."""
    r, push = jax.linearize(problem.whole, flat)
    columns = jax.vmap(push)(jnp.eye(flat.size))
    return solve(columns @ columns.T, columns @ r)


def few_residuals_step(problem, flat):
    """The same step from `J D⁻¹ Jᵀ`."""
    ((function, samples, scale),) = problem.terms
    rows, r = rows_of(function, flat, samples)
    J, r = scale * rows, scale * r
    D = jnp.sum(J**2, axis=0)
    D = D + 1e-6 * jnp.max(D)
    matrix = (J / D) @ J.T + DAMPING * jnp.eye(r.size)
    return -(J.T @ jsl.cho_solve(jsl.cho_factor(matrix), r)) / D


def matrix_free_step(problem, flat):
    """Conjugate gradients with one damping, the smallest that ours tries, and the same preconditioner and end."""
    ((function, samples, scale),) = problem.terms
    cut = lambda x: x.reshape(-1, 500, *x.shape[1:])
    squares = lambda total, chunk: (total + scale**2 * jnp.sum(rows_of(function, flat, chunk)[0] ** 2, axis=0), None)
    D, _ = jax.lax.scan(squares, jnp.zeros_like(flat), jax.tree.map(cut, samples))
    D = D + 1e-6 * jnp.max(D)
    r, push = jax.linearize(problem.whole, flat)
    pull = jax.linear_transpose(push, flat)
    times = lambda v: pull(push(v))[0] + 0.1 * DAMPING * D * v
    return jax.scipy.sparse.linalg.cg(times, -pull(r)[0], tol=1e-2, maxiter=200, M=lambda v: v / D)[0]


STEPS = {
    "samples": samples_step, "dense": dense_step, "few_residuals": few_residuals_step, "matrix_free": matrix_free_step,
}  # fmt: skip


def prepare(case, data):
    """A step: Jacobian, linear solve, trial."""
    problem = build(case, data)
    propose = STEPS[case.__name__.rpartition(".")[2]]
    cost = lambda flat: 0.5 * jnp.sum(problem.whole(flat) ** 2)
    call, seconds = compile_ahead(lambda flat: cost(flat + propose(problem, flat)), problem.flat)

    def act():
        value = np.asarray(call())
        return {"cost": value, "peak": np.asarray(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)}

    return {"step": act}, {"step": seconds}
