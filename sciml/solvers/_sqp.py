"""Sequential quadratic programming, with subproblems solved by `InteriorPointQP`."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

from ..core import RESULTS, tree_where, where_needed, wrong_type
from ..programs import bound_multipliers, flat_residual, FlatProgram
from ._abstract import AbstractSolver, Point, PrimalDual
from ._evaluate import Evaluation, noticeable, Scaling, scaling_at, values
from ._hessian import AbstractHessian, ExactHessian, ShiftedModel
from ._interior_point_qp import InteriorPointQP, kkt_parts, QPState
from ._narrowing import narrowing_loop
from ._presolve import Reduced, Units
from ._qp_constants import QPConstants
from ._riccati import AbstractScan, Sequential

_HALVINGS = 20  # of the step
_ARMIJO = 1e-4
_MEMORY = 0.5  # weight of earlier merits in the reference of the line search
_PATIENCE = 40  # iterations in which the residual must improve by a tenth, or the merit fall
_FALL = 1e-4  # relative decrease of the merit that counts as progress
_HELD = 1e6  # weight of entries at their bounds while the violation is reduced, relative to the matrix
_MOST_FAILURES = 10  # steps in a row that no length made acceptable
_NUDGE = 1e-2  # of the size of the decision, away from a stationary point of the violation
_DAMPING = 1e-3  # of the first step that reduces the violation, relative to the matrix


class SQPState(eqx.Module):
    """One iterate, in the scaled program."""

    x: Float[Array, " n"]
    dual: Float[Array, " m"]
    """Multipliers of inequalities, lower and upper bounds; those of bounds in the units of the last model."""
    eq: Float[Array, " h"]
    guess: Bool[Array, " m"]
    """Rows that were active in the last quadratic program."""
    has_guess: Bool[Array, ""]
    scaling: Scaling
    penalty: Scalar
    reference: Scalar
    """A running mean of merits, which a step has to stay below."""
    shift: Scalar
    damping: Scalar
    """Of steps that reduce the violation, relative to their matrix."""
    residual: Scalar
    best: Scalar
    age: Int[Array, ""]
    failures: Int[Array, ""]
    inner: Int[Array, ""]
    """Iterations of the quadratic programs so far."""
    nudged: Bool[Array, ""]
    """Whether a stationary point of the violation was left once."""
    stopped: Bool[Array, ""]
    result: RESULTS


class SQP(AbstractSolver):
    """Sequential quadratic programming, with exact second derivatives or a Gauss-Newton Hessian.

    Choose it where a good start is known: predictive control from the last plan, sequences of similar programs, learned
    warm starts. The active set of one iteration is the first guess of the next, so that near a solution each quadratic
    program costs one or two factorisations. `max_steps=1` is a real-time iteration. A quadratic program takes one step.
    On optimal-control programs each factorisation is a Riccati recursion, linear in the horizon.

    Each iteration linearises the constraints, makes the Hessian positive definite on the null space of the equalities,
    solves the quadratic program, and chooses a step length by an l1 merit function with a nonmonotone reference. A
    rejected full step is first given a second-order correction. If the linearised constraints contradict each other,
    the step reduces the violation by Levenberg-Marquardt. If this stops at an infeasible point, it restarts once from a
    perturbed point, and reports `RESULTS.infeasible` if it stops again. If the model is unbounded below, the step of a
    shifted model is tried as a ray. Each model is scaled by the size of the decision's entries, or by a smaller unit
    where the curvature asks for one, or by the width of bounds that are less than one apart.

    Args:
        tol: largest *unscaled* KKT residual of a success; default 1e-8 in float64 and 1e-4 in float32.
        stall_tol: tolerance that still counts as a success where round-off stops progress; default `100 tol`.
        hessian: Hessian of the quadratic models: `ExactHessian()`, `GaussNewton(residual)` or `StageGaussNewton(stage)`
            for least squares, or `Regularised(shift)` for shorter steps. Derivatives of the solution always use exact
            second derivatives.
        inner_steps: largest number of iterations of a quadratic program.
        scale_to: as in `InteriorPoint`.
        unbounded_at: entry size beyond which a feasible iterate is reported as `RESULTS.unbounded`.
        scan: recursion over the stages of optimal control, also for derivatives: `Sequential()`, or `Associative()` for
            a long horizon on a device that runs many operations in parallel.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Nocedal & Wright (2006), Numerical Optimization, algorithm 18.3 and equation 18.36, with the nonmonotone
    line search of Zhang & Hager (2004), DOI 10.1137/S1052623403428208; Diehl, Bock & Schlöder (2005),
    A real-time iteration scheme for nonlinear optimization in optimal feedback control, DOI 10.1137/S0363012902400713.

    Examples:
        ```python
        nearest = sciml.Program(lambda z, p: jnp.sum((z - p) ** 2), ineq=lambda z, p: z @ z - 1.0)
        solution = sciml.solve(nearest, sciml.solvers.SQP(), jnp.zeros(2), jnp.array([3.0, 4.0]))
        assert jnp.allclose(solution.value, jnp.array([0.6, 0.8]), atol=1e-3)
        # the next instance starts from this one: `solve(..., warm=solution.state)`
        ```
    """

    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None
    hessian: AbstractHessian = ExactHessian()
    inner_steps: int = eqx.field(static=True, default=80)
    scale_to: ScalarLike = 100.0
    unbounded_at: ScalarLike = 1e10
    scan: AbstractScan = Sequential()

    def __check_init__(self) -> None:
        if not isinstance(self.hessian, AbstractHessian):
            fix = "pass an instance, such as `GaussNewton(residual)`"
            raise wrong_type("hessian", repr(self.hessian), "a Hessian object", fix)

    @property
    def takes_multipliers(self) -> bool:
        """True: a `Guess` with multipliers is a start, with the active set that they tell."""
        return True

    def suited(self, program: FlatProgram) -> FlatProgram:
        """The program, with this solver's recursion over its stages."""
        return eqx.tree_at(lambda p: p.scan, program, self.scan, is_leaf=lambda x: x is None)

    def prepare(self, program: FlatProgram, p: Any) -> tuple[Array, Array]:
        """The bounds at the instance `p`."""
        return program.limits(p)

    def init(self, program: FlatProgram, constants: tuple[Array, Array], x0: Array, p: Any, warm: Any) -> SQPState:
        """The start within its bounds, or the iterate of `warm` with its multipliers and active set."""
        lower, upper = constants
        crossed = jnp.any(~(lower <= upper))
        x = x0 if warm is None else warm.x
        x = jnp.where(crossed, x, jnp.clip(x, lower, upper))
        scaling, (f, g, h), finite = scaling_at(program, x, p, self.scale_to)
        n, dtype = x.size, x.dtype
        none = jnp.zeros(g.size + 2 * n, dtype)
        dual, eq, guess, has_guess = none, jnp.zeros_like(h), none > 0, jnp.asarray(False)
        if isinstance(warm, PrimalDual):
            units = jnp.concatenate([scaling.ineq, jnp.ones(2 * n, dtype)])
            dual, eq = warm.rows * scaling.objective / units, warm.eq * scaling.objective / scaling.eq
            # Rows whose multiplier exceeds their distance are those that hold, by strict complementarity.
            guess = warm.rows > jnp.concatenate([-g / scaling.ineq, x - lower, upper - x])
            has_guess = jnp.any(guess)
        elif warm is not None:
            # Multipliers in the scaling of today's start.
            by_f = scaling.objective / warm.scaling.objective
            rows = jnp.concatenate([warm.scaling.ineq / scaling.ineq, jnp.ones(2 * n, dtype)])
            dual, eq = warm.dual * rows * by_f, warm.eq * (warm.scaling.eq / scaling.eq) * by_f
            guess, has_guess = warm.guess, warm.has_guess
        result = RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite_start)
        result = RESULTS.where(crossed, RESULTS.contradictory_bounds, result)
        zero, count = jnp.zeros((), dtype), jnp.asarray(0)
        huge = jnp.full((), jnp.inf, dtype)
        return SQPState(
            x, dual, eq, guess, has_guess, scaling, penalty=zero + 1.0, reference=huge, shift=zero,
            damping=zero + _DAMPING, residual=huge, best=huge, age=count, failures=count, inner=count,
            nudged=jnp.asarray(False), stopped=crossed | ~finite, result=result,
        )  # fmt: skip

    def step(self, program: FlatProgram, constants: tuple[Array, Array], state: SQPState, p: Any) -> SQPState:
        """One quadratic program and one line search."""
        tol, _ = self._tolerances(state.x.dtype)
        multipliers = (state.dual[: state.scaling.ineq.size], state.eq)
        at = self.hessian.evaluate(program, state.x, multipliers, state.scaling, p)
        residual = _residual(constants, state, at)
        solved = residual <= tol
        ended = eqx.tree_at(
            lambda s: (s.residual, s.best, s.stopped, s.result),
            state,
            (
                residual,
                jnp.minimum(residual, state.best),
                jnp.asarray(True),
                RESULTS.where(solved, RESULTS.successful, state.result),
            ),
        )
        state = tree_where(solved, ended, state)
        # A batch in which all are done does nothing here.
        advance = lambda: self._advance(program, constants, state, p, at, residual)
        return where_needed(~state.stopped, advance, state)

    def _advance(
        self, program: FlatProgram, constants: tuple[Array, Array], state: SQPState, p: Any,
        at: Evaluation, residual: Scalar,
    ) -> SQPState:  # fmt: skip
        """The quadratic program at an iterate, the line search, and the verdict."""
        tol, stall_tol = self._tolerances(state.x.dtype)
        column = _units(constants, state.x, at)
        near = at.measured(column)
        model = self.hessian.convexify(near.model, state.guess.astype(state.x.dtype), state.shift)
        shift, qp = model.shift, _subproblem(constants, state, near, model, column)
        found, solved_qp, steps = self._solve(program, qp, column, state, p, tol)
        dx = _step(constants, state, near, column, found.x, solved_qp)
        # Multipliers that led nowhere may be what makes the model bad.
        none = jnp.zeros_like(state.dual), jnp.zeros_like(state.eq)
        dual, eq = tree_where(solved_qp, (found.dual, found.eq), none)

        penalty, merit_at, reference = _penalised(state, at, dual, eq)
        measure = lambda x: _merit(program, x, state.scaling, penalty, p, solved_qp)
        (start, left), slope = _expected(at, found, dx, solved_qp, penalty, reference)
        active = (found.dual > found.slack) & qp.exists
        correct = lambda end: column * _correction(program, state, model, active, end, p)
        # Steps within rounding say nothing about the merit; the multipliers move.
        negligible = jnp.max(jnp.abs(dx / column), initial=0.0) <= 100 * jnp.finfo(dx.dtype).eps
        length, accepted, dx = _search(
            measure, correct, (solved_qp, negligible & solved_qp | state.stopped), state.x, dx, (start, left), slope,
            constants,
        )  # fmt: skip
        ray = (program, state, at, dx, p, solved_qp & (shift > 0))
        length = _followed(ray, constants, length, (self.unbounded_at, stall_tol))
        # A model without lower bound says nothing about where to go, and where all is satisfied there is nothing to
        # repair: it needs curvature.
        accepted = accepted & ~(found.result == RESULTS.unbounded)
        accepted = accepted & (solved_qp | (at.violation > noticeable(state.x, tol)))

        there = _held(constants, jnp.clip(state.x + length * dx, *_ordered(constants)), active, column)
        merit_after = measure(there)
        move = lambda old, new: old + length * (new - old)
        moved = eqx.tree_at(
            lambda s: (s.x, s.dual, s.eq, s.guess, s.has_guess, s.penalty, s.reference, s.shift, s.inner),
            state,
            (
                there,
                move(state.dual, dual),
                move(state.eq, eq),
                found.dual > found.slack,
                solved_qp,
                penalty,
                _MEMORY * reference + (1.0 - _MEMORY) * merit_after,
                shift,
                state.inner + steps,
            ),
        )
        improved = residual <= 0.9 * state.best
        # Far away the merit falls long before the residual does.
        falls = accepted & solved_qp & (merit_after <= merit_at - _FALL * (1.0 + jnp.abs(merit_at)))
        age = jnp.where(improved | falls, 0, state.age + 1)
        failures = jnp.where(accepted, 0, state.failures + 1)
        stop, hopeless, result = self._judge(constants, state, at, residual, age, failures, solved_qp, stall_tol)
        # A step that failed is tried again with a larger shift.
        larger = 80.0 * jnp.maximum(shift, 1e-4 * jnp.maximum(near.model.size(), 1.0))
        moved = tree_where(accepted, moved, eqx.tree_at(lambda s: s.shift, state, larger))
        moved = tree_where(stop, state, moved)
        damping = jnp.where(solved_qp, state.damping, _damped(state.damping, start - merit_after, slope))
        best = jnp.where(improved, residual, state.best)
        where = lambda s: (s.damping, s.residual, s.best, s.age, s.failures, s.stopped, s.result)
        moved = eqx.tree_at(where, moved, (damping, residual, best, age, failures, stop, result))
        return tree_where(hopeless & ~stop, _aside(constants, state, column, residual), moved)

    def done(self, state: SQPState) -> Bool[Array, ""]:
        """Whether to stop: the instance converged or failed."""
        return state.stopped

    def finish(
        self, program: FlatProgram, constants: tuple[Array, Array], state: SQPState, p: Any
    ) -> tuple[Point, RESULTS, Any]:
        """The unscaled answer with its multipliers."""
        scale = state.scaling
        ineq = jnp.maximum(state.dual[: scale.ineq.size], 0.0) * scale.ineq / scale.objective
        return Point(state.x, ineq, state.eq * scale.eq / scale.objective), state.result, (
            jnp.zeros_like(state.penalty), jnp.asarray(0),
        )  # fmt: skip

    def _solve(
        self, program: FlatProgram, qp: Reduced, column: Array, state: SQPState, p: Any, tol: Scalar
    ) -> tuple[QPState, Bool[Array, ""], Array]:
        """The quadratic program, started from the last active set, to a tenth of the tolerance in the user's units."""
        scale = state.scaling
        # The user's rows by those here, but the equalities here by the user's.
        units = Units(None, column, jnp.concatenate([1.0 / scale.ineq, column, column]), scale.eq, scale.objective)
        violated = jnp.minimum(qp.d[: scale.ineq.size], 0.0) / scale.ineq
        terms = jnp.concatenate([units.slope(qp.c), violated, qp.e / scale.eq])
        rounding = 5 * jnp.finfo(terms.dtype).eps * jnp.max(jnp.abs(terms), initial=0.0)
        inner = InteriorPointQP(tol=jnp.maximum(0.1 * tol, rounding))
        no = jnp.asarray(False)
        constants = QPConstants(qp, units, None, contradictory=no, finite=~no, inconsistent=no)
        first = inner.init(program, constants, qp.c, p, None)
        guess = (state.guess & qp.exists) | qp.is_equality
        first = eqx.tree_at(
            lambda s: (s.guess, s.attempts, s.stopped),
            first,
            (guess, state.has_guess.astype(first.attempts.dtype), first.stopped | state.stopped),
        )

        going = lambda carry: ~carry[0].stopped & (carry[1] < self.inner_steps)
        # The quadratic program is in the constants; a program and an instance it does not need.
        go = lambda fixed, carry: (fixed[0].step(program, fixed[1], carry[0], None), carry[1] + 1)
        last, steps = narrowing_loop(going, go, (inner, constants), (first, jnp.asarray(0)))
        close = _is_close(qp, last, column) & ~(last.result == RESULTS.infeasible)
        good = last.stopped & (last.result == RESULTS.successful) | close
        return last, good & jnp.all(jnp.isfinite(last.x)), steps

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-8 if dtype == jnp.float64 else 1e-4) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(100 * tol if self.stall_tol is None else self.stall_tol, dtype)

    def _judge(
        self, constants: tuple[Array, Array], state: SQPState, at: Evaluation, residual: Scalar, age: Array,
        failures: Array, solved_qp: Bool[Array, ""], stall_tol: Scalar,
    ) -> tuple[Bool[Array, ""], Bool[Array, ""], RESULTS]:  # fmt: skip
        """Whether to stop an instance that cannot go on; whether the violation is stationary; and the reason."""
        violated, flat = at.is_stuck(state.x, constants, stall_tol)
        far = jnp.max(jnp.abs(state.x), initial=0.0) > self.unbounded_at
        far = far & ~(at.violation > noticeable(state.x, stall_tol))
        hopeless = violated & ~solved_qp & (flat <= 1e-5 * at.violation)
        # A saddle of the violation, or its maximum, is not found twice.
        infeasible = hopeless & state.nudged
        worn_out = (age >= _PATIENCE) | (failures > _MOST_FAILURES)
        result = RESULTS.where(worn_out & ~(residual <= stall_tol), RESULTS.stalled, state.result)
        nearly = worn_out & violated & (flat <= 1e-2 * at.violation)
        result = RESULTS.where(nearly, RESULTS.infeasible, result)
        result = RESULTS.where(far, RESULTS.unbounded, result)
        result = RESULTS.where(infeasible, RESULTS.infeasible, result)
        result = RESULTS.where(~at.is_finite, RESULTS.nonfinite_step, result)
        return worn_out | far | infeasible | ~at.is_finite, hopeless, result


