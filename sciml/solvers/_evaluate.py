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

    def both(x: Vector) -> tuple[Vector, Vector]:
        out, pull = jax.vjp(lambda x: jnp.concatenate(_rows(values(program, x, scaling, p))), x)
        (slope,) = pull(jnp.concatenate([jnp.ones_like(out[:1]), ineq, eq]))
        return out, slope

    (out, slope), push = jax.linearize(both, x)
    columns, hessian = jax.vmap(push)(jnp.eye(x.size, dtype=x.dtype))
    f, g, h = out[0], out[1 : 1 + program.n_ineq], out[1 + program.n_ineq :]
    violated = jnp.concatenate([jnp.zeros_like(out[:1]), jnp.maximum(g, 0.0), h])
    finite = jnp.concatenate([out, slope, columns.ravel(), hessian.ravel()])
    return Evaluation(
        f, g, h, columns[:, 0], columns[:, 1 : 1 + program.n_ineq].T, columns[:, 1 + program.n_ineq :].T,
        0.5 * (hessian + hessian.T), slope,
        violation=jnp.max(jnp.abs(violated)),
        violation_gradient=columns @ violated,
        is_finite=jnp.all(jnp.isfinite(finite)),
    )  # fmt: skip


def scaling_at(
    program: FlatProgram, x: Vector, p: Any, scale_to: ScalarLike
) -> tuple[Scaling, tuple[Scalar, Array, Array], Bool[Array, ""]]:
    """Factors that bring every gradient entry at `x` down to `scale_to`; the scaled values; whether all is finite.

    Source: Wächter & Biegler (2006), section 3.8. The factors are at least 1e-8 and at most 1.
    """

    def stacked(x: Vector) -> tuple[Vector, Vector]:
        out = jnp.concatenate(_rows(program.functions(x, p)))
        return out, out

    n_rows = 1 + program.n_ineq + program.n_eq
    differentiate = jax.jacrev if n_rows < program.size else jax.jacfwd
    rows, out = differentiate(stacked, has_aux=True)(x)
    largest = jnp.max(jnp.abs(rows), axis=1, initial=0.0)
    factor = jnp.clip(scale_to / jnp.maximum(largest, jnp.finfo(x.dtype).tiny), 1e-8, 1.0)
    factor = jnp.where(jnp.isfinite(factor), factor, 1.0)
    cut = lambda v: (v[0], v[1 : 1 + program.n_ineq], v[1 + program.n_ineq :])
    return Scaling(*cut(factor)), cut(factor * out), jnp.all(jnp.isfinite(largest) & jnp.isfinite(out))


def _rows(parts: tuple[Scalar, Array, Array]) -> list[Array]:
    f, g, h = parts
    return [f[None], g, h]
