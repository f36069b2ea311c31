"""Gaussian beliefs about a state, and their correction by a measurement."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Scalar

from sciml.core import as_floats, cholesky, invalid, solve_cholesky, solve_triangular


class Gaussian(eqx.Module):
    """A normal distribution of a state, `N(mean, cov)`."""

    mean: Float[Array, "*batch x"]
    cov: Float[Array, "*batch x x"]

    def __init__(self, mean: ArrayLike, cov: ArrayLike):
        """The mean `(x,)`, and the covariance: one variance for all states, one for each, or a matrix `(x, x)`.

        Raises:
            ValueError: shapes that do not fit, or (outside `jit`) a matrix that is no covariance.
        """
        self.mean = as_floats(mean, "mean")
        if self.mean.ndim == 0:
            raise invalid("mean", "a scalar", "one entry per state", "write `jnp.array([x])`")
        shaped = self.mean.ndim > 1 or jnp.ndim(cov) > 2
        self.cov = as_floats(cov, "cov") if shaped else as_covariance(cov, self.mean.size, "cov", self.mean.dtype)


class Correction(eqx.Module):
    """What a measurement does to a belief."""

    posterior: Gaussian
    innovation: Float[Array, " y"]
    innovation_cov: Float[Array, "y y"]
    gain: Float[Array, "x y"]
    slope: Float[Array, "y x"]
    """`H`, with zero rows for what was not measured."""
    log_likelihood: Scalar


def corrected(
    prior: Gaussian, innovation: Array, slope: Array, noise: Array, is_measured: Bool[Array, " y"]
) -> Correction:
    """The Kalman update of a belief in Joseph's form, which stays positive semidefinite under rounding.

        S = H P Hᵀ + V,   K = P Hᵀ S⁻¹,   x⁺ = x + K e,   P⁺ = (I - K H) P (I - K H)ᵀ + K V Kᵀ
        log p(e) = -½ (eᵀ S⁻¹ e + log det S + y log 2π)

    A missing output gets a zero row in `H` and `e` and a row of the identity in `V`: it changes neither the belief nor
    the likelihood.

    Source: Kalman (1960), doi:10.1115/1.3662552; Bucy & Joseph (1968), Filtering for Stochastic Processes with
    Applications to Guidance.
    """
    eye_y, eye_x = jnp.eye(noise.shape[0], dtype=noise.dtype), jnp.eye(prior.mean.size, dtype=noise.dtype)
    e = jnp.where(is_measured, innovation, 0.0)
    H = jnp.where(is_measured[:, None], slope, 0.0)
    V = masked(noise, is_measured, eye_y)
    S = symmetric(H @ prior.cov @ H.T + V)
    L = cholesky(S)
    K = solve_cholesky(L, H @ prior.cov).T
    A = eye_x - K @ H
    cov = symmetric(A @ prior.cov @ A.T + K @ V @ K.T)
    white = solve_triangular(L, e[:, None])[:, 0]
    count = jnp.sum(is_measured).astype(e.dtype)
    log_det = 2 * jnp.sum(jnp.log(jnp.diagonal(L)))
    log_likelihood = -0.5 * (white @ white + log_det + count * jnp.log(2 * jnp.pi).astype(e.dtype))
    return Correction(Gaussian(prior.mean + K @ e, cov), e, S, K, H, log_likelihood)


def masked(noise: Array, is_measured: Array, eye: Array) -> Array:
    """The covariance of the measured channels, with rows of the identity for the others."""
    return jnp.where(is_measured[:, None] & is_measured, noise, eye)


def symmetric(matrix: Array) -> Array:
    """The symmetric part."""
    return 0.5 * (matrix + matrix.mT)


def as_covariance(value: ArrayLike, size: int, argument: str, dtype: Any) -> Float[Array, "n n"]:
    """A covariance from one variance, one per entry, or a matrix."""
    array = as_floats(value, argument).astype(dtype)
    if array.shape not in ((), (size,), (size, size)):
        expected = f"a number, ({size},) or ({size}, {size})"
        raise invalid(argument, f"shape {array.shape}", expected, "give one variance per entry, or a matrix")
    matrix = array if array.ndim == 2 else array * jnp.eye(size, dtype=dtype)
    # In NumPy: under `jit`, a function of JAX makes a tracer of a matrix that is known.
    if not isinstance(matrix, Tracer):
        _check_covariance(np.asarray(matrix, float), argument, float(jnp.finfo(dtype).eps))
    return matrix


def _check_covariance(matrix: np.ndarray, argument: str, eps: float) -> None:
    """Raises unless a matrix is a covariance, to rounding."""
    if not (np.all(np.diagonal(matrix) >= 0) and np.all(np.isfinite(matrix))):
        got = f"variances {np.diagonal(matrix)}"
        raise invalid(argument, got, "finite numbers >= 0", "give variances, squared units")
    slack = 100 * len(matrix) * eps * float(np.max(np.abs(matrix), initial=0.0))
    fix = "pass variances and covariances in squared units; `(M + M.T) / 2` of what should be symmetric"
    if np.max(np.abs(matrix - matrix.T), initial=0.0) > slack:
        raise invalid(argument, "a matrix that is not symmetric", "a symmetric positive semidefinite matrix", fix)
    low = float(np.min(np.linalg.eigvalsh(matrix), initial=0.0))
    if low < -slack:
        raise invalid(argument, f"eigenvalue {low:.3g}", "a symmetric positive semidefinite matrix", fix)


def value_and_slope(function: Any, x: Float[Array, " x"]) -> tuple[Array, Array]:
    """`f(x)` and its Jacobian."""

    def twice(x: Array) -> tuple[Array, Array]:
        value = function(x)
        return value, value

    slope, value = jax.jacfwd(twice, has_aux=True)(x)
    return value, slope