def _penalised(state: SQPState, at: Evaluation, dual: Array, eq: Array) -> tuple[Scalar, Scalar, Scalar]:
    """A penalty above the multipliers, which falls by halves; the merit with it; and what the next merit is held to."""
    needed = 1.1 * jnp.max(jnp.abs(jnp.concatenate([dual[: at.g.size], eq])), initial=0.0) + 1e-3
    penalty = jnp.where(needed > state.penalty, needed, jnp.maximum(needed, 0.5 * state.penalty))
    merit = at.f + penalty * _l1(at.g, at.h)
    # Another penalty is another merit function: its reference starts anew.
    same = (penalty == state.penalty) & jnp.isfinite(state.reference)
    return penalty, merit, jnp.where(same, jnp.maximum(state.reference, merit), merit)


def _expected(
    at: Evaluation, found: QPState, dx: Array, solved_qp: Bool[Array, ""], penalty: Scalar, reference: Scalar
) -> tuple[tuple[Scalar, Scalar], Scalar]:
    """The merit that a step starts from, by how much the full step may raise it nevertheless, and its slope.

    Neither is the fault of the step: what the quadratic program leaves of its constraints is violation, and with
    `Hd + c + Cᵀz + Eᵀν = 0` the slope of the objective is `cᵀd = -dᵀHd - zᵀCd - νᵀEd`, in which rows that have a
    multiplier and stay open are missing. Twice that, for what is of second order.
    """
    answered = found.stopped & (found.result == RESULTS.successful)
    gap = jnp.where(answered, jnp.sum(jnp.abs(found.dual * found.excess)), 0.0)
    left = 2.0 * (penalty * _violation_after(at, dx) + gap)
    slope = jnp.where(solved_qp, at.gradient @ dx - penalty * _l1(at.g, at.h), at.violation_gradient @ dx)
    start = jnp.where(solved_qp, reference, _squares(at.g, at.h))
    return (start, jnp.where(solved_qp, left, 0.0)), jnp.minimum(slope, 0.0)


