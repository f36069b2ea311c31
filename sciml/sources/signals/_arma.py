"""Coloured noise: autoregressive moving-average processes."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.core import check_key, invalid, one_at_a_time

from .._checks import at_least
from ._bounds import interval, positive

_eigh, _solve = one_at_a_time(jnp.linalg.eigh), one_at_a_time(jnp.linalg.solve)


def arma(
    key: PRNGKeyArray,
    time: int,
    low: ArrayLike,
    high: ArrayLike,
    *,
    ar: ArrayLike | None = None,
    ma: ArrayLike | None = None,
    sigma: ArrayLike | None = None,
) -> Float[Array, "time input"]:
    """`x_k = Σ_i ar_i x_{k-i} + e_k + Σ_j ma_j e_{k-j}`, scaled to a standard deviation and clipped to the bounds.

    The process is stationary from the first sample: it starts in its stationary distribution, and no burn-in is thrown
    away. Choose it for disturbances with a given spectrum: `ar = [0.95]` is low-pass noise that forgets within 20
    samples.

    Args:
        key: source of randomness.
        time: number of samples, >= 1.
        low: lower bound, a number or one for each input; finite.
        high: upper bound, likewise, `high >= low`. The mean is the middle.
        ar: coefficients of the past values, the latest first, the same for all inputs; all roots of
            `z^p - ar_1 z^{p-1} - ... - ar_p` lie inside the unit circle. None for none.
        ma: coefficients of the past noise, the latest first. None for none.
        sigma: stationary standard deviation before clipping, in the unit of the signal, a number or one for each input,
            > 0; None for `(high - low)/6`, which clips 0.3 % of the samples.

    Returns:
        `time` samples of each input; inputs are independent.

    Raises:
        ValueError: `time < 1`, an `ar` that is not stationary, coefficients that are no vector, `sigma <= 0`, or bounds
            that are infinite, crossed, or of different lengths.
        TypeError: `key` is none.

    Source: P. J. Brockwell & R. A. Davis (1991), *Time Series: Theory and Methods*, sections 3.1 and 12.1.

    Examples:
        ```python
        u = sciml.sources.signals.arma(jax.random.key(0), 20_000, -1.0, 1.0, ar=jnp.array([0.9]), sigma=0.1)[:, 0]
        assert abs(jnp.corrcoef(u[1:], u[:-1])[0, 1] - 0.9) < 0.02
        ```
    """
    check_key(key)
    at_least("time", time, 1)
    lower, upper = interval(low, high)
    past, noise = _coefficients("ar", ar, lower.dtype), _coefficients("ma", ma, lower.dtype)
    if not isinstance(past, Tracer):
        largest = max(np.abs(np.roots(np.r_[1.0, -np.asarray(past, float)])), default=0.0)
        if not largest < 1:
            got = f"coefficients with a root of modulus {largest:.6g}"
            raise invalid(
                "ar", got, "roots inside the unit circle", "scale the coefficients down; for drifts, `random_walk`"
            )
    scale = (upper - lower) / 6
    if sigma is not None:
        scale = positive("sigma", sigma, lower, "give the standard deviation in the unit of the signal")
    A, B = _state_space(past, noise)
    n = B.size
    # P = A P Aᵀ + B Bᵀ, the covariance of the state; at most some tens of rows, so by Kronecker products
    P = _solve(jnp.eye(n * n, dtype=A.dtype) - jnp.kron(A, A), jnp.ravel(jnp.outer(B, B))).reshape(n, n)
    eigenvalues, vectors = _eigh((P + P.T) / 2)
    root = vectors * jnp.sqrt(jnp.maximum(eigenvalues, 0))
    here, there = jr.split(key)
    start = root @ jr.normal(here, (n, lower.size), lower.dtype)

    def advance(x: Array, e: Array) -> tuple[Array, Array]:
        x = A @ x + B[:, None] * e
        return x, x[0]

    rest = jax.lax.scan(advance, start, jr.normal(there, (time - 1, lower.size), lower.dtype))[1]
    unit = jnp.concatenate([start[:1], rest]) / jnp.sqrt(P[0, 0])
    return jnp.clip((lower + upper) / 2 + scale * unit, lower, upper)


def _coefficients(argument: str, values: ArrayLike | None, dtype: np.dtype) -> Float[Array, " lag"]:
    array = jnp.zeros(0, dtype) if values is None else jnp.asarray(values).astype(dtype)
    if array.ndim != 1:
        raise invalid(
            argument, f"an array of shape {array.shape}", "a vector of coefficients", "write `jnp.array([0.9])`"
        )
    return array


def _state_space(ar: Float[Array, " p"], ma: Float[Array, " q"]) -> tuple[Float[Array, "n n"], Float[Array, " n"]]:
    """`s_k = A s_{k-1} + B e_k`, `x_k = s_k[0]`: entry `i` of the state sums what is already known of `x_{k+i}`."""
    n = max(ar.size, ma.size + 1)
    A = jnp.eye(n, k=1, dtype=ar.dtype).at[: ar.size, 0].add(ar)
    B = jnp.zeros(n, ar.dtype).at[0].set(1).at[1 : ma.size + 1].set(ma)
    return A, B
