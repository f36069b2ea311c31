"""Proofs that a quadratic program has no solution: certificates of infeasibility and of unboundedness."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Scalar

from ._presolve import Reduced
from ._qp_constants import QPConstants

Moved = tuple[Array, Array, Array, Array]
"""`x`, `H x`, `C x - d` and `E x - e` of an iterate."""


def negligible(dtype: Any) -> float:
    """What counts as zero in a certificate, relative to what it proves: 1e-8, or what rounding allows."""
    return max(float(jnp.finfo(dtype).eps) ** 0.75, 1e-8)


def is_infeasible(
    constants: QPConstants, dual: Array, eq: Array, pull: Array, reach: Scalar, tol: Scalar
) -> Bool[Array, ""]:
    """Whether `z >= 0, ν` prove that every point within the bounds violates something by more than `tol`.

    With `r = Cᵀz + Eᵀν`, all feasible `x` have `rᵀx <= dᵀz + eᵀν`. No `x` does where the left side is larger all over
    the bounds, or where there are none up to `reach` (of the scaled program).

    Source: Farkas' lemma, Boyd & Vandenberghe (2004), section 5.8.3.
    """
    qp, units = constants.reduced, constants.units
    weight = jnp.maximum(largest(dual), largest(eq))
    terms, eps = jnp.concatenate([jnp.where(qp.exists, qp.d * dual, 0.0), qp.e * eq]), jnp.finfo(pull.dtype).eps
    slope = jnp.abs(pull if units.basis is None else units.basis @ pull) + eps * weight
    margin = -jnp.sum(terms) - 100 * eps * jnp.sum(jnp.abs(terms)) - jnp.sum(slope * jnp.minimum(qp.box, reach))
    # In the user's units it must exceed the tolerance, in those of the iteration rounding.
    least = tol * jnp.sum(jnp.abs(jnp.concatenate([dual / units.row, eq * units.eq if eq.size else eq])))
    return margin > least + negligible(pull.dtype) * weight


def is_violation_least(
    constants: QPConstants, excess: Array, defect: Array, reach: Scalar, tol: Scalar
) -> Bool[Array, ""]:
    """Whether the violation `v`, taken for multipliers, is a proof: it is one where `|v|²` is least, and not zero."""
    qp = constants.reduced
    rows = jnp.where(qp.is_equality, excess, jnp.maximum(excess, 0.0))
    slope = qp.model.rows_transposed(rows) + qp.model.equalities_transposed(defect)
    return is_infeasible(constants, rows, defect, slope, reach, tol)


def is_unbounded(qp: Reduced, before: Moved, after: Moved) -> Bool[Array, ""]:
    """Whether the last step `v`, a long one, proves that the objective has no lower bound.

    The proof has `Hv = 0`, `Cv <= 0`, `Ev = 0` and `cᵀv < 0`. The products are differences of those at the iterates.
    """
    (x, bent, excess, defect), (x0, bent0, excess0, defect0) = after, before
    step, along = x - x0, excess - excess0
    rising = jnp.where(qp.is_equality, jnp.abs(along), jnp.maximum(along, 0.0))
    small, gain, reach = negligible(x.dtype), qp.c @ step, largest(step)
    # A large gradient makes curvature small, but not the way to the next bound far.
    flat = (largest(bent - bent0) <= small * jnp.abs(gain)) & (reach > jnp.maximum(1e3, 1e-2 * largest(x)))
    blocked = largest(jnp.concatenate([rising, defect - defect0])) > small * jnp.minimum(reach, jnp.abs(gain))
    return (gain < 0) & flat & ~blocked


def largest(v: Array) -> Scalar:
    """The largest entry in absolute value."""
    return jnp.max(jnp.abs(v), initial=0.0)
