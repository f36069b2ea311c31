"""A primal-dual interior-point method for dense nonlinear programs, one instance of a batch at a time."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

from ..core import RESULTS, tree_where
from ..programs import FlatProgram
from ._abstract import AbstractSolver, Point
from ._evaluate import evaluate, Evaluation, Scaling, scaling_at
from ._line_search import search, Trial
from ._newton import Direction, newton_direction, restoration_direction, to_boundary

Vector = Float[Array, " n"]

# Strategy constants, each with its role in Wächter & Biegler (2006), table of section 4 unless stated otherwise.
_KAPPA_EPSILON = 10.0  # the barrier problem is solved to this multiple of the barrier parameter
_KAPPA_MU, _THETA_MU = 0.2, 1.5  # linear and superlinear decrease of the barrier parameter
_KAPPA_SIGMA = 1e10  # how far a bound multiplier may stray from μ / distance
_SHIFTS_BEFORE_RESTORATION = 5  # failed line searches, each with a larger Hessian shift, before feasibility comes first
_MOST_RESTORATIONS = 6
_RESTORED = 0.1  # restoration ends when the violation has fallen to this fraction
_HOPELESS = 1e-5  # projected gradient of the violation relative to the violation: a stationary, infeasible point


class Constants(eqx.Module):
    """Bounds, and which of them exist."""

    lower: Vector
    upper: Vector
    has_lower: Bool[Array, " n"]
    has_upper: Bool[Array, " n"]
    is_fixed: Bool[Array, " n"]
    contradictory: Bool[Array, ""]


class State(eqx.Module):
    """One iterate in the scaled program, and the memory of the strategy."""

    x: Vector
    slack: Float[Array, " g"]
    ineq: Float[Array, " g"]
    eq: Float[Array, " h"]
    below: Vector
    above: Vector
    scaling: Scaling
    mu: Scalar
    penalty: Scalar
    shift: Scalar
    """The last Hessian shift that was needed."""
    floor: Scalar
    """A Hessian shift imposed after failed line searches, as a trust region would shrink."""
    failures: Int[Array, ""]
    restoring: Bool[Array, ""]
    target: Scalar
    """The violation at which a restoration ends."""
    restorations: Int[Array, ""]
    steps: Int[Array, ""]
    residual: Scalar
    stopped: Bool[Array, ""]
    result: RESULTS


class InteriorPoint(AbstractSolver):
    """Primal-dual interior point for nonconvex programs with equalities, inequalities and bounds.

    Choose it for dense programs up to a few hundred variables, in batches, where exact second derivatives are cheap.
    Inequalities get slacks; bounds are kept strictly. Each iteration condenses the Newton system on the decision,
    tests by Cholesky that the reduced Hessian is positive definite, shifts it where it is not, and picks a step
    from a short ladder by an exact-penalty merit function with a second-order correction. Where no step helps, it
    first regains feasibility (Levenberg-Marquardt on the violation) and, at a stationary point of the violation,
    reports `RESULTS.infeasible`.

    Args:
        tol: a success has an *unscaled* KKT residual (stationarity, violation, complementarity, dual sign) of at most
            this; default 1e-8 in float64 and 1e-4 in float32.
        stall_tol: an iteration that round-off keeps from improving counts as a success up to this; default `100 tol`.
        mu: first barrier parameter, in the scaled objective's unit.
        warm_mu: first barrier parameter after a warm start (at least `tol`).
        scale_to: the objective and every constraint row are scaled so that no gradient entry exceeds this at the start.
        unbounded_at: a feasible iterate with an entry beyond this is reported as `RESULTS.unbounded`.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Wächter & Biegler (2006), On the implementation of an interior-point filter line-search algorithm,
    DOI 10.1007/s10107-004-0559-y, for barrier strategy, scaling and safeguards; Waltz, Morales, Nocedal & Orban (2006),
    An interior algorithm for nonlinear optimization, DOI 10.1007/s10107-004-0560-5, for merit function and slack reset.
    Deviations: merit function instead of filter, condensed Cholesky instead of an indefinite factorisation, and a
    least-squares restoration; each so that every lane of a batch runs the same operations.
    """

    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None
    mu: ScalarLike = 0.1
    warm_mu: ScalarLike = 1e-4
    scale_to: ScalarLike = 100.0
    unbounded_at: ScalarLike = 1e10

    def prepare(self, program: FlatProgram, p: Any) -> Constants:
        """The bounds at `p`."""
        lower, upper = program.limits(p)
        width = upper - lower
        eps = jnp.finfo(lower.dtype).eps
        return Constants(
            lower,
            upper,
            jnp.isfinite(lower),
            jnp.isfinite(upper),
            jnp.isfinite(width) & (width <= 10 * eps * jnp.maximum(1.0, jnp.abs(lower))),
            jnp.any(~(width >= 0)),
        )

    def init(self, program: FlatProgram, constants: Constants, x0: Vector, p: Any, warm: Any) -> State:
        """A strictly interior start near `x0`, or the iterate of `warm`."""
        dtype = x0.dtype
        x = _interior(constants, x0, 1e-2 if warm is None else 1e-6)
        scaling, f, g, h, derivatives_finite = scaling_at(program, x, p, self.scale_to)
        mu = jnp.asarray(self.mu if warm is None else self.warm_mu, dtype)
        if warm is None:
            slack = jnp.maximum(-g, 1e-2)
            ineq, eq = mu / slack, jnp.zeros_like(h)
            below, above = _central(constants, x, mu)
        else:
            ratio = scaling.objective / scaling.ineq
            slack = jnp.maximum(-g, jnp.minimum(1e-2, mu))
            ineq, eq = jnp.maximum(warm.ineq * ratio, mu / slack), warm.eq * scaling.objective / scaling.eq
            low, high = _central(constants, x, mu)
            below = jnp.where(constants.has_lower, jnp.maximum(warm.below * scaling.objective, low), 0.0)
            above = jnp.where(constants.has_upper, jnp.maximum(warm.above * scaling.objective, high), 0.0)
        finite = jnp.isfinite(f) & jnp.all(jnp.isfinite(g)) & jnp.all(jnp.isfinite(h)) & derivatives_finite
        result = RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite_start)
        result = RESULTS.where(constants.contradictory, RESULTS.contradictory_bounds, result)
        zero, none = jnp.zeros((), dtype), jnp.asarray(0)
        return State(
            x, slack, ineq, eq, below, above, scaling, mu,
            penalty=jnp.ones((), dtype), shift=zero, floor=zero, failures=none, restoring=jnp.asarray(False),
            target=zero, restorations=none, steps=none, residual=jnp.full((), jnp.inf, dtype),
            stopped=~finite | constants.contradictory, result=result,
        )  # fmt: skip

    def step(self, program: FlatProgram, constants: Constants, state: State, p: Any) -> State:
        """One iteration: evaluate, test, lower the barrier, solve for a direction, search along it."""
        tol, stall_tol = self._tolerances(state.x.dtype)
        at = evaluate(program, state.x, state.ineq, state.eq, state.scaling, p)
        residual = _unscaled_residual(constants, state, at)
        converged = (residual <= tol) & ~state.restoring
        mu = _lower_barrier(constants, state, at, tol)
        state = eqx.tree_at(lambda s: (s.mu, s.residual), state, (mu, residual))
        newton = newton_direction(constants, state, at)
        repair = restoration_direction(constants, state, at)
        # One factorisation per pass: the two kinds of step differ only in the matrix and the right-hand side.
        direction = Direction.solve(tree_where(state.restoring, repair, newton), state.shift, state.floor)
        trial = search(program, constants, state, at, direction, p)
        moved = _accept(constants, state, trial, direction)
        moved = eqx.tree_at(lambda s: s.steps, moved, state.steps + 1)
        moved = _change_mode(constants, state, moved, at, trial)
        moved = self._judge(state, moved, at, direction, trial, stall_tol)
        stopped = eqx.tree_at(lambda s: s.stopped, state, jnp.asarray(True))
        return tree_where(converged, stopped, moved)

    def done(self, state: State) -> Bool[Array, ""]:
        """Whether the instance converged or failed."""
        return state.stopped

    def finish(self, program: FlatProgram, constants: Constants, state: State, p: Any) -> tuple[Point, RESULTS, Any]:
        """The iterate with its scaling undone."""
        scale = state.scaling
        point = Point(
            jnp.where(constants.is_fixed, constants.lower, state.x),
            state.ineq * scale.ineq / scale.objective,
            state.eq * scale.eq / scale.objective,
        )
        return point, state.result, (state.mu, state.restorations)

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-8 if dtype == jnp.float64 else 1e-4) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(100 * tol if self.stall_tol is None else self.stall_tol, dtype)

    def _judge(
        self, old: State, new: State, at: Evaluation, direction: Direction, trial: Trial, stall_tol: Scalar
    ) -> State:
        """Stops an instance that cannot go on, with the reason."""
        derivatives_finite = at.is_finite
        blown = jnp.max(jnp.abs(new.x), initial=0.0) > self.unbounded_at
        hopeless = old.restoring & (at.infeasible_slope <= _HOPELESS * at.violation) & (at.violation > stall_tol)
        worn_out = (new.failures > 3 * _SHIFTS_BEFORE_RESTORATION) | (new.restorations > _MOST_RESTORATIONS)
        acceptable = worn_out & (old.residual <= stall_tol)
        result = new.result
        result = RESULTS.where(worn_out & ~acceptable, RESULTS.stalled, result)
        result = RESULTS.where(worn_out & ~acceptable & (at.violation > stall_tol), RESULTS.infeasible, result)
        result = RESULTS.where(worn_out & ~acceptable & ~trial.any_finite, RESULTS.nonfinite_step, result)
        result = RESULTS.where(blown & ~old.restoring, RESULTS.unbounded, result)
        result = RESULTS.where(hopeless, RESULTS.infeasible, result)
        result = RESULTS.where(~derivatives_finite, RESULTS.nonfinite_step, result)
        stop = worn_out | blown | hopeless | ~derivatives_finite
        # The point at which the derivatives broke down is not worth keeping; the others are the best there is.
        return eqx.tree_at(lambda s: (s.stopped, s.result), new, (stop, result))


def _interior(constants: Constants, x0: Vector, push: float) -> Vector:
    """`x0` moved strictly inside its bounds (Wächter & Biegler 2006, section 3.6)."""
    lower = jnp.where(constants.has_lower, constants.lower, 0.0)
    upper = jnp.where(constants.has_upper, constants.upper, 0.0)
    width = jnp.where(constants.has_lower & constants.has_upper, upper - lower, jnp.inf)
    from_lower = lower + jnp.minimum(push * jnp.maximum(1.0, jnp.abs(lower)), push * width)
    from_upper = upper - jnp.minimum(push * jnp.maximum(1.0, jnp.abs(upper)), push * width)
    x = jnp.where(constants.has_lower, jnp.maximum(x0, from_lower), x0)
    x = jnp.where(constants.has_upper, jnp.minimum(x, from_upper), x)
    return jnp.where(constants.is_fixed, constants.lower, x)


def _distances(constants: Constants, x: Vector) -> tuple[Vector, Vector]:
    """Distances to the lower and the upper bound; 1 where there is none (or where the entry is fixed)."""
    low = jnp.where(constants.has_lower & ~constants.is_fixed, x - constants.lower, 1.0)
    high = jnp.where(constants.has_upper & ~constants.is_fixed, constants.upper - x, 1.0)
    return low, high


def _central(constants: Constants, x: Vector, mu: Scalar) -> tuple[Vector, Vector]:
    """Bound multipliers on the central path, `ζ = μ / distance`."""
    low, high = _distances(constants, x)
    free = ~constants.is_fixed
    return jnp.where(constants.has_lower & free, mu / low, 0.0), jnp.where(constants.has_upper & free, mu / high, 0.0)


def _unscaled_residual(constants: Constants, state: State, at: Evaluation) -> Scalar:
    """The largest entry of the KKT residual in the user's own units."""
    scale = state.scaling
    slope = jnp.where(constants.is_fixed, 0.0, at.slope - state.below + state.above) / scale.objective
    low, high = _distances(constants, state.x)
    blocks = [
        slope,
        jnp.maximum(at.g, 0.0) / scale.ineq,
        at.h / scale.eq,
        state.ineq * at.g / scale.objective,
        state.below * low / scale.objective,
        state.above * high / scale.objective,
    ]
    return jnp.max(jnp.abs(jnp.concatenate(blocks)), initial=0.0)


