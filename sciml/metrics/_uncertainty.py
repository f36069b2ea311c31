"""Uncertainty of the parameters of a least-squares fit."""

from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ..core import invalid, one_at_a_time, ravel

_eigh = one_at_a_time(jnp.linalg.eigh)
_svd = one_at_a_time(lambda matrix: jnp.linalg.svd(matrix, full_matrices=False))


def covariance(
    jacobian: Float[Array, "residuals parameters"],
    residual: Float[Array, " rows"],
    *,
    precision: ArrayLike | None = None,
) -> tuple[Float[Array, "parameters parameters"], Float[Array, " parameters"]]:
    """The covariance of a least-squares estimate, `σ² (JᵀJ + P)⁻¹` with `σ² = ‖r‖² / (m - n)`, and its standard errors.

    It holds to first order, for residuals that are independent and of equal variance. It is too small for residuals
    that are correlated in time, such as those of a simulation with a model error.

    Args:
        jacobian: `J = ∂r/∂θ` at the solution, `m` residuals by `n` parameters, `m > n`.
        residual: `r` at the solution, without the terms of the prior.
        precision: `P`, the prior knowledge: `P = σ² / σ_prior²` for a parameter with the prior standard deviation
            `σ_prior`, or the ridge of the fit. One number, one per parameter, or a positive semidefinite matrix.

    Returns:
        The covariance `(n, n)` and the standard errors `(n,)`, in the parameters' units.

    Raises:
        ValueError: for shapes that do not fit, `m <= n`, a `precision` that is not positive semidefinite, and, outside
            `jit`, numbers that are not finite or parameters that the data do not determine (they are named).

    Gradient: in both modes.

    Source: Seber & Wild (1989), Nonlinear Regression, section 2.1.2, doi:10.1002/0471725315.
    """
    jacobian, residual = jnp.asarray(jacobian), jnp.asarray(residual).astype(jnp.asarray(jacobian).dtype)
    m, n = jacobian.shape
    if residual.shape != (m,):
        raise invalid(
            "residual",
            f"shape {residual.shape}",
            f"shape ({m},), one per row of `jacobian`",
            "pass all residuals as one vector",
        )
    if m <= n:
        raise invalid(
            "jacobian",
            f"{m} residuals for {n} parameters",
            "more residuals than parameters",
            "use more data, or fewer parameters",
        )
    rows = jacobian if precision is None else jnp.concatenate([jacobian, _root(precision, n, jacobian.dtype)])
    if not _is_traced(rows) and not bool(jnp.all(jnp.isfinite(rows)) & jnp.all(jnp.isfinite(residual))):
        got = "numbers that are NaN or infinite"
        raise invalid("jacobian", got, "a finite Jacobian and residual", "look at `result` of the fit first")
    # With the columns scaled to length one, A = S D: (AᵀA)⁻¹ = D⁻¹ V s⁻² Vᵀ D⁻¹ for S = U s Vᵀ.
    length = jnp.linalg.norm(rows, axis=0)
    safe = jnp.where(length > 0, length, 1.0)
    _, s, vt = _svd(rows / safe)
    if not _is_traced(s):
        _check_rank(s, vt, rows.shape[0])
    half = (vt.T / s) / safe[:, None]
    cov = jnp.sum(residual**2) / (m - n) * (half @ half.T)
    return cov, jnp.sqrt(jnp.diagonal(cov))


def sample_parameters(mean: Any, cov: Float[Array, "parameters parameters"], n: int, *, key: PRNGKeyArray) -> Any:
    """`n` samples from the normal distribution `N(mean, cov)`, for instance of estimated parameters.

    Args:
        mean: the estimate: a vector or any pytree of real arrays with as many entries as `cov` has rows, in the order
            of its leaves.
        cov: positive semidefinite covariance, as `covariance` gives; zero rows keep a parameter fixed.
        n: number of draws, `>= 1`.
        key: randomness.

    Returns:
        A tree like `mean` with the leading axis `n` on every leaf.

    Raises:
        ValueError: for a `cov` of another shape or (outside `jit`) one that is not positive semidefinite; for `n < 1`.

    Gradient: with respect to `mean`, in both modes; with respect to `cov` where its eigenvalues are distinct.
    """
    flat, unravel = ravel(mean)
    if cov.shape != (flat.size, flat.size):
        expected = f"shape ({flat.size}, {flat.size}), from the entries of `mean`"
        raise invalid("cov", f"shape {cov.shape}", expected, "take `covariance` of the same parameters")
    if n < 1:
        raise invalid("n", n, "at least one draw", "give the number of draws")
    root = _root_psd(cov.astype(flat.dtype), "cov")
    draws = flat + jr.normal(key, (n, flat.size), flat.dtype) @ root
    return jax.vmap(unravel)(draws)


def _root(precision: ArrayLike, n: int, dtype: Any) -> Array:
    """`R` with `RᵀR = P`, shape `(n, n)`."""
    p = jnp.asarray(precision).astype(dtype)
    if p.shape not in ((), (n,), (n, n)):
        expected = f"a number, shape ({n},) or ({n}, {n})"
        raise invalid("precision", f"shape {p.shape}", expected, "give one entry per parameter")
    if p.ndim == 2:
        return _root_psd(p, "precision")
    if not _is_traced(p) and not bool(jnp.all(p >= 0)):
        raise invalid("precision", precision, "numbers >= 0", "give 1 / variance, relative to that of the residuals")
    return jnp.sqrt(p) * jnp.eye(n, dtype=dtype)


def _root_psd(matrix: Array, argument: str) -> Array:
    """`R` with `RᵀR = matrix`, scaled to a unit diagonal in between so that units do not matter."""
    scale = jnp.sqrt(jnp.maximum(jnp.diagonal(matrix), 0.0))
    safe = jnp.where(scale > 0, scale, 1.0)
    w, v = _eigh(matrix / safe[:, None] / safe)
    # Rounding makes the eigenvalues of a singular matrix negative by about n eps.
    slack = 10 * matrix.shape[0] * float(jnp.finfo(matrix.dtype).eps)
    is_sound = jnp.all(w >= -slack * jnp.maximum(1.0, jnp.max(jnp.abs(w))))
    if not _is_traced(w) and not bool(is_sound):
        got = f"a matrix with a negative eigenvalue or a NaN: {w} after scaling"
        raise invalid(argument, got, "a symmetric positive semidefinite matrix", "check its sign and its symmetry")
    return (jnp.sqrt(jnp.maximum(w, 0.0))[:, None] * v.T) * safe


def _check_rank(s: Array, vt: Array, m: int) -> None:
    """Raises if a combination of parameters leaves the residuals unchanged."""
    n = s.size
    threshold = float(jnp.finfo(s.dtype).eps) * m * float(s[0])
    rank = int(jnp.sum(s > threshold))
    if rank == n:
        return
    weight = jnp.max(jnp.abs(vt[rank:]), axis=0)
    names = [i for i in range(n) if float(weight[i]) > 0.1]
    raise invalid(
        "jacobian",
        f"rank {rank} for {n} parameters; the data do not determine those with index {names}",
        "as many independent columns as parameters",
        "keep such a parameter fixed, or give `precision`",
    )


def _is_traced(x: Array) -> bool:
    return isinstance(x, Tracer)
