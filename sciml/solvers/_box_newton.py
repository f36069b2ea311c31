"""Projected Newton for quadratic programs that have bounds only: exact active sets, tiny problems, large batches."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

from ..core import invalid, RESULTS
from ..programs import bound_multipliers, flat_residual, FlatProgram
from ._abstract import AbstractSolver, Point
from ._small import cholesky, solve_cholesky

_FRACTIONS = (1.0, 0.5, 0.25, 1 / 16, 1 / 256)  # of the step, all tried at once
_PATIENCE = 20  # iterations in which the residual must improve by a tenth
_NEGLIGIBLE = 1e-6  # entries of a direction that rounding may have left, relative to the largest


class BoxConstants(eqx.Module):
    """The program, and what rules an instance out from the start."""

    Q: Float[Array, "n n"]
    q: Float[Array, " n"]
    lower: Float[Array, " n"]
    upper: Float[Array, " n"]
    contradictory: Bool[Array, ""]
    finite: Bool[Array, ""]


class BoxState(eqx.Module):
    """One feasible iterate."""

    x: Float[Array, " n"]
    slope: Float[Array, " n"]
    """`Q x + q`."""
    residual: Scalar
    best: Scalar
    """The smallest residual so far, up to a tenth."""
    age: Int[Array, ""]
    """Iterations since then."""
    stopped: Bool[Array, ""]
    result: RESULTS


class BoxNewton(AbstractSolver):
    """Projected Newton's method for a `QuadraticProgram` with bounds only.

    Choose it for large batches of small dense programs (up to about ten variables), such as the inputs of one stage in
    differential dynamic programming, or bounded least squares. An iteration costs one factorisation, and few are
    needed. The answer satisfies its bounds exactly and is accurate to rounding, with an exact active set. It starts
    from the projection of `z0`; from a good start it takes one or two iterations.

    A success is a minimiser, and the global one if the program is convex. If `Q` is not positive semidefinite on the
    free entries, the result is `stalled`. A program with a flat direction in which only one side is bounded may stall
    too: choose `InteriorPointQP` for it.

    Args:
        tol: largest KKT residual of a success; default 1e-9 in float64 and 1e-5 in float32.
        stall_tol: tolerance that still counts as a success where round-off stops progress; default `10 tol`.
        shift: relative regularisation of the diagonal of a singular `Q`; default 1e-10 in float64
            and 1e-6 in float32.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Bertsekas (1982), Projected Newton methods for optimization problems with simple constraints, DOI
    10.1137/0320018; Tassa, Mansard & Todorov (2014), Control-limited differential dynamic programming, section III,
    DOI 10.1109/ICRA.2014.6907001. Deviations: the best of several step lengths and breakpoints; a small shift;
    unboundedness is detected.

    Examples:
        ```python
        box = sciml.QuadraticProgram(Q=jnp.eye(2), q=lambda p: -p, lower=0.0, upper=1.0)
        solution = sciml.solve(box, sciml.solvers.BoxNewton(), jnp.zeros(2), jnp.array([0.5, 3.0]))
        assert jnp.allclose(solution.value, jnp.array([0.5, 1.0]))
        ```
    """

    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None
    shift: ScalarLike | None = None

    def prepare(self, program: FlatProgram, p: Any) -> BoxConstants:
        """The matrices and bounds."""
        if program.quadratic is None:
            fix = "state the matrices in a `QuadraticProgram`, or use `InteriorPoint`"
            raise invalid("program", "a program of functions", "a `QuadraticProgram` with bounds only", fix)
        if program.n_ineq or program.n_eq:
            got = f"{program.n_eq} equalities and {program.n_ineq} inequalities"
            raise invalid("program", got, "bounds only", "use `InteriorPointQP` or `ADMM` where there are rows")
        data, (lower, upper) = program.quadratic(p), program.limits(p)
        # A lower bound of +infinity, or an upper one of -infinity, leaves nothing.
        contradictory = ~jnp.all((lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf))
        finite = jnp.all(jnp.isfinite(data.Q)) & jnp.all(jnp.isfinite(data.q))
        return BoxConstants(data.Q, data.q, lower, upper, contradictory, finite)

    def init(self, program: FlatProgram, constants: BoxConstants, x0: Array, p: Any, warm: Any) -> BoxState:
        """The projection of `x0`, or of the last iterate of `warm`."""
        x = x0 if warm is None else warm.x
        x = jnp.where(constants.contradictory, 0.0, jnp.clip(x, constants.lower, constants.upper))
        finite = constants.finite & jnp.all(jnp.isfinite(x))
        result = RESULTS.where(constants.contradictory, RESULTS.contradictory_bounds, RESULTS.successful)
        result = RESULTS.where(finite, result, RESULTS.nonfinite_start)
        slope = constants.Q @ x + constants.q
        huge = jnp.full((), jnp.inf, x.dtype)
        stopped = ~finite | constants.contradictory
        return BoxState(x, slope, _residual(constants, x, slope), huge, jnp.asarray(0), stopped, result)

    def step(self, program: FlatProgram, constants: BoxConstants, state: BoxState, p: Any) -> BoxState:
        """One Newton step on the free entries, searched along its projection."""
        tol, stall_tol = self._tolerances(state.x.dtype)
        Q = constants.Q
        free = ~is_held(constants.lower, constants.upper, state.x, state.slope)
        direction, is_definite = self._direction(Q, state.slope, free)
        x = search(Q, constants.q, constants.lower, constants.upper, state.x, state.slope, direction)
        slope = Q @ x + constants.q
        residual = _residual(constants, x, slope)

        moved = is_definite & jnp.isfinite(residual)
        unbounded = is_definite & _is_endless(constants, direction)
        x = jnp.where(moved & ~unbounded, x, state.x)
        slope, residual = jnp.where(moved, slope, state.slope), jnp.where(moved, residual, state.residual)
        # What is positive definite on the entries that were free is so on fewer: then the answer is a minimiser.
        certain = moved & jnp.all(free | is_held(constants.lower, constants.upper, x, slope))
        improved = residual <= 0.9 * state.best
        age = jnp.where(improved, 0, state.age + 1)
        worn_out = (age >= _PATIENCE) | ~moved | jnp.all(x == state.x)
        success = certain & ((residual <= tol) | (worn_out & (residual <= stall_tol)))
        worn_out = worn_out & ~(moved & ~certain & (residual <= stall_tol) & jnp.any(x != state.x))
        result = RESULTS.where(worn_out, RESULTS.stalled, state.result)
        result = RESULTS.where(unbounded, RESULTS.unbounded, result)
        result = RESULTS.where(success, RESULTS.successful, result)
        best = jnp.where(improved, residual, state.best)
        return BoxState(x, slope, residual, best, age, success | worn_out | unbounded, result)

    def done(self, state: BoxState) -> Bool[Array, ""]:
        """Whether to stop: the instance converged or failed."""
        return state.stopped

    def finish(
        self, program: FlatProgram, constants: BoxConstants, state: BoxState, p: Any
    ) -> tuple[Point, RESULTS, Any]:
        """The iterate; multipliers of bounds follow from the slope."""
        none = jnp.zeros((0,), state.x.dtype)
        return Point(state.x, none, none), state.result, (jnp.zeros((), state.x.dtype), jnp.asarray(0))

    def _direction(self, Q: Array, slope: Array, free: Bool[Array, " n"]) -> tuple[Array, Bool[Array, ""]]:
        """`-(Q + shift)⁻¹ slope` over the free entries, zero elsewhere; whether the matrix is positive definite."""
        default = 1e-10 if Q.dtype == jnp.float64 else 1e-6
        shift = jnp.asarray(default if self.shift is None else self.shift, Q.dtype)
        diagonal = jnp.abs(jnp.diagonal(Q))
        largest = jnp.max(diagonal, initial=0.0)
        shift = shift * jnp.where(diagonal > 0, diagonal, jnp.where(largest > 0, largest, 1.0))
        both = free[:, None] & free[None, :]
        matrix = jnp.where(both, Q, 0.0) + jnp.diag(jnp.where(free, shift, 1.0))
        factor = cholesky(matrix)
        is_definite = jnp.all(jnp.isfinite(jnp.diagonal(factor)))
        factor = jnp.where(is_definite, factor, jnp.eye(Q.shape[0], dtype=Q.dtype))
        right = jnp.where(free, -slope, 0.0)
        return solve_cholesky(factor, right[:, None])[:, 0], is_definite

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-9 if dtype == jnp.float64 else 1e-5) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(10 * tol if self.stall_tol is None else self.stall_tol, dtype)


def is_held(lower: Array, upper: Array, x: Array, slope: Array) -> Bool[Array, " n"]:
    """Entries at a bound beyond which the objective would fall, and fixed ones."""
    below, above = (x <= lower) & (slope > 0), (x >= upper) & (slope < 0)
    return below | above | (lower == upper)


def _residual(constants: BoxConstants, x: Array, slope: Array) -> Scalar:
    """The largest entry of the KKT residual."""
    limits, none = (constants.lower, constants.upper), jnp.zeros((0,), x.dtype)
    below, above = bound_multipliers(x, slope, *limits)
    return flat_residual(x, slope, none, none, limits, (none, below, above)).largest


def search(
    Q: Array, q: Array, lower: Array, upper: Array, x: Array, slope: Array, direction: Array
) -> Float[Array, " n"]:
    """The best of some points of the projection of `x + α d`, `α <= 1`, for `½ xᵀQx + qᵀx` with `slope = Q x + q`.

    They are the full step, the least point along the entries that are not blocked at once, fractions of it, and the
    points where an entry meets its bound. The best falls at least as far as the first that Armijo's rule would accept.
    """
    dtype = x.dtype
    target = jnp.where(direction > 0, upper, lower)
    direction = jnp.where(x == target, 0.0, direction)
    meets = jnp.isfinite(target) & (direction != 0)
    met = jnp.where(meets, (target - x) / jnp.where(direction != 0, direction, 1.0), 1.0)
    bend, fall = direction @ (Q @ direction), -(slope @ direction)
    least = jnp.clip(fall / jnp.where(bend > 0, bend, 1.0), 0.0, 1.0)
    fractions = jnp.where(bend > 0, least, 1.0) * jnp.asarray(_FRACTIONS, dtype)
    lengths = jnp.concatenate([jnp.ones((1,), dtype), fractions, jnp.clip(met, 0.0, 1.0)])
    trials = jnp.clip(x + lengths[:, None] * direction, lower, upper)
    steps = trials - x
    changes = jnp.sum(steps * (slope + 0.5 * (steps @ Q)), axis=1)
    # Near the solution changes are rounding: the full step is as good as any.
    size = (jnp.abs(x) + jnp.abs(steps[0])) @ (jnp.abs(slope) + jnp.abs(q))
    bonus = jnp.where(jnp.arange(lengths.size) == 0, 4 * jnp.finfo(dtype).eps * size, 0.0)
    changes = jnp.where(jnp.isfinite(changes), changes - bonus, jnp.inf)
    best = jnp.argmin(changes)
    return jnp.where(changes[best] <= 0, trials[best], x)


def _is_endless(constants: BoxConstants, direction: Array) -> Bool[Array, ""]:
    """Whether the objective falls along the direction without curvature, and no bound ends it."""
    dtype = direction.dtype
    size = jnp.max(jnp.abs(direction), initial=0.0)
    v = direction / jnp.where(size > 0, size, 1.0)
    v = jnp.where(jnp.abs(v) > _NEGLIGIBLE, v, 0.0)
    open_ended = jnp.where(v > 0, constants.upper == jnp.inf, jnp.where(v < 0, constants.lower == -jnp.inf, True))
    gain = constants.q @ v
    certain = jnp.maximum(jnp.finfo(dtype).eps ** 0.75, 1e-8)
    bent = jnp.max(jnp.abs(constants.Q @ v), initial=0.0)
    return (gain < 0) & (bent <= certain * jnp.abs(gain)) & jnp.all(open_ended)
