"""A quadratic program in the coordinates in which operator splitting has a diagonal linear system for every penalty.

For minimise `½ xᵀHx + cᵀx` subject to `l <= W x <= u`, one iteration of ADMM with penalty `ρ` solves with `H + ρ WᵀW`.
A basis `V` with `VᵀHV = diag(a)` and `VᵀWᵀWV = diag(b)` makes this matrix `diag(a + ρ b)` for all penalties at once.
The basis depends on matrices alone: a batch that shares them has one, whatever the penalties of its instances.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ..core import one_at_a_time
from ._gram import weighted_gram
from ._presolve import Reduced, Units
from ._small import cholesky, solve_cholesky

_REFINEMENTS = 3
_eigh = one_at_a_time(jnp.linalg.eigh)
_svd = one_at_a_time(lambda matrix: jnp.linalg.svd(matrix, full_matrices=False))


class Splitting(eqx.Module):
    """The program `½ xᵀHx + cᵀx`, `lower <= W x <= upper`, `E x = e` over `x = offset + V η`, where `E x = e` holds."""

    H: Float[Array, "k k"]
    W: Float[Array, "r k"]
    """Inequalities, and bounds where there are any."""
    E: Float[Array, "e k"]
    projector: Float[Array, "k k"] | None
    """Onto the null space of `E`; None without equalities."""
    inverse: Float[Array, "k e"]
    """The pseudoinverse of `E`."""
    basis: Float[Array, "k k"]
    """`V`."""
    dual_basis: Float[Array, "k k"]
    """`η = dual_basis (x - offset)`."""
    rows: Float[Array, "r k"]
    """`W V`."""
    curvature: Float[Array, " k"]
    """`a`."""
    stiffness: Float[Array, " k"]
    """`b`."""
    c: Float[Array, " k"]
    e: Float[Array, " e"]
    offset: Float[Array, " k"]
    lower: Float[Array, " r"]
    upper: Float[Array, " r"]
    shift: Float[Array, " r"]
    """`W offset`."""
    row_unit: Float[Array, " r"]
    units: Units


class At(eqx.Module):
    """The program at `x` with multipliers `y`, negative at lower and positive at upper limits."""

    x: Float[Array, " k"]
    bent: Float[Array, " k"]
    """`H x`."""
    pull: Float[Array, " k"]
    """`Wᵀ y`."""
    along: Float[Array, " r"]
    """`W x`."""
    slope: Float[Array, " k"]
    """`Hx + c + Wᵀy`, without what multipliers of equalities make up for."""
    residual: Scalar
    """The largest entry of the KKT residual in the user's units."""


def split(qp: Reduced, units: Units) -> Splitting:
    """The program of `qp` with its rows two-sided, its equalities eliminated, and its basis."""
    model, dtype, k = qp.model, qp.c.dtype, qp.c.size
    g = model.G.shape[0]
    infinite = jnp.asarray(jnp.inf, dtype)
    upper = jnp.where(qp.exists[:g], qp.d[:g], infinite)
    lower, W = jnp.full((g,), -jnp.inf, dtype), model.G
    if model.is_bounded:
        W = jnp.concatenate([W, jnp.eye(k, dtype=dtype) if model.basis is None else model.basis])
        (below, above), (has_below, has_above) = jnp.split(qp.d[g:], 2), jnp.split(qp.exists[g:], 2)
        below = jnp.where(has_below, -below, -infinite)
        fixed = jnp.split(qp.is_equality[g:], 2)[0]
        above = jnp.where(has_above, above, infinite)
        lower, upper = (
            jnp.concatenate([lower, below]),
            jnp.concatenate([upper, jnp.where(fixed, below, above)]),
        )
    projector, inverse = _null_projector(model.E) if model.E.shape[0] else (None, jnp.zeros((k, 0), dtype))
    offset = inverse @ qp.e
    basis, dual_basis, curvature = _diagonalise(_safe(model.H), _safe(W), projector)
    rows = W @ basis
    shift = W @ offset
    return Splitting(
        model.H, W, model.E, projector, inverse, basis, dual_basis, rows, curvature, jnp.sum(rows**2, axis=0),
        qp.c, qp.e, offset, lower, upper, shift, units.row[: lower.size], units,
    )  # fmt: skip


