"""Solvers of other packages behind the same call: their answers are judged and differentiated like our own."""

import importlib
from abc import abstractmethod
from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Scalar, ScalarLike

from ..core import explain, RESULTS, tree_where
from ..programs import FlatProgram, Quadratic
from ._abstract import AbstractSolver, Point
from ._polish import AbstractPolish, residual_at
from ._qp_constants import quadratic_data, ruled_out

Limits = tuple[Array, Array]


class ExternalConstants(eqx.Module):
    """The program's matrices, with zeros for what is not finite, and what rules the instance out from the start."""

    data: Quadratic
    limits: Limits
    contradictory: Bool[Array, ""]
    finite: Bool[Array, ""]


class ExternalState(eqx.Module):
    """The start, then the answer."""

    point: Point
    stopped: Bool[Array, ""]
    result: RESULTS


class AbstractExternal(AbstractSolver):
    """One step: the package solves the program, and we judge what it returns."""

    tol: eqx.AbstractVar[ScalarLike | None]
    polish: eqx.AbstractVar[AbstractPolish | None]

    @abstractmethod
    def answer(self, data: Quadratic, limits: Limits, start: Point, tol: Scalar) -> tuple[Point, RESULTS]:
        """A point, with multipliers in our convention, and what the package says of it.

        Args:
            data: finite, but for entries `inf` of `h`, whose rows do not exist.
            limits: lower bounds not above the upper ones.
            start: the point to start from, where the package can.
            tol: what the package is asked for.
        """

    def prepare(self, program: FlatProgram, p: Any) -> ExternalConstants:
        """The matrices at `p`."""
        data, (lower, upper) = quadratic_data(program, p)
        contradictory, finite = ruled_out(data, (lower, upper))
        h = jnp.where(jnp.isnan(data.h) | (data.h == -jnp.inf), 0.0, data.h)
        zeros = jax.tree.map(lambda v: jnp.where(jnp.isfinite(v), v, 0.0), data)
        lower, upper = jnp.where(jnp.isnan(lower), -jnp.inf, lower), jnp.where(jnp.isnan(upper), jnp.inf, upper)
        lower, upper = jnp.minimum(lower, upper), jnp.maximum(lower, upper)
        # A bound of the wrong infinity is a contradiction too.
        lower, upper = jnp.where(lower == jnp.inf, -jnp.inf, lower), jnp.where(upper == -jnp.inf, jnp.inf, upper)
        return ExternalConstants(eqx.tree_at(lambda d: d.h, zeros, h), (lower, upper), contradictory, finite)

    def init(self, program: FlatProgram, constants: ExternalConstants, x0: Array, p: Any, warm: Any) -> ExternalState:
        """`x0` within its bounds, or the answer of `warm`."""
        zeros = lambda size: jnp.zeros(size, x0.dtype)
        point = Point(x0, zeros(program.n_ineq), zeros(program.n_eq)) if warm is None else warm.point
        result = RESULTS.where(constants.contradictory, RESULTS.contradictory_bounds, RESULTS.stalled)
        result = RESULTS.where(constants.finite, result, RESULTS.nonfinite_start)
        return ExternalState(self._within(constants, point), constants.contradictory | ~constants.finite, result)

    def step(self, program: FlatProgram, constants: ExternalConstants, state: ExternalState, p: Any) -> ExternalState:
        """The package's answer, polished where it is not accurate enough, and our verdict."""
        data, limits = constants.data, constants.limits
        default = 1e-8 if data.q.dtype == jnp.float64 else 1e-4
        # Half of it: an outside evaluation has its own rounding.
        tol = 0.5 * jnp.asarray(default if self.tol is None else self.tol, data.q.dtype)
        point, said = self.answer(data, limits, state.point, 0.1 * tol)
        point = self._within(constants, point)
        residual = _residual(data, limits, point)
        if self.polish is not None:
            wanted = ~(residual <= tol) & ~(said == RESULTS.infeasible) & ~(said == RESULTS.unbounded)
            polished, smaller = self.polish(program, limits, point, p, tol, wanted)
            point, residual = tree_where(smaller < residual, (polished, smaller), (point, residual))
        failure = RESULTS.where(said == RESULTS.successful, RESULTS.stalled, said)
        result = RESULTS.where(residual <= tol, RESULTS.successful, failure)
        new = ExternalState(point, jnp.asarray(True), result)
        return tree_where(state.stopped, state, new)

    def done(self, state: ExternalState) -> Bool[Array, ""]:
        """Whether the package was asked, or need not be."""
        return state.stopped

    def finish(
        self, program: FlatProgram, constants: ExternalConstants, state: ExternalState, p: Any
    ) -> tuple[Point, RESULTS, Any]:
        """The answer."""
        return state.point, state.result, (jnp.zeros((), state.point.x.dtype), jnp.asarray(0))

    def _within(self, constants: ExternalConstants, point: Point) -> Point:
        """The point, finite, within its bounds and with multipliers `>= 0`."""
        point = jax.tree.map(lambda v: jnp.where(jnp.isfinite(v), v, 0.0), point)
        ineq = jnp.where(jnp.isfinite(constants.data.h), jnp.maximum(point.ineq, 0.0), 0.0)
        return Point(jnp.clip(point.x, *constants.limits), ineq, point.eq)


def needed(module: str, solver: str) -> ModuleType:
    """The package of a solver, imported now.

    Raises:
        ImportError: if it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        fix = f"pip install {module}"
        raise ImportError(explain("solver", f"`{solver}` without its package", f"`{module}` installed", fix)) from error


def _residual(data: Quadratic, limits: Limits, point: Point) -> Scalar:
    """The largest entry of the unscaled KKT residual."""
    slope = data.Q @ point.x + data.q + data.G.T @ point.ineq + data.A.T @ point.eq
    exists = jnp.isfinite(data.h)
    g = jnp.where(exists, data.G @ point.x - jnp.where(exists, data.h, 0.0), -1.0)
    return residual_at(limits, point, slope, g, data.A @ point.x - data.b)
