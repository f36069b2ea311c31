"""A primal-dual interior-point method for nonlinear programs."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Scalar, ScalarLike

from ..core import RESULTS, tree_where, where_needed
from ..programs import bound_multipliers, flat_residual, FlatProgram
from ._abstract import AbstractSolver, Point, PrimalDual
from ._barrier import adapt_barrier, lower_barrier
from ._evaluate import evaluate, Evaluation, noticeable, scaling_at, values
from ._finish import finish
from ._line_search import search, Trial
from ._newton import Direction, factorise, Factors, newton_system
from ._riccati import AbstractScan, Sequential
from ._state import Constants, distances, fraction, largest_step, Rows, State, Vector

# Strategy constants, each with its role in Wächter & Biegler (2006), table of section 4 unless stated otherwise.
_KAPPA_SIGMA = 1e10  # how far a multiplier may stray from μ / distance
_SHIFTS_BEFORE_RESTORATION = 5  # failed line searches, each with a larger Hessian shift, before feasibility comes first
_MOST_FAILURES = 15
_SHORT = 0.01  # a step shorter than this that does not lower the violation counts as failed
_PATIENCE = 15  # passes in which the violation must be halved, else feasibility comes first
_MOST_RESTORATIONS = 6
_RESTORED = 0.1  # restoration ends when the violation has fallen to this fraction
_HOPELESS = 1e-5  # projected gradient of the violation relative to the violation: a stationary, infeasible point
_NEARLY_HOPELESS = 1e-2  # the same, for an instance that has no step left


class InteriorPoint(AbstractSolver):
    """A primal-dual interior-point method for nonconvex programs with equalities, inequalities and bounds.

    Choose it for dense programs of up to a few hundred variables whose second derivatives are cheap, alone or in
    batches. On optimal-control programs it is linear in the horizon.

    Inequalities have slacks; bounds hold strictly. Each iteration condenses the Newton system on the decision and tests
    by a Cholesky factorisation whether the reduced Hessian is positive definite; if not, it shifts the Hessian. It
    predicts the next barrier parameter, and chooses one of several step lengths by an exact-penalty merit function with
    a second-order correction. Near the solution it solves the equations of the active set instead. If no step
    succeeds, it restores feasibility by Levenberg-Marquardt on the violation; at an infeasible stationary point of the
    violation it reports `RESULTS.infeasible`.

    Args:
        tol: largest *unscaled* KKT residual (stationarity, violation, complementarity, dual sign) of a success;
            default 1e-8 in float64 and 1e-4 in float32.
        stall_tol: tolerance that still counts as a success where round-off stops progress; default `100 tol`.
        mu: initial barrier parameter, in the unit of the scaled objective.
        warm_mu: initial barrier parameter after a warm start, at least `tol`.
        scale_to: largest gradient entry at the start, after scaling of the objective and every constraint.
        unbounded_at: entry size beyond which a feasible iterate is reported as `RESULTS.unbounded`.
        scan: recursion over the stages of optimal control, also for derivatives: `Sequential()`, or `Associative()` for
            a long horizon on a device that runs many operations in parallel.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Wächter & Biegler (2006), On the implementation of an interior-point filter line-search algorithm,
    DOI 10.1007/s10107-004-0559-y, for barrier strategy, scaling and safeguards; Waltz, Morales, Nocedal & Orban (2006),
    An interior algorithm for nonlinear optimization, DOI 10.1007/s10107-004-0560-5, for merit function and slack reset.
    Nocedal, Wächter & Waltz (2009), DOI 10.1137/060649513, for the barrier (`_barrier`). Deviations: merit function
    instead of filter, condensed Cholesky instead of an indefinite factorisation, and a least-squares restoration; each
    so that every lane of a batch runs the same operations.

    Examples:
        ```python
        outside = sciml.Program(lambda z, p: jnp.sum((z - p) ** 2), ineq=lambda z, p: 1.0 - z @ z)
        solve = lambda p: sciml.solve(outside, sciml.solvers.InteriorPoint(), jnp.ones(2), p, throw=False)
        solutions = jax.jit(jax.vmap(solve))(jnp.array([[0.3, 0.4], [3.0, 4.0]]))
        assert jnp.allclose(solutions.value, jnp.array([[0.6, 0.8], [3.0, 4.0]]), atol=1e-3)
        ```
    """

    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None
    mu: ScalarLike = 0.1
    warm_mu: ScalarLike = 1e-4
    scale_to: ScalarLike = 100.0
    unbounded_at: ScalarLike = 1e10
    scan: AbstractScan = Sequential()

    @property
    def takes_multipliers(self) -> bool:
        """True: a `Guess` with multipliers is a start, moved inside the bounds as an earlier solution is."""
        return True

    def suited(self, program: FlatProgram) -> FlatProgram:
        """The program, with this solver's recursion over its stages."""
        return eqx.tree_at(lambda p: p.scan, program, self.scan, is_leaf=lambda x: x is None)

    def prepare(self, program: FlatProgram, p: Any) -> Constants:
        """The bounds at the instance `p`."""
        lower, upper = program.limits(p)
        width = upper - lower
        size = jnp.maximum(1.0, jnp.abs(jnp.where(jnp.isfinite(lower), lower, 0.0)))
        fixed = jnp.isfinite(width) & (width <= 10 * jnp.finfo(lower.dtype).eps * size)
        exists = [jnp.ones(program.n_ineq, bool), jnp.isfinite(lower) & ~fixed, jnp.isfinite(upper) & ~fixed]
        return Constants(lower, upper, jnp.concatenate(exists), fixed, jnp.any(~(lower <= upper)))

    def init(self, program: FlatProgram, constants: Constants, x0: Vector, p: Any, warm: Any) -> State:
        """A strictly interior start near `x0`, or the iterate of `warm`."""
        dtype, mu = x0.dtype, jnp.asarray(self.mu if warm is None else self.warm_mu, x0.dtype)
        x = _interior(constants, x0, 1e-2) if warm is None else _interior(constants, warm.x, self.warm_mu)
        scaling, (f, g, h), finite = scaling_at(program, x, p, self.scale_to)
        slack = jnp.maximum(-g, 1e-2 if warm is None else jnp.minimum(1e-2, mu))
        dual = _central(constants, x, slack, mu)
        eq = jnp.zeros_like(h)
        if warm is not None:
            # Multipliers in the scaling of today's start, and no further below the central path than it.
            start = warm if isinstance(warm, PrimalDual) else _again(warm)
            rows = jnp.concatenate([start.ineq / scaling.ineq, start.lower, start.upper]) * scaling.objective
            dual = jnp.where(constants.exists, jnp.maximum(rows, dual), 0.0)
            eq = start.eq * scaling.objective / scaling.eq
        result = RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite_start)
        result = RESULTS.where(constants.contradictory, RESULTS.contradictory_bounds, result)
        zero, none, far = jnp.zeros((), dtype), jnp.asarray(0), jnp.full((), jnp.inf, dtype)
        return State(
            x, slack, dual, eq, scaling, mu,
            penalty=jnp.ones((), dtype), shift=zero, floor=zero, failures=none, restoring=jnp.asarray(False),
            target=zero, decay=zero, age=none, checkpoint=zero, restorations=none,
            length=jnp.ones((), dtype), best=far, stale=none,
            finishing=none, saved=(x, slack, dual, eq), finished_at=far, residual=far,
            stopped=~finite | constants.contradictory, result=result,
        )  # fmt: skip

    def step(self, program: FlatProgram, constants: Constants, state: State, p: Any) -> State:
        """One iteration: evaluate, test, lower the barrier, solve for a direction, search along it."""
        tol, stall_tol = self._tolerances(state.x.dtype)
        multipliers = (state.dual[: state.slack.size], state.eq)
        at = evaluate(program, state.x, multipliers, state.scaling, p, state.restoring)
        residual = _unscaled_residual(constants, state, at)
        mu = lower_barrier(constants, state, at, tol)
        # Another barrier parameter is another merit function, which may do with a smaller penalty.
        penalty = jnp.where(mu < state.mu, 1.0, state.penalty)
        finishing, saved, finished_at = finish(constants, state, residual, mu, tol)
        failed = (state.finishing > 0) & (finishing == 0)
        changes = (mu, residual, penalty, finishing, saved, finished_at)
        state = eqx.tree_at(
            lambda s: (s.mu, s.residual, s.penalty, s.finishing, s.saved, s.finished_at), state, changes
        )
        # One factorisation per pass: a restoration step differs only in the matrix and the right-hand side.
        factors = factorise(newton_system(constants, state, at), state.shift, state.floor)
        state, products = adapt_barrier(constants, state, at, factors, tol)
        factors = factors.centred_at(constants, state, products)
        direction = factors.direction(state.dual)
        trial = search(program, constants, state, at, factors, direction, p)
        moved = _accept(constants, state, at, trial, factors, direction)
        moved = _change_mode(constants, state, moved, at, trial)
        # Equations of the active set that led nowhere are taken back.
        back = failed | ((finishing > 0) & ~(trial.accepted & factors.is_definite))
        where = lambda s: (s.x, s.slack, s.dual, s.eq, s.finishing)
        moved = tree_where(back, eqx.tree_at(where, state, (*state.saved, jnp.asarray(0))), moved)
        lost = self._is_lost(program, constants, state, moved, at, factors, stall_tol, p)
        stop, result = self._judge(constants, state, moved, at, trial, lost, stall_tol)
        stop, result = stop & ~back, RESULTS.where(back, state.result, result)
        # What stops, stops at the iterate whose residual was judged.
        solved = (residual <= tol) & ((finishing != 1) | back)
        stop, result = stop | solved, RESULTS.where(solved, RESULTS.successful, result)
        return eqx.tree_at(lambda s: (s.stopped, s.result), tree_where(stop, state, moved), (stop, result))

    def done(self, state: State) -> Bool[Array, ""]:
        """Whether to stop: the instance converged or failed."""
        return state.stopped

    def finish(self, program: FlatProgram, constants: Constants, state: State, p: Any) -> tuple[Point, RESULTS, Any]:
        """The unscaled answer with its multipliers."""
        return _unscaled(constants, state), state.result, (state.mu, state.restorations)

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-8 if dtype == jnp.float64 else 1e-4) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(100 * tol if self.stall_tol is None else self.stall_tol, dtype)

    def _judge(
        self, constants: Constants, old: State, new: State, at: Evaluation, trial: Trial, lost: Array, stall_tol: Scalar
    ) -> tuple[Bool[Array, ""], RESULTS]:
        """Whether to stop an instance that cannot go on, and the reason."""
        violated, flat = at.is_stuck(old.x, (constants.lower, constants.upper), stall_tol)
        hopeless = violated & (flat <= _HOPELESS * at.violation) & old.restoring
        worn_out = (new.failures > _MOST_FAILURES) | (new.restorations > _MOST_RESTORATIONS)
        acceptable = old.residual <= stall_tol
        result = RESULTS.where(worn_out & ~acceptable, RESULTS.stalled, old.result)
        result = RESULTS.where(
            worn_out & violated & (flat <= _NEARLY_HOPELESS * at.violation), RESULTS.infeasible, result
        )
        result = RESULTS.where(worn_out & ~acceptable & ~trial.any_finite, RESULTS.nonfinite_step, result)
        result = RESULTS.where(lost, RESULTS.unbounded, result)
        result = RESULTS.where(hopeless, RESULTS.infeasible, result)
        result = RESULTS.where(~at.is_finite, RESULTS.nonfinite_step, result)
        return worn_out | lost | hopeless | ~at.is_finite, result

    def _is_lost(
        self,
        program: FlatProgram,
        constants: Constants,
        old: State,
        new: State,
        at: Evaluation,
        factors: Factors,
        tol: Scalar,
        p: Any,
    ) -> Bool[Array, ""]:
        """Whether a feasible point beyond `unbounded_at` is reached, or the last step leads to one.

        Far out, rounding leaves the Newton matrix without a direction in which to go on. So the step is prolonged, and
        what it leads to is evaluated.
        """
        far = jnp.max(jnp.abs(new.x), initial=0.0) > self.unbounded_at
        far = far | (at.f < -(self.unbounded_at**2) * old.scaling.objective)
        lost = far & (at.violation <= noticeable(old.x, tol))
        step = new.x - old.x
        # Entries that hardly move are settling, not leaving; the equalities that this violates are mended.
        step = jnp.where(jnp.abs(step) >= 1e-3 * jnp.max(jnp.abs(step), initial=0.0), step, 0.0)
        length = 2.0 * self.unbounded_at / jnp.maximum(jnp.max(jnp.abs(step), initial=0.0), 1.0)
        falling = at.gradient @ step
        moves = (jnp.max(jnp.abs(old.x), initial=0.0) > self.unbounded_at**0.5) & (falling < 0) & (old.finishing == 0)

        def look() -> Bool[Array, ""]:
            there = old.x + length * step
            *_, h = values(program, there, old.scaling, p)
            there = jnp.clip(there + factors.mended(h), constants.lower, constants.upper)
            f, g, h = values(program, there, old.scaling, p)
            lower = f <= at.f + 0.1 * length * falling
            excess = jnp.max(jnp.concatenate([g, jnp.abs(h)]), initial=0.0)
            beyond = jnp.max(jnp.abs(there), initial=0.0) > self.unbounded_at
            return lower & beyond & (excess <= noticeable(there, tol))

        return (lost | where_needed(moves, look, jnp.asarray(False))) & ~old.restoring


