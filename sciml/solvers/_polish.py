"""A Newton polish: from an estimate of the active set to the accuracy of the arithmetic."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Scalar

from ..programs import bound_multipliers, flat_residual, FlatProgram
from ._abstract import Point
from ._derivatives import derivatives
from ._sensitivity import ActiveSet, factorise, KKTMatrix

Limits = tuple[Array, Array]


class AbstractPolish(eqx.Module):
    """A method for the last digits of a solution, from an estimate of its active set."""

    @abstractmethod
    def __call__(
        self, program: FlatProgram, limits: Limits, point: Point, p: Any, tol: Scalar, wanted: Bool[Array, ""]
    ) -> tuple[Point, Scalar]:
        """A point and its unscaled KKT residual, which may be larger than that of `point`; infinite if not `wanted`."""


class NewtonPolish(AbstractPolish):
    """Newton's method on the optimality conditions of the active set, which is estimated again in each step.

    A step factorises the KKT matrix as derivatives do: dense, or by stages for optimal control. It takes no step if the
    Hessian is not positive definite on the active constraints, so that it never returns a saddle point.

    Args:
        steps: largest number of Newton steps.
        largest: largest number of decisions; larger programs without stages are not polished, so no matrix is formed.
    """

    steps: int = eqx.field(static=True, default=6)
    largest: int = eqx.field(static=True, default=1000)

    def __call__(
        self, program: FlatProgram, limits: Limits, point: Point, p: Any, tol: Scalar, wanted: Bool[Array, ""]
    ) -> tuple[Point, Scalar]:
        """The best point after at least one step."""
        nothing = jnp.full((), jnp.inf, point.x.dtype)
        if self.steps == 0 or (program.structure is None and program.size > self.largest):
            return point, nothing

        def going(carry: Any) -> Array:
            _, best, count, improves = carry
            return wanted & improves & (count <= self.steps) & ~(best[1] <= tol)

        def go(carry: Any) -> Any:
            now, best, count, _ = carry
            # One evaluation for the residual here and for the step to the next point.
            new, residual = _newton(program, limits, now, p)
            better = (residual < best[1]) & (count > 0)
            best = jax.tree.map(lambda a, b: jnp.where(better, a, b), (now, residual), best)
            # One step may be worse, where it changes the active set.
            return new, best, count + 1, jnp.isfinite(residual) & (better | (count < 3))

        _, best, *_ = jax.lax.while_loop(going, go, (point, (point, nothing), jnp.asarray(0), jnp.asarray(True)))
        return best


def residual_at(limits: Limits, point: Point, slope: Array, g: Array, h: Array) -> Scalar:
    """The largest entry of the unscaled KKT residual, as `solve` reports it; infinite instead of NaN."""
    multipliers = (point.ineq, *bound_multipliers(point.x, slope, *limits))
    largest = flat_residual(point.x, slope, g, h, limits, multipliers).largest
    finite = jnp.all(jnp.isfinite(jnp.concatenate([slope, g, h])))
    return jnp.where(finite, largest, jnp.inf)


def _newton(program: FlatProgram, limits: Limits, point: Point, p: Any) -> tuple[Point, Scalar]:
    """One Newton step on `∇L = 0`, `c_a = 0`, `h = 0`, and the residual before it.

    Multipliers of rows that are not active become zero.
    """

    weigh = lambda g, h: (point.ineq, point.eq)
    at = derivatives(program, point.x, p, weigh, jnp.ones((), point.x.dtype), program.is_bounded)
    slope, g, h = at.slope, at.g, at.h
    residual = residual_at(limits, point, slope, g, h)
    lower, upper = limits
    values, multipliers, exists = g, point.ineq, jnp.ones(g.size, bool)
    if program.is_bounded:
        gap = lambda there, gap: jnp.where(there, jnp.where(there, gap, 0.0), -1.0)
        there = (jnp.isfinite(lower), jnp.isfinite(upper))
        values = jnp.concatenate([g, gap(there[0], lower - point.x), gap(there[1], point.x - upper)])
        multipliers = jnp.concatenate([point.ineq, *bound_multipliers(point.x, slope, lower, upper)])
        exists = jnp.concatenate([exists, *there])
    active = jnp.where(exists, ActiveSet().rows(values, multipliers)[0], 0.0)
    matrix = KKTMatrix(at.model, active, 1.0 - active, (point.x.size, active.size, h.size))
    # With `dy` the change of all active multipliers from those of today, and of the others to zero.
    first = jnp.concatenate([active[: g.size] * point.ineq - point.ineq, (active * multipliers)[g.size :]])
    right = (-(slope + matrix.model.rows_transposed(first)), -active * values, -h)
    dx, dy, deq = factorise(matrix)(right)
    ineq = jnp.maximum(active * (multipliers + dy), 0.0)[: g.size]
    return Point(jnp.clip(point.x + dx, lower, jnp.maximum(lower, upper)), ineq, point.eq + deq), residual
