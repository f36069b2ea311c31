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


def evaluate(
    program: FlatProgram,
    x: Vector,
    multipliers: tuple[Array, Array],
    scaling: Scaling,
    p: Any,
    restoring: Bool[Array, ""],
) -> Evaluation:
    """Everything that one iteration needs at `x`.

    One linearisation of `x -> (f, g, h, ∇L)`, pushed forward over the unit vectors, gives the Jacobians and the
    Hessian of the Lagrangian together: `n` forward passes over one reverse pass. While restoring, the multipliers are
    the violated values themselves and the objective has none, so that the Hessian is the part of that of
    `½‖h‖² + ½‖g₊‖²` that Gauss-Newton leaves out.
    """

    def both(x: Array) -> tuple[tuple[Array, Array], Array | None]:
        out, pull = jax.vjp(lambda x: jnp.concatenate(_rows(values(program, x, scaling, p))), x)
        excess = jax.lax.stop_gradient(_violated(program, out))
        weights = jnp.concatenate([jnp.ones_like(out[:1]), *multipliers])
        (slope,) = pull(jnp.where(restoring, excess, weights))
        # The objective's row is dense: groups of entries cannot give its gradient, a reverse pass can.
        gradient = None if program.structure is None else pull(jnp.zeros_like(out).at[0].set(1.0))[0]
        return (out, slope), gradient

    (out, slope), push, gradient = jax.linearize(both, x, has_aux=True)
    rows, hessian = columns(program, push, x)
    if gradient is not None:
        rows = rows.at[:, 0].set(gradient)
    f, g, h = out[0], out[1 : 1 + program.n_ineq], out[1 + program.n_ineq :]
    violated = _violated(program, out)
    finite = jnp.concatenate([out, slope, rows.ravel(), hessian.ravel()])
    return Evaluation(
        f, g, h, rows[:, 0], rows[:, 1 : 1 + program.n_ineq].T, rows[:, 1 + program.n_ineq :].T,
        0.5 * (hessian + hessian.T), slope,
        violation=jnp.max(jnp.abs(violated)),
        violation_gradient=rows @ violated,
        is_finite=jnp.all(jnp.isfinite(finite)),
    )  # fmt: skip


def columns(program: FlatProgram, push: Any, x: Vector) -> tuple[Array, Array]:
    """Derivatives of all rows and of `∇L` by each entry of `x`, through as few directions as the structure allows."""
    structure = program.structure
    if structure is None:
        return jax.vmap(push)(jnp.eye(x.size, dtype=x.dtype))
    groups = jnp.asarray(structure.groups)
    seeds = (jnp.arange(structure.n_groups)[:, None] == groups).astype(x.dtype)
    rows, hessian = jax.vmap(push)(seeds)
    objective = jnp.zeros((1, x.size), bool)
    pattern = jnp.concatenate([objective, jnp.asarray(structure.ineq), jnp.asarray(structure.eq)]).T
    return jnp.where(pattern, rows[groups], 0.0), jnp.where(jnp.asarray(structure.hessian), hessian[groups], 0.0)


def scaling_at(
    program: FlatProgram, x: Vector, p: Any, scale_to: ScalarLike
) -> tuple[Scaling, tuple[Scalar, Array, Array], Bool[Array, ""]]:
    """Factors that bring every gradient entry at `x` down to `scale_to`; the scaled values; whether all is finite.

    Source: Wächter & Biegler (2006), section 3.8. The factors are at least 1e-8 and at most 1.
    """

    def stacked(x: Array) -> tuple[Array, Array]:
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


def _violated(program: FlatProgram, out: Array) -> Array:
    """`[0; g₊; h]`."""
    row = jnp.arange(out.size)
    return jnp.where(row == 0, 0.0, jnp.where(row <= program.n_ineq, jnp.maximum(out, 0.0), out))


def _rows(parts: tuple[Scalar, Array, Array]) -> list[Array]:
    f, g, h = parts
    return [f[None], g, h]