def _unscaled(constants: Constants, state: State) -> Point:
    """The iterate in the user's units, fixed entries exactly at their value."""
    scale = state.scaling
    x = jnp.where(constants.is_fixed, constants.lower, jnp.clip(state.x, constants.lower, constants.upper))
    ineq = state.dual[: state.slack.size] * scale.ineq / scale.objective
    return Point(x, ineq, state.eq * scale.eq / scale.objective)


def _again(state: State) -> PrimalDual:
    """An earlier iterate with its multipliers, in the user's units."""
    ineq, bounds = jnp.split(state.dual / state.scaling.objective, [state.slack.size])
    lower, upper = jnp.split(bounds, 2)
    eq = state.eq * state.scaling.eq / state.scaling.objective
    return PrimalDual(state.x, ineq * state.scaling.ineq, eq, lower, upper)


def _interior(constants: Constants, x0: Vector, push: ScalarLike) -> Vector:
    """`x0` moved strictly inside its bounds (Wächter & Biegler 2006, section 3.6)."""
    has_lower, has_upper = jnp.isfinite(constants.lower), jnp.isfinite(constants.upper)
    lower, upper = jnp.where(has_lower, constants.lower, 0.0), jnp.where(has_upper, constants.upper, 0.0)
    width = jnp.where(has_lower & has_upper, upper - lower, jnp.inf)
    from_lower = lower + push * jnp.minimum(jnp.maximum(1.0, jnp.abs(lower)), width)
    from_upper = upper - push * jnp.minimum(jnp.maximum(1.0, jnp.abs(upper)), width)
    x = jnp.where(has_lower, jnp.maximum(x0, from_lower), x0)
    x = jnp.where(has_upper, jnp.minimum(x, from_upper), x)
    return jnp.where(constants.is_fixed, constants.lower, x)