def _units(constants: tuple[Array, Array], x: Array, at: Evaluation) -> Array:
    """What each entry of the decision is measured in: its size, or where it is less than one the width of its bounds.

    Large entries of large curvature are measured by that: what matters there is much less than their size. Powers of
    two, so that nothing is rounded. Shifts and regularisations act in these units.
    """
    lower, upper = constants
    width = jnp.where(upper > lower, jnp.minimum(upper - lower, 1.0), 1.0)
    size = jnp.clip(jnp.maximum(jnp.abs(x), width), 1e-8, 1e10)
    curvature = jnp.abs(at.model.model.diagonal())
    most = jnp.finfo(x.dtype).eps ** -0.25  # of a measured curvature: regularisation stays small beside one
    bound = jnp.sqrt(most / jnp.maximum(curvature, most * jnp.finfo(x.dtype).tiny))
    size = jnp.minimum(size, jnp.maximum(bound, jnp.minimum(size, 1.0)))
    return jnp.exp2(jnp.round(jnp.log2(size)))


def _held(constants: tuple[Array, Array], x: Array, active: Array, column: Array) -> Array:
    """`x` with entries exactly at the bounds that hold them: what rounding leaves times a large multiplier counts."""
    at_lower, at_upper = jnp.split(active[active.size - 2 * x.size :], 2)
    near = lambda bound: jnp.abs(x - bound) <= 1e-2 * jnp.finfo(x.dtype).eps ** 0.5 * column
    lower, upper = _ordered(constants)
    return jnp.where(at_lower & near(lower), lower, jnp.where(at_upper & near(upper), upper, x))


