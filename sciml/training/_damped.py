"""Steps of Levenberg-Marquardt for several dampings of one Gauss-Newton model.

    (JᵀJ + λ D) d = -Jᵀr,   D = diag(JᵀJ) with a floor,   solved in the coordinates √D d with a matrix S:

| matrix kept | solve | all dampings by |
|---|---|---|
| `JᵀJ` | `S = D^-½ JᵀJ D^-½`, `(S + λI) √D d = -D^-½ Jᵀr` | eigenvectors of `S`, or a Cholesky factorisation each |
| `J`, `r` | `S = J D⁻¹ Jᵀ`, `d = -D⁻¹ Jᵀ (S + λI)⁻¹ r` (the push-through identity) | the same, of the smaller matrix |
| none | conjugate gradients on `S` as a product: Jacobi's preconditioner `D` | one Krylov space, shifted |
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Scalar

from ..core import cholesky, one_at_a_time, solve_cholesky
from ._jacobian import System

EIGEN = 256
"""Largest matrix of which eigenvectors are computed to try several dampings."""

_eigh = one_at_a_time(jnp.linalg.eigh)


def scaling(system: System) -> Float[Array, " n"]:
    """`D`, Marquardt's scaling, with a floor for parameters that hardly touch the residuals."""
    d = system.diagonal
    return d + 1e-6 * jnp.max(d, initial=0.0) + jnp.finfo(d.dtype).tiny


def dense_steps(system: System, dampings: Float[Array, " k"], *, is_dual: bool) -> Float[Array, "k n"]:
    """A step for each damping, from `JᵀJ` or, `is_dual`, from `[J, r]`; zero where it is not finite."""
    D = scaling(system)
    assert system.matrix is not None
    if is_dual:
        J, r = system.matrix[:, :-1], system.matrix[:, -1]
        back = lambda y: -(J.T @ y) / D
        steps = jax.vmap(back)(_shifted_solves((J / D) @ J.T, r, dampings))
    else:
        root = jnp.sqrt(D)
        S = system.matrix / root[:, None] / root
        steps = -_shifted_solves(S, system.gradient / root, dampings) / root
    return jnp.where(jnp.isfinite(steps), steps, 0.0)


def _shifted_solves(S: Float[Array, "n n"], b: Float[Array, " n"], shifts: Float[Array, " k"]) -> Float[Array, "k n"]:
    """`(S + λI)⁻¹ b` for every shift."""
    if shifts.size > 1 and S.shape[0] <= EIGEN:
        values, vectors = _eigh(S)
        return ((vectors.T @ b) / (values + shifts[:, None])) @ vectors.T
    eye = jnp.eye(S.shape[0], dtype=S.dtype)
    solve = lambda shift: solve_cholesky(cholesky(S + shift * eye), b[:, None])[:, 0]
    return jax.lax.map(solve, shifts) if shifts.size > 1 else solve(shifts[0])[None]


def krylov_steps(
    system: System, product: Callable[[Array], Array], dampings: Float[Array, " k"], *, rtol: float, max_steps: int
) -> tuple[Float[Array, "k n"], Int[Array, ""]]:
    """A step for each damping from one Krylov space, and the number of products with `JᵀJ`.

    Conjugate gradients for the smallest shift; the residuals of all others are collinear with its own, by factors `ζ`
    from a three-term recurrence. Ends when the residual of the smallest shift is below `rtol` times the gradient, in
    the scaled coordinates; that of any larger shift is smaller still.

    Source: Jegerlehner (1996), Krylov space solvers for shifted linear systems, arXiv:hep-lat/9612014, section 3;
    Frommer & Maass (1999), Fast CG-based methods for Tikhonov-Phillips regularization, DOI
    10.1137/S1064827596313310.
    """
    root = jnp.sqrt(scaling(system))
    least = jnp.min(dampings)
    times = lambda v: product(v / root) / root + least * v
    shifts = (dampings - least)[:, None]
    b = -system.gradient / root
    size, one = b @ b, jnp.ones_like(shifts)
    start = (
        jnp.zeros((dampings.size, b.size), b.dtype),
        one * b,
        b,
        b,
        size,
        one,
        one,
        jnp.ones_like(least),
        0 * least,
    )

    def more(carry: tuple) -> Array:
        (_, _, _, _, rr, *_), count = carry
        return (count < max_steps) & (rr > rtol**2 * size)

    def body(carry: tuple) -> tuple:
        (x, ps, p, r, rr, zeta, before, alpha, beta), count = carry
        q = times(p)
        new_alpha = rr / (p @ q)
        # ζ₊ = ζ ζ₋ α₋ / (α β₋ (ζ₋ - ζ) + ζ₋ α₋ (1 + σ α)), with α₋, β₋ those of the pass before
        after = zeta * before * alpha
        after = after / (new_alpha * beta * (before - zeta) + before * alpha * (1 + shifts * new_alpha))
        ratio = after / zeta
        x = x + new_alpha * ratio * ps
        r = r - new_alpha * q
        new_rr = r @ r
        new_beta = new_rr / rr
        ps = after * r + new_beta * ratio**2 * ps
        return (x, ps, r + new_beta * p, r, new_rr, after, zeta, new_alpha, new_beta), count + 1

    (x, *_), count = jax.lax.while_loop(more, body, (start, jnp.asarray(0)))
    steps = x / root
    return jnp.where(jnp.isfinite(steps), steps, 0.0), count


def predicted(system: System, step: Float[Array, " n"], curvature: Scalar) -> Scalar:
    """How much the Gauss-Newton model decreases along a step, given `dᵀJᵀJd`."""
    return -(system.gradient @ step) - 0.5 * curvature