def _central(constants: Constants, x: Vector, slack: Array, mu: Scalar) -> Rows:
    """Multipliers on the central path, `y = μ / t`."""
    return jnp.where(constants.exists, mu / distances(constants, x, slack), 0.0)


def _unscaled_residual(constants: Constants, state: State, at: Evaluation) -> Scalar:
    """The largest entry of the KKT residual in the user's own units, as `solve` will report it."""
    scale, point = state.scaling, _unscaled(constants, state)
    slope = at.slope / scale.objective
    # Equations of the active set know no other bounds: what they leave violated counts, so not the clipped iterate.
    x = jnp.where(constants.is_fixed, point.x, state.x)
    below, above = bound_multipliers(x, slope, constants.lower, constants.upper)
    limits = (constants.lower, constants.upper)
    residual = flat_residual(x, slope, at.g / scale.ineq, at.h / scale.eq, limits, (point.ineq, below, above))
    # While restoring, the slope is that of the violation.
    return jnp.where(at.is_finite & ~state.restoring, residual.largest, jnp.inf)


def _feasible(state: State) -> Scalar:
    """The scaled violation below which restoration has nothing to do: far out, rounding alone is more."""
    eps = jnp.finfo(state.x.dtype).eps
    return jnp.maximum(eps**0.5, 10 * eps * jnp.max(jnp.abs(state.x), initial=0.0))