def _ordered(constants: tuple[Array, Array]) -> tuple[Array, Array]:
    lower, upper = constants
    return lower, jnp.maximum(lower, upper)


def _subproblem(
    constants: tuple[Array, Array], state: SQPState, at: Evaluation, model: ShiftedModel, column: Array
) -> Reduced:
    """minimise `½ dᵀHd + ∇fᵀd` subject to `g + Jg d <= 0`, `h + Jh d = 0` and bounds, in units of the decision."""
    lower, upper = constants
    width = upper - lower
    fixed = width <= 10 * jnp.finfo(state.x.dtype).eps * jnp.maximum(
        1.0, jnp.abs(jnp.where(jnp.isfinite(lower), lower, 0.0))
    )
    d = jnp.concatenate([-at.g, (state.x - lower) / column, (upper - state.x) / column])
    none = jnp.zeros(at.g.size, bool)
    # From the bounds alone, which a batch may share.
    exists = jnp.concatenate([~none, jnp.isfinite(lower), jnp.isfinite(upper) & ~fixed])
    is_equality = jnp.concatenate([none, fixed, jnp.zeros_like(fixed)]) & exists
    box = jnp.maximum(jnp.abs(state.x - lower), jnp.abs(upper - state.x)) / column
    return Reduced(model, at.gradient, jnp.where(exists, d, 0.0), -at.h, exists, is_equality, box)


