"""Smoothed states, their derivatives and the level of the noise, from the measurements alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ._arrow import Arrow, eliminate
from ._chain import Chain


class Smoothed(eqx.Module):
    """What a smoother makes of a chain."""

    x: Float[Array, "time x"]
    rate: Float[Array, "time x"]
    """`dx/dt`."""
    noise: Float[Array, " x"]
    """Standard deviation of the noise of each output."""


@eqx.filter_jit
def smooth(chain: Chain) -> Smoothed:
    """The smoothest paths that explain the outputs: twice integrated Wiener processes in white noise, one per output.

    The ratio of the two variances maximises the likelihood with the initial values integrated out, so nothing is
    tuned; times may be uneven and samples missing. The spline that minimises `Σ(y - x)² + λ∫x'''²` is the same.

    Source: Wahba (1978), Improper priors, spline smoothing and the problem of guarding against model errors in
    regression, JRSS B 40(3); the state-space form is Kohn and Ansley (1987), SIAM J. Sci. Stat. Comput. 8(1).
    """
    x, rate, noise = jax.vmap(_smooth_one, in_axes=(None, 1, 1), out_axes=(1, 1, 0))(chain, chain.y, chain.is_measured)
    return Smoothed(x, rate, noise)


def _smooth_one(chain: Chain, y: Array, is_measured: Array) -> tuple[Array, Array, Array]:
    measured = is_measured.astype(y.dtype)
    number = jnp.sum(measured)
    mean = jnp.sum(measured * y) / number
    scale = jnp.sqrt(jnp.sum(measured * (y - mean) ** 2) / number)
    z = measured * (y - mean) / scale
    linked = chain.is_linked.astype(y.dtype)
    unit = jnp.sum(linked * chain.dt) / jnp.sum(linked)
    fit = lambda power: _penalised(z, measured, chain.is_linked, chain.dt / unit, 10.0**power)
    values = lambda powers: jax.lax.map(lambda power: fit(power)[0], powers)
    # A grid of decades, then of their quarters around the best.
    coarse = jnp.arange(-10.0, 13.0, dtype=y.dtype)
    middle = coarse[jnp.argmin(values(coarse))]
    fine = middle + jnp.linspace(-0.75, 0.75, 7, dtype=y.dtype)
    _, states, noise = fit(fine[jnp.argmin(values(fine))])
    return mean + scale * states[:, 0], scale * states[:, 1] / unit, scale * noise


def _penalised(z: Array, measured: Array, is_linked: Array, step: Array, q: Array) -> tuple[Scalar, Array, Scalar]:
    """-2 log likelihood (restricted), the states and the noise, for a variance `q` of the process per unit of noise.

    Over a step τ the states `s = (x, x', x'')` go to `F s + e`, `F = [[1, τ, τ²/2], [0, 1, τ], [0, 0, 1]]`, and e has
    the covariance `q T W T` with `T = diag(τ^5/2, τ^3/2, τ^1/2)` and
    `W = [[1/20, 1/8, 1/6], [1/8, 1/3, 1/2], [1/6, 1/2, 1]]`.
    """
    link = is_linked.astype(z.dtype)
    step = jnp.where(is_linked, step, 1)
    one, zero = jnp.ones_like(step), jnp.zeros_like(step)
    F = jnp.stack([one, step, step**2 / 2, zero, one, step, zero, zero, one], -1).reshape(-1, 3, 3)
    inverse = jnp.asarray([[720, -360, 60], [-360, 192, -36], [60, -36, 9]], z.dtype)  # W⁻¹
    T = jnp.stack([step**2.5, step**1.5, step**0.5], -1)
    weight = (link / q)[:, None, None] * inverse / T[:, :, None] / T[:, None, :]
    last = jnp.zeros((1, 3, 3), z.dtype)
    D = jnp.concatenate([F.mT @ weight @ F, last]) + jnp.concatenate([last, weight])
    D = D.at[:, 0, 0].add(measured)
    # Padding hangs on nothing; a record with fewer than three samples of this output leaves directions free.
    free = jnp.concatenate([1 - link, jnp.ones(1, z.dtype)]) * jnp.concatenate([jnp.ones(1, z.dtype), 1 - link])
    D = D + (free[:, None, None] + 1e-9) * jnp.eye(3, dtype=z.dtype)
    right = jnp.zeros((z.size, 3), z.dtype).at[:, 0].set(-measured * z)
    empty = jnp.zeros((z.size, 3, 0), z.dtype)
    system = Arrow(D, -weight @ F, empty, right, jnp.zeros((0, 0), z.dtype), jnp.zeros(0, z.dtype))
    reduced = eliminate(system)
    states = reduced.states(jnp.zeros(0, z.dtype))
    # At the optimum of a quadratic, Σ z² - zᵀx is all of the objective.
    gap = jnp.einsum("kij,kj->ki", F, states[:-1]) - states[1:]
    penalty = jnp.einsum("ki,kij,kj->", gap, weight, gap)
    objective = jnp.sum(measured * (z - states[:, 0]) ** 2) + penalty
    records = z.size - jnp.sum(free) - jnp.sum(link)  # samples less links
    degrees = jnp.maximum(jnp.sum(measured) - 3 * records, 1)
    variance = objective / degrees
    value = degrees * jnp.log(variance) + reduced.log_determinant + 3 * jnp.sum(link) * jnp.log(q)
    return jnp.where(jnp.isfinite(value), value, jnp.inf), states, jnp.sqrt(variance)