def _accept(
    constants: Constants, state: State, at: Evaluation, trial: Trial, factors: Factors, direction: Direction
) -> State:
    """The state after the accepted trial point, or the old one with a larger Hessian shift."""
    dual_step = largest_step(state.dual, direction.dual, fraction(state.mu), constants.exists)
    central = _central(constants, trial.x, trial.slack, state.mu)
    # A wide corridor around the central path: Wächter & Biegler (2006), equation (16).
    dual = jnp.clip(state.dual + dual_step * direction.dual, central / _KAPPA_SIGMA, central * _KAPPA_SIGMA)
    dual = jnp.where(state.finishing > 0, jnp.where(constants.exists, state.dual + direction.dual, 0.0), dual)
    eq = state.eq + trial.length * (direction.eq - state.eq)
    accepted = trial.accepted & factors.is_definite
    # No step: shrink the region in which the model is trusted, by a larger shift.
    larger = jnp.where(factors.is_definite, jnp.maximum(10 * state.floor, 1e-4 * factors.size), state.floor)
    short = (
        ~(state.restoring | (state.finishing > 0))
        & (trial.length < _SHORT)
        & (at.violation > _feasible(state))
        & (trial.violation > 0.99 * at.violation)
    )
    floor = jnp.where(accepted & ~short, state.floor / 10, larger)
    failures = jnp.where(accepted & ~short, 0, state.failures + 1)
    new, old = (trial.x, trial.slack, dual, eq), (state.x, state.slack, state.dual, state.eq)
    where = lambda s: (s.x, s.slack, s.dual, s.eq, s.penalty, s.shift, s.floor, s.failures, s.length)
    changed = (*tree_where(accepted, new, old), trial.penalty, factors.shift, floor, failures, trial.length)
    return eqx.tree_at(where, state, changed)


