"""States and coefficients fitted together: the Gauss-Newton iteration of errors in variables.

    J(x, Ξ) = Σ ((x[k] - y[k]) / s)² + Σ ((x[k+1] - Φ(x[k], u[k]; Ξ)) / τ)²

over measured outputs and linked samples, with `Φ` one or more Runge-Kutta steps of `dx/dt = Ξᵀ θ(x, u)`, `s` the noise
and `τ = tolerance·s` what the equations may miss in one sampling interval.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar

from sciml.core import cholesky, solve_cholesky

from ._arrow import Arrow, eliminate
from ._chain import Chain


class Joint(eqx.Module):
    """States and coefficients, and the quadratic model of `J/2` in all coefficients, with the states eliminated."""

    x: Float[Array, "time x"]
    coefficients: Float[Array, "term x"]
    value: Scalar
    """`J`."""
    matrix: Float[Array, "n n"]
    gradient: Float[Array, " n"]
    steps: Int[Array, ""]


def flow(library: Any, coefficients: Array, x: Array, u: Array | None, dt: Array, substeps: Array) -> Array:
    """`Φ`: the state one sampling interval later, by classical Runge-Kutta steps."""
    h = dt / substeps.astype(dt.dtype)
    field = lambda x: library(x, u) @ coefficients

    def step(_: Array, x: Array) -> Array:
        k1 = field(x)
        k2 = field(x + h / 2 * k1)
        k3 = field(x + h / 2 * k2)
        k4 = field(x + h * k3)
        return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)

    return jax.lax.fori_loop(0, substeps, step, x)


def defects(library: Any, coefficients: Array, x: Array, chain: Chain, substeps: Array) -> Array:
    """`x[k+1] - Φ(x[k])`, zero where nothing is linked."""
    u = None if chain.u is None else chain.u[:-1]
    one = lambda x, u, dt: flow(library, coefficients, x, u, dt, substeps)
    gap = x[1:] - jax.vmap(one, in_axes=(0, None if u is None else 0, 0))(x[:-1], u, chain.dt)
    return jnp.where(chain.is_linked[:, None], gap, 0)


def objective(
    library: Any, coefficients: Array, x: Array, chain: Chain, s: Array, tau: Array, substeps: Array
) -> Scalar:
    """`J`."""
    misfit = jnp.where(chain.is_measured, (x - chain.y) / s, 0)
    return jnp.sum(misfit**2) + jnp.sum((defects(library, coefficients, x, chain, substeps) / tau) ** 2)


@eqx.filter_jit
def step_error(library: Any, coefficients: Array, x: Array, chain: Chain, substeps: Array) -> Float[Array, " x"]:
    """Root mean square of what twice as many Runge-Kutta steps change in `Φ`: by order 4, 15/16 of the error."""
    one, two = (defects(library, coefficients, x, chain, n * substeps) for n in (1, 2))
    return jnp.sqrt(jnp.sum((one - two) ** 2, axis=0) / jnp.sum(chain.is_linked.astype(x.dtype)))


def _linearise(
    library: Any, coefficients: Array, x: Array, chain: Chain, s: Array, tau: Array, substeps: Array
) -> Arrow:
    """The Gauss-Newton system; the derivatives of a defect are `I` in `x[k+1]`, `-A` in `x[k]`, `-B` in `Ξ`."""
    states, n = x.shape[1], coefficients.size
    u = None if chain.u is None else chain.u[:-1]
    one = lambda x, c, u, dt: flow(library, c, x, u, dt, substeps)
    slopes = jax.vmap(jax.jacfwd(one, argnums=(0, 1)), in_axes=(0, None, None if u is None else 0, 0))
    A, B = slopes(x[:-1], coefficients, u, chain.dt)
    # Rows in units of τ.
    link = chain.is_linked[:, None].astype(x.dtype) / tau
    r = defects(library, coefficients, x, chain, substeps) / tau
    A, B = link[..., None] * A, link[..., None] * B.reshape(-1, states, n)
    misfit = jnp.where(chain.is_measured, (x - chain.y) / s**2, 0)
    here = lambda first: jnp.concatenate([first, jnp.zeros_like(first[:1])])  # belongs to x[k]
    after = lambda second: jnp.concatenate([jnp.zeros_like(second[:1]), second])  # belongs to x[k+1]
    diagonal = chain.is_measured.astype(x.dtype) / s**2 + after(link**2)
    alone = ~(after(chain.is_linked) | here(chain.is_linked))
    diagonal = diagonal + alone[:, None].astype(x.dtype) / s**2
    D = jnp.eye(states, dtype=x.dtype) * diagonal[:, None, :] + here(A.mT @ A)
    C = here(A.mT @ B) - after(link[..., None] * B)
    g = misfit + after(link * r) - here(jnp.einsum("kij,ki->kj", A, r))
    return Arrow(D, -link[..., None] * A, C, g, jnp.einsum("kij,kil->jl", B, B), -jnp.einsum("kij,ki->j", B, r))


class _Loop(eqx.Module):
    x: Array
    coefficients: Array
    value: Array
    damping: Array
    steps: Array
    is_done: Array


@eqx.filter_jit
def refit(
    library: Any,
    start: tuple[Float[Array, "time x"], Float[Array, "term x"]],
    is_active: Bool[Array, "term x"],
    chain: Chain,
    s: Float[Array, " x"],
    tolerance: Scalar,
    substeps: Int[Array, ""],
    *,
    steps: int,
) -> Joint:
    """Minimises `J` over all states and the active coefficients by Levenberg-Marquardt, from `start`."""
    tau, free = tolerance * s, is_active.ravel()
    cost = lambda x, c: objective(library, c, x, chain, s, tau, substeps)
    system = lambda x, c: _linearise(library, c, x, chain, s, tau, substeps)

    def body(loop: _Loop) -> _Loop:
        arrow = system(loop.x, loop.coefficients)
        eye = jnp.eye(loop.x.shape[1], dtype=loop.x.dtype)
        reduced = eliminate(eqx.tree_at(lambda a: a.D, arrow, arrow.D + loop.damping * eye / s**2))
        step = _masked_step(reduced.matrix, reduced.gradient, free, loop.damping)
        x = loop.x + reduced.states(step)
        coefficients = loop.coefficients + step.reshape(is_active.shape)
        value = cost(x, coefficients)
        is_better = value <= loop.value  # False for NaN
        gain = loop.value - value
        take = lambda new, old: jnp.where(is_better, new, old)
        damping = jnp.where(is_better, jnp.maximum(loop.damping / 10, 1e-9), loop.damping * 10)
        # J has the scale of χ²: a gain of 1e-3 decides nothing.
        is_done = (is_better & (gain < 1e-3 + 1e-7 * value) & (loop.damping <= 1e-2)) | (damping > 1e6)
        return _Loop(
            take(x, loop.x),
            take(coefficients, loop.coefficients),
            take(value, loop.value),
            damping,
            loop.steps + 1,
            is_done,
        )

    x, coefficients = start
    coefficients = jnp.where(is_active, coefficients, 0)
    first = cost(x, coefficients)
    first = jnp.where(jnp.isnan(first), jnp.inf, first)
    loop = _Loop(x, coefficients, first, jnp.asarray(1e-3, x.dtype), jnp.asarray(0), jnp.asarray(False))
    loop = jax.lax.while_loop(lambda loop: ~loop.is_done & (loop.steps < steps), body, loop)
    reduced = eliminate(system(loop.x, loop.coefficients))
    return Joint(loop.x, loop.coefficients, loop.value, reduced.matrix, reduced.gradient, loop.steps)


def _masked_step(matrix: Array, gradient: Array, free: Array, damping: Array) -> Array:
    """`-(M + λ diag M)⁻¹ b` over the free entries, zero elsewhere."""
    both = free[:, None] & free
    diagonal = jnp.diagonal(matrix)
    scale = jnp.where(free & (diagonal > 0), jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 1)
    unit = jnp.eye(free.size, dtype=matrix.dtype)
    scaled = jnp.where(both, matrix * scale[:, None] * scale, 0) + jnp.where(free, damping, 1)[:, None] * unit
    return -scale * solve_cholesky(cholesky(scaled), jnp.where(free, scale * gradient, 0)[:, None])[:, 0]