def _safe(matrix: Array) -> Array:
    """The matrix, or zero if it is not finite: such an instance is ruled out, but its decomposition must end."""
    return jnp.where(jnp.all(jnp.isfinite(matrix)), matrix, 0.0)


def _null_projector(E: Float[Array, "e k"]) -> tuple[Float[Array, "k k"], Float[Array, "k e"]]:
    """The projector onto the null space of `E` and its pseudoinverse, for any rank."""
    u, s, vt = _svd(_safe(E))
    counts = s > 1e3 * jnp.finfo(E.dtype).eps * jnp.max(s, initial=0.0)
    vt = jnp.where(counts[:, None], vt, 0.0)
    inverse = (vt.T * jnp.where(counts, 1.0 / jnp.where(counts, s, 1.0), 0.0)) @ u.T
    return jnp.eye(E.shape[1], dtype=E.dtype) - vt.T @ vt, inverse


def _diagonalise(H: Array, W: Array, projector: Array | None) -> tuple[Array, Array, Array]:
    """`V` with `VᵀHV = diag(a)` and `VᵀWᵀWV` diagonal, its inverse, and `a`.

    With `M = H + WᵀW = U diag(m) Uᵀ` and `V₀ = U diag(m)^-½`, `V₀ᵀMV₀ = I`; the eigenvectors of `V₀ᵀHV₀` then make
    both terms diagonal (Golub & Van Loan 2013, section 8.7.1). Where `M` is singular, `m` has a floor.
    On the complement of a projector's range `V` is zero: there `M` is the identity and `H` twice the identity, whose
    eigenvalue nothing else has, so that the eigenvectors do not mix.
    """
    M = H + W.T @ W
    if projector is not None:
        rest = jnp.eye(H.shape[0], dtype=H.dtype) - projector
        H, M = projector @ H @ projector + 2.0 * rest, projector @ M @ projector + rest
    m, U = _eigh(0.5 * (M + M.T))
    floor = (1e-9 if H.dtype == jnp.float64 else 1e-6) * jnp.max(jnp.abs(m), initial=0.0)
    m = jnp.maximum(m, jnp.maximum(floor, jnp.finfo(H.dtype).tiny ** 0.5))
    half = U / jnp.sqrt(m)
    inner = half.T @ (H @ half)
    curvature, turn = _eigh(0.5 * (inner + inner.T))
    basis, dual_basis = half @ turn, turn.T @ (U * jnp.sqrt(m)).T
    if projector is not None:
        basis, dual_basis = projector @ basis, dual_basis @ projector
    return basis, dual_basis, curvature


def evaluate(program: Splitting, x: Float[Array, " k"], y: Float[Array, " r"]) -> At:
    """The program at `x` and `y`."""
    bent, pull, along = program.H @ x, program.W.T @ y, program.W @ x
    slope = bent + program.c + pull
    defect = program.E @ x - program.e
    if program.projector is not None:
        slope = program.projector @ slope
    units = program.units
    over, under = along - program.upper, program.lower - along
    products = jnp.where(y > 0, y * over, jnp.where(y < 0, -y * under, 0.0))
    # A multiplier of a row without this limit, or of a fixed entry, has no complementarity.
    products = jnp.where(jnp.isfinite(products) & (program.lower < program.upper), products, 0.0)
    parts = [
        jnp.abs(units.slope(slope)),
        jnp.maximum(jnp.maximum(over, under), 0.0) * program.row_unit,
        jnp.abs(products) / units.objective,
        jnp.abs(defect / units.eq) if defect.size else defect,
    ]
    return At(x, bent, pull, along, slope, jnp.max(jnp.concatenate(parts), initial=0.0))


def point(program: Splitting, eta: Float[Array, " k"]) -> Float[Array, " k"]:
    """`offset + V η`, its equalities corrected once for rounding."""
    x = program.offset + program.basis @ eta
    return x if program.projector is None else x + program.inverse @ (program.e - program.E @ x)


def equality_multipliers(program: Splitting, at: At) -> Float[Array, " e"]:
    """`ν` with `Hx + c + Wᵀy + Eᵀν = 0`, as nearly as possible."""
    return -(program.inverse.T @ (at.bent + program.c + at.pull))