def _is_close(qp: Reduced, last: QPState, column: Array) -> Bool[Array, ""]:
    """Whether a quadratic program that found no answer came near one, in the units of the scaled program."""
    ones, dtype = jnp.ones(qp.d.size - 2 * column.size, qp.c.dtype), qp.c.dtype
    units = Units(None, column, jnp.concatenate([ones, column, column]), jnp.ones_like(qp.e), jnp.ones((), dtype))
    parts = kkt_parts(qp, units, last.bent + qp.c + last.pull, last.excess, last.defect, last.dual)
    most = jnp.finfo(dtype).eps ** 0.25 * (1.0 + jnp.max(jnp.abs(units.slope(qp.c)), initial=0.0))
    return jnp.max(parts, initial=0.0) <= most


def _step(
    constants: tuple[Array, Array], state: SQPState, at: Evaluation, column: Array, found: Array,
    solved_qp: Bool[Array, ""],
) -> Array:  # fmt: skip
    """The step of the quadratic program, which oversteps bounds by its rounding, or else one that repairs."""
    to_repair = ~solved_qp & ~state.stopped
    repair = where_needed(to_repair, lambda: _repair(constants, state, at), jnp.zeros_like(state.x))
    within = jnp.clip(state.x + column * found, *_ordered(constants)) - state.x
    return jnp.where(solved_qp, within, column * repair)


