"""Values and derivatives of a scaled program at a point, all in one linearisation."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar, ScalarLike

from ..core import tree_where
from ..programs import FlatProgram, Stages
from ._models import dense_or_stages, ScaledModel

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
    model: ScaledModel
    """Hessian of the Lagrangian and Jacobians; while restoring, the Hessian is that part of the Hessian of
    `½‖h‖² + ½‖g₊‖²` that Gauss-Newton leaves out."""

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

    One linearisation of `x -> (g, h, ∇L)`, pushed forward over the unit vectors, gives the Jacobians and the Hessian of
    the Lagrangian together: forward passes over one reverse pass. While restoring, the multipliers are the violated
    values themselves and the objective has none.
    """

    def both(x: Array) -> tuple[tuple[Array, Array, Array], Any]:
        (f, g, h), pull = jax.vjp(lambda x: program.functions(x, p), x)
        excess = jax.lax.stop_gradient((scaling.ineq * jnp.maximum(scaling.ineq * g, 0.0), scaling.eq**2 * h))
        weights = (scaling.ineq * multipliers[0], scaling.eq * multipliers[1])
        # The factor of the objective comes last: before that, what is linear is the same in every instance of a batch.
        (gradient,) = pull((jnp.ones_like(f), jnp.zeros_like(g), jnp.zeros_like(h)))
        (bent,) = pull((jnp.zeros_like(f), *tree_where(restoring, excess, weights)))
        gradient = scaling.objective * gradient
        slope = jnp.where(restoring, 0.0, 1.0) * gradient + bent
        return (g, h, slope), (f, gradient)

    (g, h, slope), push, (f, gradient) = jax.linearize(both, x, has_aux=True)
    model = ScaledModel(dense_or_stages(program, push, x, True), scaling.ineq, scaling.eq)
    f, g, h = scaling.objective * f, scaling.ineq * g, scaling.eq * h
    violated = jnp.maximum(g, 0.0)
    on_rows = jnp.concatenate([violated, jnp.zeros(2 * x.size, x.dtype)])
    finite = jnp.all(jnp.isfinite(jnp.concatenate([f[None], g, h, gradient, slope])))
    return Evaluation(
        f, g, h, gradient, model, slope,
        violation=jnp.max(jnp.concatenate([violated, jnp.abs(h)]), initial=0.0),
        violation_gradient=model.rows_transposed(on_rows) + model.equalities_transposed(h),
        is_finite=finite & model.is_finite(),
    )  # fmt: skip


def scaling_at(
    program: FlatProgram, x: Vector, p: Any, scale_to: ScalarLike
) -> tuple[Scaling, tuple[Scalar, Array, Array], Bool[Array, ""]]:
    """Factors that bring every gradient entry at `x` down to `scale_to`; the scaled values; whether all is finite.

    Source: Wächter & Biegler (2006), section 3.8. The factors are at least 1e-8 and at most 1.
    """

    def stacked(x: Array) -> tuple[Array, Array]:
        out = jnp.concatenate(_rows(program.functions(x, p)))
        return out, out

    if program.structure is None:
        n_rows = 1 + program.n_ineq + program.n_eq
        differentiate = jax.jacrev if n_rows < program.size else jax.jacfwd
        rows, out = differentiate(stacked, has_aux=True)(x)
        largest = jnp.max(jnp.abs(rows), axis=1, initial=0.0)
    else:
        # Each entry of a row is in one group's derivative: the largest over the groups is the largest of the row.
        largest, out = _largest_by_groups(program, program.structure, x, p)
    factor = jnp.clip(scale_to / jnp.maximum(largest, jnp.finfo(x.dtype).tiny), 1e-8, 1.0)
    factor = jnp.where(jnp.isfinite(factor), factor, 1.0)
    cut = lambda v: (v[0], v[1 : 1 + program.n_ineq], v[1 + program.n_ineq :])
    return Scaling(*cut(factor)), cut(factor * out), jnp.all(jnp.isfinite(largest) & jnp.isfinite(out))


def _largest_by_groups(program: FlatProgram, stages: Stages, x: Vector, p: Any) -> tuple[Array, Array]:
    """The largest derivative of every row in absolute value, and the rows."""
    (f, g, h), push = jax.linearize(lambda x: program.functions(x, p), x)
    seeds = (jnp.arange(2 * stages.width)[:, None] == jnp.asarray(stages.groups)).astype(x.dtype)
    _, by_g, by_h = jax.vmap(push)(seeds)
    gradient = jax.grad(lambda x: program.functions(x, p)[0])(x)
    largest = lambda v: jnp.max(jnp.abs(v), axis=0, initial=0.0)
    return jnp.concatenate([largest(gradient)[None], largest(by_g), largest(by_h)]), jnp.concatenate(_rows((f, g, h)))


def _rows(parts: tuple[Scalar, Array, Array]) -> list[Array]:
    f, g, h = parts
    return [f[None], g, h]