def iterate(
    program: Splitting,
    at: At,
    eta: Float[Array, " k"],
    v: Float[Array, " r"],
    rho: Scalar,
    relaxation: Scalar,
    count: int,
) -> tuple[Float[Array, " k"], Float[Array, " r"]]:
    """`count` iterations of ADMM in `η` and `v = z + y / ρ`, where `z = Π(v)` and `y = ρ (v - z)`.

    The decision's update is `(a + ρ (b + σ)) η̃ = ρ σ η - g + (WV)ᵀ (ρ z - y)` with a proximal term `σ` where `b` is
    too small to determine `η̃`; relaxed by `α`, `η + α (η̃ - η)` and `v + α (W V η̃ - z)`. With `g` and the limits taken
    from the program itself at `at`, where `η` starts, the rounding of the basis does not accumulate.

    Source: Stellato et al. (2020), algorithm 1, in the form of Douglas & Rachford.
    """
    curvature = jnp.maximum(program.curvature, 0.0)
    gradient = program.basis.T @ (at.bent + program.c) - curvature * eta
    shift = at.along - program.rows @ eta
    lower, upper = program.lower - shift, program.upper - shift
    sigma = jnp.maximum(1e-4 - program.stiffness, 0.0)
    inverse = 1.0 / (curvature + rho * (program.stiffness + sigma))

    def once(_: Any, now: tuple[Array, Array]) -> tuple[Array, Array]:
        eta, v = now
        z = jnp.clip(v, lower, upper)
        pushed = program.rows.T @ (2.0 * z - v)
        target = inverse * (rho * (sigma * eta + pushed) - gradient)
        return eta + relaxation * (target - eta), v + relaxation * (program.rows @ target - z)

    eta, v = jax.lax.fori_loop(0, count, once, (eta, v - shift))
    return eta, v + shift


def polish(
    program: Splitting, at: At, y: Float[Array, " r"], active: Float[Array, " r"]
) -> tuple[At, Float[Array, " r"], Float[Array, " r"]]:
    """The solution of the equations of an active set, and the active set that its signs suggest.

    Args:
        program: the program.
        at: where to start.
        y: multipliers to start from.
        active: 1 at upper and -1 at lower limits, else 0.

    Source: Stellato et al. (2020), section 5.2, with refinement against the unregularised equations.
    """
    dtype = y.dtype
    rho, delta = (1e-9, 1e-7) if dtype == jnp.float64 else (1e-6, 1e-4)
    fixed = program.lower == program.upper
    limit = jnp.where(active > 0, program.upper, program.lower)
    on = (active != 0) & jnp.isfinite(limit)
    limit = jnp.where(on, limit, 0.0)
    weights = jnp.where(on, 1.0 / delta, 0.0).astype(dtype)
    matrix = weighted_gram(program.rows, weights) + jnp.diag(jnp.maximum(program.curvature, 0.0) + rho)
    factor = cholesky(matrix)
    y = jnp.where(on, y, 0.0)

    def refine(_: Any, now: tuple[Array, Array]) -> tuple[Array, Array]:
        x, y = now
        slope = program.H @ x + program.c + program.W.T @ y
        excess = weights * (program.W @ x - limit)
        d_eta = solve_cholesky(factor, -(program.basis.T @ slope + program.rows.T @ excess)[:, None])[:, 0]
        return x + program.basis @ d_eta, y + weights * (program.rows @ d_eta) + excess

    x, y = jax.lax.fori_loop(0, _REFINEMENTS, refine, (at.x, y))
    new = evaluate(program, x, y)
    # Rows that this violates come in, rows with a multiplier of the wrong sign go out.
    above, below = new.along > program.upper, new.along < program.lower
    stays = fixed | (on & (active * y >= 0))
    guess = jnp.where(stays, active, 0.0)
    guess = jnp.where(~on & above, 1.0, jnp.where(~on & below, -1.0, guess))
    # Multipliers of the wrong sign are no answer.
    y = jnp.where(stays, y, 0.0)
    return evaluate(program, x, y), y, guess