def _repair(constants: tuple[Array, Array], state: SQPState, at: Evaluation) -> Array:
    """A Levenberg-Marquardt step on `½‖h‖² + ½‖g₊‖²`; the search for its length follows the bounds.

    Where the model eliminates its equalities, they are satisfied to first order and the rest is reduced.
    """
    model, (lower, upper), x = at.model.straight(), _ordered(constants), state.x
    if model.eliminates:
        gradient, level, soft = at.violation_gradient - model.equalities_transposed(at.h), -at.h, 1e-6
        size = model.eq_size()
    else:
        gradient, level, soft = at.violation_gradient, jnp.zeros_like(at.h), 1.0 / state.scaling.eq**2
        size = jnp.max(model.row_sizes()[1], initial=0.0)
    held = jnp.concatenate([jnp.zeros(at.g.size, bool), (x <= lower) & (gradient > 0), (x >= upper) & (gradient < 0)])
    violated = jnp.concatenate([at.g > 0, jnp.zeros(2 * x.size, bool)]).astype(x.dtype)
    size = size + model.largest_diagonal(violated)
    size = jnp.where(size > 0, size, 1.0)
    # Entries that their bounds hold back stay there.
    weights = jnp.where(held, _HELD * size, violated)
    factors = model.factorise(weights, state.damping * size, jnp.asarray(soft, x.dtype))
    dx, _ = model.solve(factors, -gradient, level)
    return jnp.where(factors.is_definite & jnp.all(jnp.isfinite(dx)), dx, -gradient / size)


