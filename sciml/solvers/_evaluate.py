"""Values and derivatives of a scaled program at a point, all in one linearisation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar, ScalarLike

from ..programs import FlatProgram

Vector = Float[Array, " n"]


class Scaling(eqx.Module):
    """Positive factors on the objective and on every constraint row."""

    objective: Scalar
    ineq: Float[Array, " g"]
    eq: Float[Array, " h"]


class Evaluation(eqx.Module):
    """The scaled program at `x`: values, Jacobians, and slope and Hessian of the Lagrangian."""

    f: Scalar
    g: Float[Array, " g"]
    h: Float[Array, " h"]
    gradient: Vector
    jacobian_g: Float[Array, "g n"]
    jacobian_h: Float[Array, "h n"]
    hessian: Float[Array, "n n"]

    slope: Vector
    """`∇f + Jgᵀλ + Jhᵀν`, without the bounds' multipliers."""
    violation: Scalar
    """The largest scaled violation."""
    violation_gradient: Vector
    """Gradient of `½‖h‖² + ½‖g₊‖²`."""
    infeasible_slope: Scalar
    """Projected gradient of that violation, zero at a point that locally minimises it within the bounds."""
    is_finite: Bool[Array, ""]


def values(program: FlatProgram, x: Vector, scaling: Scaling, p: Any) -> tuple[Scalar, Array, Array]:
    """Scaled `f`, `g`, `h`."""
    f, g, h = program.functions(x, p)
    return scaling.objective * f, scaling.ineq * g, scaling.eq * h


def evaluate(program: FlatProgram, x: Vector, ineq: Array, eq: Array, scaling: Scaling, p: Any) -> Evaluation:
    """Everything that one iteration needs at `x`.

    One linearisation of `x -> (f, g, h, ∇L)`, pushed forward over the unit vectors, gives the Jacobians and the
    Hessian of the Lagrangian together: `n` forward passes over one reverse pass.
    """

    def both(x: Vector) -> tuple[tuple[Scalar, Array, Array], Vector]:
        out, pull = jax.vjp(lambda x: values(program, x, scaling, p), x)
        (slope,) = pull((jnp.ones_like(out[0]), ineq, eq))
        return out, slope

    ((f, g, h), slope), push = jax.linearize(both, x)
    (gradient, columns_g, columns_h), hessian = jax.vmap(push)(jnp.eye(x.size, dtype=x.dtype))
    jacobian_g, jacobian_h = columns_g.T, columns_h.T
    lower, upper = program.limits(p)
    violation_gradient = jacobian_g.T @ jnp.maximum(g, 0.0) + jacobian_h.T @ h
    finite = [jnp.all(jnp.isfinite(v)) for v in (f, g, h, slope, gradient, jacobian_g, jacobian_h, hessian)]
    return Evaluation(
        f, g, h, gradient, jacobian_g, jacobian_h, 0.5 * (hessian + hessian.T), slope,
        violation=jnp.max(jnp.concatenate([jnp.maximum(g, 0.0), jnp.abs(h)]), initial=0.0),
        violation_gradient=violation_gradient,
        infeasible_slope=jnp.max(jnp.abs(x - jnp.clip(x - violation_gradient, lower, upper)), initial=0.0),
        is_finite=jnp.all(jnp.stack(finite)),
    )  # fmt: skip


def scaling_at(
    program: FlatProgram, x: Vector, p: Any, scale_to: ScalarLike
) -> tuple[Scaling, Scalar, Array, Array, Bool[Array, ""]]:
    """Factors that bring every gradient entry at `x` down to `scale_to`, and the scaled values there.

    Source: Wächter & Biegler (2006), section 3.8. The factors are at least 1e-8 and at most 1.
    """

    def stacked(x: Vector) -> tuple[Vector, tuple[Scalar, Array, Array]]:
        f, g, h = program.functions(x, p)
        return jnp.concatenate([f[None], g, h]), (f, g, h)

    n_rows = 1 + program.n_ineq + program.n_eq
    differentiate = jax.jacrev if n_rows < program.size else jax.jacfwd
    rows, (f, g, h) = differentiate(stacked, has_aux=True)(x)
    largest = jnp.max(jnp.abs(rows), axis=1, initial=0.0)
    finite = jnp.all(jnp.isfinite(rows))
    tiny = jnp.finfo(x.dtype).tiny
    factor = jnp.clip(scale_to / jnp.maximum(largest, tiny), 1e-8, 1.0)
    factor = jnp.where(jnp.isfinite(factor), factor, 1.0)
    scaling = Scaling(factor[0], factor[1 : 1 + program.n_ineq], factor[1 + program.n_ineq :])
    return scaling, scaling.objective * f, scaling.ineq * g, scaling.eq * h, finite
