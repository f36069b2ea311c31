"""Values and derivatives of a scaled program at a point, all in one linearisation."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar, ScalarLike

from ..core import tree_where
from ..programs import FlatProgram
from ._derivatives import derivatives, largest_by_rows, Residuals
from ._models import ScaledModel

Vector = Float[Array, " n"]
_APART = 100.0  # multiples of `1 + |x|` that a feasible point must be away, by linearisation, to be given up


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

    def measured(self, column: Vector) -> "Evaluation":
        """The same of `x̂`, where `x = column · x̂`."""
        vectors = lambda at: (at.gradient, at.slope, at.violation_gradient)
        measured = eqx.tree_at(vectors, self, tuple(column * v for v in vectors(self)))
        return eqx.tree_at(lambda at: at.model.column, measured, column, is_leaf=lambda x: x is None)

    def is_stuck(self, x: Vector, limits: tuple[Vector, Vector], tol: Scalar) -> tuple[Bool[Array, ""], Scalar]:
        """Whether `x` is noticeably infeasible and far from all feasible points, and the projected gradient there.

        The gradient is that of `½‖h‖² + ½‖g₊‖²`. Where it vanishes the violation has a local minimum within the bounds.
        But rows in small units have small gradients wherever they are violated, so that the linearised way to
        feasibility has to be long too.
        """
        flat = jnp.max(jnp.abs(x - jnp.clip(x - self.violation_gradient, *limits)), initial=0.0)
        squares = jnp.sum(self.h**2) + jnp.sum(jnp.maximum(self.g, 0.0) ** 2)
        reach = jnp.max(jnp.abs(x), initial=0.0)
        return (self.violation > noticeable(x, tol)) & (squares >= _APART * (1.0 + reach) * flat), flat


def noticeable(x: Vector, tol: Scalar) -> Scalar:
    """What counts as a violation at `x`: far out, rounding alone violates constraints."""
    return tol + 1e3 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x), initial=0.0)


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
    residuals: Residuals | None = None,
) -> Evaluation:
    """Everything that one iteration needs at `x`.

    While restoring, the multipliers are the violated values themselves and the objective has none. With `residuals`
    the model has their `Jᵀ J` in the place of the Lagrangian's Hessian.
    """

    def weigh(g: Array, h: Array) -> tuple[Array, Array]:
        excess = (scaling.ineq * jnp.maximum(scaling.ineq * g, 0.0), scaling.eq**2 * h)
        return tree_where(restoring, excess, (scaling.ineq * multipliers[0], scaling.eq * multipliers[1]))

    at = derivatives(program, x, p, weigh, jnp.where(restoring, 0.0, scaling.objective), True, residuals, True)
    model, slope, gradient = ScaledModel(at.model, scaling.ineq, scaling.eq), at.slope, scaling.objective * at.gradient
    f, g, h = scaling.objective * at.f, scaling.ineq * at.g, scaling.eq * at.h
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
    values, largest = largest_by_rows(program, x, p)
    out = jnp.concatenate([values[0][None], *values[1:]])
    factor = jnp.clip(scale_to / jnp.maximum(largest, jnp.finfo(x.dtype).tiny), 1e-8, 1.0)
    factor = jnp.where(jnp.isfinite(factor), factor, 1.0)
    cut = lambda v: (v[0], v[1 : 1 + program.n_ineq], v[1 + program.n_ineq :])
    return Scaling(*cut(factor)), cut(factor * out), jnp.all(jnp.isfinite(largest) & jnp.isfinite(out))