def _aside(constants: tuple[Array, Array], state: SQPState, column: Array, residual: Scalar) -> SQPState:
    """The state anew beside its point, in a direction that has nothing to do with the program."""
    (lower, upper), x = _ordered(constants), state.x
    d = _NUDGE * jnp.minimum(column, upper - lower) * jnp.cos(2.4 * jnp.arange(1, x.size + 1, dtype=x.dtype))
    inside = (x + d >= lower) & (x + d <= upper)
    none = jnp.zeros_like(state.age)
    return eqx.tree_at(
        lambda s: (s.x, s.nudged, s.age, s.failures, s.damping, s.residual),
        state,
        (x + jnp.where(inside, d, -d), jnp.asarray(True), none, none, jnp.full_like(state.damping, _DAMPING), residual),
    )


def _damped(damping: Scalar, decrease: Scalar, slope: Scalar) -> Scalar:
    """The damping after a step: what it decreased shows the curvature that `Jᵀ J` lacks.

    Where constraints contradict each other the violation stays, and that curvature with it: an undamped step zigzags
    across the least violation. A Newton step decreases by half of what its slope promises.
    """
    promised = decrease / jnp.where(slope < 0, -slope, 1.0)
    damping = jnp.where(promised > 0.7, 0.25 * damping, jnp.where(promised > 0.25, damping, 8.0 * damping))
    return jnp.clip(damping, 1e-2 * _DAMPING, 1e6)


def _l1(g: Array, h: Array) -> Scalar:
    """The violation `‖h‖₁ + ‖g₊‖₁`."""
    return jnp.sum(jnp.maximum(g, 0.0)) + jnp.sum(jnp.abs(h))


def _squares(g: Array, h: Array) -> Scalar:
    """Half the squared violation, `½‖h‖² + ½‖g₊‖²`."""
    return 0.5 * (jnp.sum(jnp.maximum(g, 0.0) ** 2) + jnp.sum(h**2))


def _merit(program: FlatProgram, x: Array, scaling: Scaling, penalty: Scalar, p: Any, is_l1: Bool[Array, ""]) -> Scalar:
    """`f + π (‖h‖₁ + ‖g₊‖₁)`, or half the squared violation."""
    f, g, h = values(program, x, scaling, p)
    return jnp.where(jnp.isfinite(f), jnp.where(is_l1, f + penalty * _l1(g, h), _squares(g, h)), jnp.inf)


def _violation_after(at: Evaluation, dx: Array) -> Scalar:
    """The violation of the linearised constraints after a step."""
    return _l1(at.g + at.model.rows(dx)[: at.g.size], at.h + at.model.equalities(dx))


def _followed(
    ray: tuple[FlatProgram, SQPState, Evaluation, Array, Any, Bool[Array, ""]], constants: tuple[Array, Array],
    length: Scalar, limits: tuple[ScalarLike, Scalar],
) -> Scalar:  # fmt: skip
    """The length that leads beyond the limit of unboundedness, where the objective keeps falling on feasible points.

    A model that needs a shift may have no lower bound: its step is tried as a ray, once.
    """
    program, state, at, dx, p, relevant = ray
    unbounded_at, stall_tol = limits
    x, eps = state.x, jnp.finfo(state.x.dtype).eps
    size, slope = jnp.max(jnp.abs(dx), initial=0.0), at.gradient @ dx
    feasible = at.violation <= stall_tol
    far = 2.0 * jnp.asarray(unbounded_at, x.dtype) / jnp.where(size > 0, size, 1.0)

    def follow() -> Scalar:
        end = jnp.clip(x + far * dx, *_ordered(constants))
        f, g, h = values(program, end, state.scaling, p)
        violation = jnp.max(jnp.concatenate([g, jnp.abs(h)]), initial=0.0)
        keeps = (f <= at.f + 0.5 * far * slope) & (violation <= noticeable(end, stall_tol))
        return jnp.where(keeps & jnp.isfinite(f), far, length)

    return where_needed(relevant & feasible & (slope < 0) & (size * length > 100 * eps), follow, length)


