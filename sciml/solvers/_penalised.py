"""The augmented Lagrangian of a program, what it needs of the constraints, and its scaling without a Jacobian."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar, ScalarLike

from ..programs import FlatProgram
from ._evaluate import Scaling
from ._projected_newton import directions

Vector = Float[Array, " n"]
Limits = tuple[Float[Array, " n"], Float[Array, " n"]]

_LARGEST_FACTOR = 1e3  # on rows whose gradient is short
_PROBES = 6  # directions from which the sizes of all rows are estimated


class Rows(eqx.Module):
    """The scaled program at a point, with slopes by two reverse passes and no Jacobian."""

    f: Scalar
    g: Float[Array, " m"]
    """Inequalities; then, where bounds count as such, lower and upper bounds."""
    h: Float[Array, " h"]
    slope: Vector
    """Gradient of the Lagrangian with the multipliers `max(0, λ + ρ g)` and `ν + ρ h`."""
    violation: Scalar
    violation_gradient: Vector
    """Gradient of `½‖h‖² + ½‖g₊‖²`."""
    is_finite: Bool[Array, ""]


def scaled_rows(
    program: FlatProgram, scaling: Scaling, limits: Limits, keeps_bounds: bool, x: Vector, p: Any
) -> tuple[Scalar, Array, Array]:
    """Scaled `f`, `g` and `h`; bounds that the minimiser does not keep are inequalities in their own unit."""
    f, g, h = program.functions(x, p)
    g = scaling.ineq * g
    if not keeps_bounds:
        lower, upper = limits
        has_lower, has_upper = jnp.isfinite(lower), jnp.isfinite(upper)
        below = jnp.where(has_lower, jnp.where(has_lower, lower, 0.0) - x, -1.0)
        above = jnp.where(has_upper, x - jnp.where(has_upper, upper, 0.0), -1.0)
        g = jnp.concatenate([g, below, above])
    return scaling.objective * f, g, scaling.eq * h


def augmented(rows: tuple[Scalar, Array, Array], dual: Array, eq: Array, rho: Scalar) -> Scalar:
    """`f + νᵀh + ρ/2 ‖h‖² + Σ (max(0, λ + ρ g)² - λ²) / 2ρ`.

    Written without the cancellation of the last term. Source: Rockafellar (1974), Augmented Lagrange multiplier
    functions and duality in nonconvex programming, DOI 10.1137/0312021.
    """
    f, g, h = rows
    counts = dual + rho * g > 0
    inside = jnp.where(counts, g, 0.0)
    ineq = jnp.where(counts, dual * inside + 0.5 * rho * inside**2, -(dual**2) / (2.0 * rho))
    return f + eq @ h + 0.5 * rho * (h @ h) + jnp.sum(ineq)


def evaluate_rows(rows: Any, x: Vector, dual: Array, eq: Array, rho: Scalar) -> Rows:
    """Everything that one outer iteration asks about `x`; `rows` is `x -> (f, g, h)`."""
    (f, g, h), pull = jax.vjp(rows, x)
    (slope,) = pull((jnp.ones_like(f), jnp.maximum(dual + rho * g, 0.0), eq + rho * h))
    over = jnp.maximum(g, 0.0)
    (violation_gradient,) = pull((jnp.zeros_like(f), over, h))
    return Rows(
        f, g, h, slope,
        violation=jnp.max(jnp.concatenate([over, jnp.abs(h)]), initial=0.0),
        violation_gradient=violation_gradient,
        is_finite=jnp.all(jnp.isfinite(jnp.concatenate([f[None], g, h, slope]))),
    )  # fmt: skip


def probed_scaling(
    program: FlatProgram, x: Vector, p: Any, scale_to: ScalarLike
) -> tuple[Scaling, tuple[Scalar, Array, Array], Bool[Array, ""]]:
    """Factors that bring gradients at `x` down to about `scale_to`, and rows up to 1; values; if all is finite.

    The norm of a row is the root mean square of its products with random directions (Hutchinson 1990, DOI
    10.1080/03610919008812866, for `JJᵀ`); the directions are fixed and equidistributed. Six of them estimate a norm to
    some 30 %, which is enough for a scale.
    """
    dtype = x.dtype
    values, push = jax.linearize(lambda x: program.functions(x, p), x)
    products = jax.vmap(push)(directions(x, _PROBES))
    size = lambda v: jnp.sqrt(jnp.mean(v**2, axis=0))
    sizes = jax.tree.map(size, products)
    up = lambda v: jnp.clip(1.0 / jnp.maximum(v, jnp.finfo(dtype).tiny), 1.0, _LARGEST_FACTOR)
    limit = lambda v: jnp.where(v > scale_to, jnp.maximum(scale_to / jnp.maximum(v, scale_to), 1e-8), up(v))
    finite = jnp.asarray([jnp.all(jnp.isfinite(v)) for v in (*sizes, *values)])
    factors = jax.tree.map(lambda v: jnp.where(jnp.isfinite(v), limit(v), 1.0).astype(dtype), sizes)
    # The rows' lengths set what the penalty means; the objective is only ever scaled down.
    return Scaling(jnp.minimum(factors[0], 1.0), *factors[1:]), values, jnp.all(finite)