def _lower_barrier(constants: Constants, state: State, at: Evaluation, tol: Scalar) -> Scalar:
    """The barrier parameter, lowered (up to thrice) while its own problem is solved well enough."""
    least = jnp.minimum(tol, tol * state.scaling.objective) / 10
    low, high = _distances(constants, state.x)
    duals = jnp.concatenate([state.ineq, state.eq, state.below, state.above])
    # Large multipliers make small residuals unreachable: Wächter & Biegler (2006), equation (6).
    relax = jnp.maximum(100.0, jnp.sum(jnp.abs(duals)) / max(duals.size, 1)) / 100.0
    slope = jnp.where(constants.is_fixed, 0.0, at.slope - state.below + state.above) / relax
    primal = jnp.max(jnp.abs(jnp.concatenate([slope, at.g + state.slack, at.h])), initial=0.0)
    products = [state.slack * state.ineq, state.below * low, state.above * high]
    exists = [jnp.ones_like(state.slack, bool), constants.has_lower, constants.has_upper]
    products, exists = jnp.concatenate(products), jnp.concatenate(exists) & True
    free = jnp.concatenate([jnp.ones_like(state.slack, bool), ~constants.is_fixed, ~constants.is_fixed])
    mu = state.mu
    for _ in range(3):
        gap = jnp.max(jnp.where(exists & free, jnp.abs(products - mu), 0.0), initial=0.0) / relax
        solved = jnp.maximum(primal, gap) <= _KAPPA_EPSILON * mu
        lower = jnp.maximum(least, jnp.minimum(_KAPPA_MU * mu, mu**_THETA_MU))
        mu = jnp.where(solved & ~state.restoring, jnp.minimum(mu, lower), mu)
    return mu