def _search(
    measure: Any, correct: Any, which: tuple[Bool[Array, ""], Bool[Array, ""]], x: Array, dx: Array,
    level: tuple[Scalar, Scalar], slope: Scalar, constants: tuple[Array, Array],
) -> tuple[Scalar, Bool[Array, ""], Array]:  # fmt: skip
    """The longest of `1, ½, ¼, ...` that decreases the merit enough; tried one after the other.

    Where the full step does not, a second-order correction of it comes next. `which`: whether that makes sense, and
    whether the full step is taken as it is. `level` is the merit to start from, and by how much the full step may
    raise it.
    """
    (start, left), (correctable, taken) = level, which
    noise = 10 * jnp.finfo(x.dtype).eps * (1.0 + jnp.abs(start))

    def good(length: Scalar, dx: Array) -> Array:
        value = measure(jnp.clip(x + length * dx, *_ordered(constants)))
        return jnp.isfinite(value) & (value <= start + length * (_ARMIJO * slope + left) + noise)

    def bend() -> tuple[Array, Array]:
        back = correct(x + dx)
        bent = dx + back
        # A correction as long as the step is none.
        helps = good(one, bent) & (jnp.linalg.norm(back) <= 0.5 * jnp.linalg.norm(dx))
        return jnp.where(helps, bent, dx), helps

    def halve(carry: tuple[Scalar, Array, Array]) -> tuple[Scalar, Array, Array]:
        length, _, count = carry
        return 0.5 * length, good(0.5 * length, dx), count + 1

    one, none = jnp.ones((), x.dtype), jnp.asarray(0)
    accepted = taken | good(one, dx)
    bent, accepted = where_needed(~accepted & correctable, bend, (dx, accepted))
    going = lambda carry: ~carry[1] & (carry[2] < _HALVINGS)
    length, accepted, _ = jax.lax.while_loop(going, halve, (one, accepted, none))
    return length, accepted, bent


def _correction(
    program: FlatProgram, state: SQPState, model: ShiftedModel, active: Bool[Array, " m"], end: Array, p: Any
) -> Array:
    """The step from `end` back to the equalities and the active rows, by the derivatives of where it began; in units.

    minimise `½ dᵀHd` subject to `c(end) + J d = 0` in those rows, which are held by a large weight.
    Source: Nocedal & Wright (2006), equation 18.36, against the Maratos effect.
    """
    _, g, h = values(program, end, state.scaling, p)
    dtype, inner = end.dtype, model.model
    held = active.astype(dtype)
    offset = held * jnp.concatenate([g, jnp.zeros(held.size - g.size, dtype)])
    small, size = jnp.finfo(dtype).eps ** 0.5, jnp.maximum(inner.size(), 1.0)
    rows = inner.straight().largest_diagonal(held)
    weight = size / (small * jnp.where(rows > 0, rows, 1.0))
    factors = model.factorise(weight * held, small * size, small / size)
    d, _ = model.solve(factors, -weight * model.rows_transposed(offset), -h)
    return jnp.where(factors.is_definite & jnp.all(jnp.isfinite(d)), d, 0.0)


def _residual(constants: tuple[Array, Array], state: SQPState, at: Evaluation) -> Scalar:
    """The largest entry of the KKT residual in the user's own units, as `solve` will report it."""
    scale, lower, upper = state.scaling, *constants
    slope = at.slope / scale.objective
    ineq = jnp.maximum(state.dual[: scale.ineq.size], 0.0) * scale.ineq / scale.objective
    below, above = bound_multipliers(state.x, slope, lower, upper)
    g, h = at.g / scale.ineq, at.h / scale.eq
    residual = flat_residual(state.x, slope, g, h, constants, (ineq, below, above))
    return jnp.where(at.is_finite, residual.largest, jnp.inf)