def _change_mode(constants: Constants, old: State, new: State, at: Evaluation, trial: Trial) -> State:
    """Enters restoration where no step helps, and leaves it where the violation has fallen enough."""
    tol = _feasible(new)
    due = old.age >= _PATIENCE
    idle = due & (trial.violation > 0.5 * old.checkpoint) & (old.checkpoint > 0.0)
    tried = (new.failures >= _SHIFTS_BEFORE_RESTORATION) | idle
    enter = ~old.restoring & tried & (at.violation > tol)
    leave = old.restoring & trial.accepted & (trial.violation <= jnp.maximum(old.target, 0.1 * tol))
    mu = jnp.where(leave, jnp.maximum(new.mu, jnp.minimum(0.1, trial.violation)), new.mu)
    slack = jnp.where(leave, jnp.maximum(trial.slack, 1e-4 * jnp.minimum(1.0, mu)), new.slack)
    fresh = (_central(constants, new.x, slack, mu), jnp.zeros_like(new.eq), jnp.ones_like(new.penalty))
    dual, eq, penalty = tree_where(leave, fresh, (new.dual, new.eq, new.penalty))
    reset = enter | leave
    fresh_age = due | reset | old.restoring
    changes = {
        "age": jnp.where(fresh_age, 0, old.age + 1),
        "checkpoint": jnp.where(fresh_age, trial.violation, old.checkpoint),
        "mu": mu,
        "slack": slack,
        "dual": dual,
        "eq": eq,
        "penalty": penalty,
        "restoring": (old.restoring | enter) & ~leave,
        "target": jnp.where(enter, _RESTORED * at.violation, old.target),
        "decay": jnp.where(enter, 1.0, 0.2 * old.decay),
        "restorations": old.restorations + enter.astype(old.restorations.dtype),
        "failures": jnp.where(reset, 0, new.failures),
        "floor": jnp.where(reset, 0.0, new.floor),
        "shift": jnp.where(reset, 0.0, new.shift),
    }
    return eqx.tree_at(lambda s: [getattr(s, name) for name in changes], new, list(changes.values()))