def _accept(constants: Constants, state: State, trial: Trial, direction: Direction) -> State:
    """The state after the accepted trial point, or the old one with a larger Hessian shift."""
    dual_step = to_boundary(state, direction)
    low, high = _distances(constants, trial.x)
    below = _keep_central(state.below + dual_step * direction.below, state.mu / low)
    above = _keep_central(state.above + dual_step * direction.above, state.mu / high)
    ineq = _keep_central(state.ineq + dual_step * direction.ineq, state.mu / trial.slack)
    free = ~constants.is_fixed
    new = (
        trial.x,
        trial.slack,
        ineq,
        state.eq + trial.length * (direction.eq - state.eq),
        jnp.where(constants.has_lower & free, below, 0.0),
        jnp.where(constants.has_upper & free, above, 0.0),
        trial.penalty,
        direction.shift,
        state.floor / 10,
        jnp.zeros_like(state.failures),
    )
    # No step: shrink the region in which the model is trusted, by a larger shift.
    floor = jnp.where(direction.is_definite, jnp.maximum(10 * state.floor, 1e-4 * direction.size), state.floor)
    old = (
        state.x, state.slack, state.ineq, state.eq, state.below, state.above, trial.penalty,
        direction.shift, floor, state.failures + 1,
    )  # fmt: skip
    chosen = tree_where(trial.accepted & direction.is_definite, new, old)
    where = lambda s: (s.x, s.slack, s.ineq, s.eq, s.below, s.above, s.penalty, s.shift, s.floor, s.failures)
    return eqx.tree_at(where, state, chosen)


def _keep_central(multiplier: Array, central: Array) -> Array:
    """Multipliers within a wide corridor around the central path: Wächter & Biegler (2006), equation (16)."""
    return jnp.clip(multiplier, central / _KAPPA_SIGMA, central * _KAPPA_SIGMA)


def _change_mode(constants: Constants, old: State, new: State, at: Evaluation, trial: Trial) -> State:
    """Enters restoration where no step helps, and leaves it where the violation has fallen enough."""
    tol = jnp.sqrt(jnp.finfo(new.x.dtype).eps)
    enter = ~old.restoring & (new.failures >= _SHIFTS_BEFORE_RESTORATION) & (at.violation > tol)
    leave = old.restoring & trial.accepted & (trial.violation <= jnp.maximum(old.target, 0.1 * tol))
    mu = jnp.where(leave, jnp.maximum(new.mu, jnp.minimum(0.1, trial.violation)), new.mu)
    below, above = _central(constants, new.x, mu)
    slack = jnp.where(leave, jnp.maximum(trial.slack, 1e-4 * jnp.minimum(1.0, mu)), new.slack)
    fresh = (mu / slack, jnp.zeros_like(new.eq), below, above, jnp.ones_like(new.penalty))
    where = lambda s: (s.ineq, s.eq, s.below, s.above, s.penalty)
    new = eqx.tree_at(where, new, tree_where(leave, fresh, where(new)))
    reset = enter | leave
    return eqx.tree_at(
        lambda s: (s.mu, s.slack, s.restoring, s.target, s.restorations, s.failures, s.floor, s.shift),
        new,
        (
            mu,
            slack,
            (old.restoring | enter) & ~leave,
            jnp.where(enter, _RESTORED * at.violation, old.target),
            old.restorations + enter.astype(old.restorations.dtype),
            jnp.where(reset, 0, new.failures),
            jnp.where(reset, 0.0, new.floor),
            jnp.where(reset, 0.0, new.shift),
        ),
    )
