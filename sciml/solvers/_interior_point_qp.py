"""A primal-dual interior-point method for convex quadratic programs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

from ..core import RESULTS, tree_where, where_needed
from ..programs import FlatProgram
from ._abstract import AbstractSolver, Point
from ._certificates import is_infeasible, is_unbounded, is_violation_least, largest, negligible
from ._presolve import Reduced, Units
from ._qp_constants import qp_constants, QPConstants

_STEP = 0.995  # fraction of the way to the boundary
_PATIENCE = 50  # iterations in which the residual must improve by a tenth
_CLEAR = 2.0  # ratio of slack and multiplier from which a row counts as clearly active or inactive
_MORE, _MOST = 1e3, 1.0  # growth and limit of the primal regularisation of the scaled matrix
_HOPELESS = 1e-4  # what counts as zero in the certificate of an instance that stalled
_ATTEMPTS = 3  # active sets tried in a row, each corrected by the signs that the last one gave
_REFINEMENTS, _REFINING = 4, 0.1  # most for an attempt, and what one has to make of the residual for another
_AGAIN = 0.1  # decrease of the barrier parameter after which a failed attempt at the active set is repeated


class QPState(eqx.Module):
    """One iterate of the reduced program, and the program there."""

    x: Float[Array, " k"]
    slack: Float[Array, " m"]
    dual: Float[Array, " m"]
    eq: Float[Array, " e"]
    bent: Float[Array, " k"]
    """`H x`."""
    pull: Float[Array, " k"]
    """`Cᵀz + Eᵀν`."""
    excess: Float[Array, " m"]
    """`C x - d`, zero in rows that do not exist."""
    defect: Float[Array, " e"]
    """`E x - e`."""
    residual: Scalar
    mu: Scalar
    guess: Bool[Array, " m"]
    """The active set to try next, as the last attempt suggests."""
    attempts: Int[Array, ""]
    """How many active sets in a row were tried in vain."""
    rho: Scalar
    """Primal regularisation, larger where rounding left the last matrix without a factor."""
    attempted_at: Scalar
    """The barrier parameter when the equations of the active set were last tried."""
    best: Scalar
    """The smallest residual so far, up to a tenth."""
    age: Int[Array, ""]
    """Iterations since then."""
    stopped: Bool[Array, ""]
    result: RESULTS


class InteriorPointQP(AbstractSolver):
    """Mehrotra's predictor-corrector method for a convex `QuadraticProgram`.

    Choose it for dense convex quadratic programs of up to a few hundred variables, alone or in batches. Scaling, the
    elimination of a shared `A` and products of the columns of a shared `G` are computed once per batch. Each iteration
    costs one Cholesky factorisation. Linearly dependent rows of `A`, infinite bounds, missing blocks and `Q = 0` are
    allowed. A final active-set step makes the answer accurate to rounding.

    Args:
        tol: largest *unscaled* KKT residual of a success; default 1e-9 in float64 and 1e-5 in float32.
        stall_tol: tolerance that still counts as a success where round-off stops progress; default `10 tol`. Each entry
            of the residual may exceed it by ten rounding errors of its terms: with a gradient of 1e10 in float64, a
            success may report a `Residual.largest` of 2e-5. If `stats.residual` is at most `tol`, the success needed no
            such allowance.
        rho, delta: smallest primal and dual regularisation of the scaled Newton matrix; the default depends on the
            dtype. They affect the iterations, not the solution.
        equilibrations: number of rounds of row and column scaling.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Mehrotra (1992), On the implementation of a primal-dual interior point method, DOI 10.1137/0802028, with the
    regularisation of Schwan et al. (2023), PIQP: a proximal interior-point quadratic programming solver, arXiv
    2304.00290. Deviations: one step length for primal and dual; elimination of equalities; polishing.

    Examples:
        ```python
        shares = sciml.QuadraticProgram(jnp.eye(2), lambda p: -p, A=jnp.ones((1, 2)), b=jnp.ones(1), lower=0.0)
        solve = lambda p: sciml.solve(shares, sciml.solvers.InteriorPointQP(), jnp.zeros(2), p, throw=False)
        solutions = jax.jit(jax.vmap(solve))(jnp.array([[0.5, 0.1], [3.0, 0.0]]))
        assert jnp.allclose(solutions.value, jnp.array([[0.7, 0.3], [1.0, 0.0]]), atol=1e-4)
        ```
    """

    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None
    rho: ScalarLike | None = None
    delta: ScalarLike | None = None
    equilibrations: int = eqx.field(static=True, default=8)

    @property
    def uses_start(self) -> bool:
        """False: the solver computes its own start and ignores `z0`."""
        return False

    def prepare(self, program: FlatProgram, p: Any) -> QPConstants:
        """The scaled program, reduced to the null space of its equalities."""
        return qp_constants(program, p, self.equilibrations)

    def init(self, program: FlatProgram, constants: QPConstants, x0: Array, p: Any, warm: Any) -> QPState:
        """Mehrotra's starting point, or the shifted iterate of `warm`; `x0` is not used."""
        qp = constants.reduced
        dtype = qp.c.dtype
        rho, delta = self._regularisation(dtype)
        real = qp.exists & ~qp.is_equality
        if warm is None:
            # The minimiser of ½xᵀHx + cᵀx + ½|Cx - d|² has slacks d - Cx and multipliers Cx - d, to be shifted.
            weights = jnp.where(qp.exists, 1.0, 0.0).astype(dtype)
            factors = qp.model.factorise(weights, rho, delta)
            x, eq = qp.model.solve(factors, -qp.c + qp.model.rows_transposed(weights * qp.d), qp.e)
            gap = qp.d - qp.model.rows(x)
            slack, dual = _shift(gap, real), _shift(-gap, real)
        else:
            x, eq = warm.x, warm.eq
            least = jnp.asarray(1e-2, dtype)
            slack = jnp.maximum(jnp.maximum(qp.d - qp.model.rows(x), warm.slack), least)
            dual = jnp.maximum(warm.dual, least)
        dual = jnp.where(real, dual, jnp.where(qp.exists & (warm is not None), dual, 0.0))
        stopped, result = constants.verdict()
        huge = jnp.full((), jnp.inf, dtype)
        slack = jnp.where(real, slack, 1.0)
        at, residual = _evaluate(qp, constants.units, x, dual, eq)
        zero = jnp.asarray(0)
        return QPState(
            x, slack, dual, eq, *at, residual, huge, qp.is_equality, zero, rho, huge, huge, zero, stopped, result
        )  # fmt: skip

    def step(self, program: FlatProgram, constants: QPConstants, state: QPState, p: Any) -> QPState:
        """One predictor-corrector iteration, or one attempt at the equations of the active set."""
        qp, units = constants.reduced, constants.units
        tol, stall_tol = self._tolerances(qp.c.dtype)
        tol = 0.5 * tol  # an outside evaluation has its own rounding
        real = qp.exists & ~qp.is_equality
        mu = _mean(state.slack * state.dual, real)
        attempt, active = _guess(qp, state, mu)
        barrier = jnp.where(real & ~attempt, 1.0, 0.0).astype(qp.c.dtype)  # rows with complementarity in this pass
        # While attempting, rows outside the guess have no multiplier and rows inside no slack.
        dual, slack = jnp.where(attempt & ~active, 0.0, state.dual), barrier * state.slack
        system = self._system(qp, state, mu, attempt, active, barrier)
        r_dual = state.bent + qp.c + state.pull
        dropped = state.dual - dual

        first = system.direction(r_dual, dropped, state.excess + slack, state.defect, -slack * dual)
        sigma = system.centring(first, mu)
        # The barrier must not vanish before the residual does: rounding would be all that is left to follow.
        target = jnp.maximum(sigma * mu, 0.01 * tol * units.objective)
        # The second solve corrects Mehrotra's prediction; while attempting, what the first one left.
        again = (r_dual, dropped, state.excess + slack, state.defect)
        again = tree_where(attempt, system.left(first, *again), again)
        r_dual, dropped, r_rows, r_eq = again
        r_comp = barrier * (target - slack * dual - first.slack * first.dual)
        second = system.direction(r_dual, dropped, r_rows, r_eq, r_comp)
        alpha = jnp.where(attempt, 1.0, jnp.minimum(1.0, _STEP * system.length(second)))
        step = tree_where(attempt, jax.tree.map(jnp.add, first, second), second)
        tiny = jnp.finfo(qp.c.dtype).tiny ** 0.5
        positive = lambda v: jnp.where(barrier > 0, jnp.maximum(v, tiny), v)
        x, eq = state.x + alpha * step.x, state.eq + alpha * step.eq
        dual, slack = positive(dual + alpha * step.dual), positive(state.slack + alpha * step.slack)
        at, residual = _evaluate(qp, units, x, dual, eq)

        moved = _refined(system, units, attempt, active, tol, (x, dual, eq), at, residual)
        (x, dual, eq), at, residual, agrees = moved
        usable = system.factors.is_definite & jnp.isfinite(residual) & jnp.all(jnp.isfinite(slack))
        # Where refinement leads no further and the signs are right, rounding has the last word.
        last_word = jnp.where(jnp.any(real), attempt & agrees, residual > 0.9 * state.best)
        doubtful = last_word & (residual > stall_tol)
        beyond = where_needed(doubtful, lambda: _beyond_rounding(qp, units, dual, at), residual)
        settles = last_word & (beyond <= stall_tol) & (state.residual > tol)
        solved = usable & ((residual <= tol) | settles)
        accepted = usable & (~attempt | solved)
        new = (x, slack, dual, eq, *at, residual)
        old = (state.x, state.slack, state.dual, state.eq, state.bent, state.pull, state.excess, state.defect)
        new = tree_where(accepted, new, (*old, state.residual))
        residual = new[-1]
        guess = (real & (dual > -at[2])) | qp.is_equality
        again = _is_open(units, state, new, (attempt, solved, guess != active), real, tol)
        held = again & (residual <= tol)
        solved = (solved | (residual <= tol)) & ~again
        progress = self._progress(state, residual, usable | attempt)
        rho, best, age = progress
        stop, result = self._judge(constants, state, new, progress, accepted, solved, stall_tol)
        stop, result = stop & ~held, RESULTS.where(held, state.result, result)
        last = jnp.where(attempt, mu, state.attempted_at)
        attempts = jnp.where(again, state.attempts + 1, 0)
        x, slack, dual, eq, bent, pull, excess, defect, residual = new
        return QPState(
            x, slack, dual, eq, bent, pull, excess, defect, residual,
            mu, guess, attempts, rho, last, best, age, stop, result,
        )  # fmt: skip

    def _progress(
        self, state: QPState, residual: Scalar, usable: Bool[Array, ""]
    ) -> tuple[Scalar, Scalar, Int[Array, ""]]:
        """Regularisation of the next pass, the smallest residual so far, and the passes since then."""
        improved = residual <= 0.9 * state.best
        # A matrix without a factor, or a step that is not finite, is tried again with more regularisation.
        least, _ = self._regularisation(residual.dtype)
        rho = jnp.where(usable, jnp.maximum(0.1 * state.rho, least), _MORE * state.rho)
        return rho, jnp.where(improved, residual, state.best), jnp.where(improved, 0, state.age + 1)

    def _judge(
        self,
        constants: QPConstants,
        state: QPState,
        new: tuple[Array, ...],
        progress: tuple[Scalar, Scalar, Array],
        accepted: Bool[Array, ""],
        solved: Bool[Array, ""],
        stall_tol: Scalar,
    ) -> tuple[Bool[Array, ""], RESULTS]:
        """Whether the instance is solved or cannot go on, and the reason."""
        x, _, dual, eq, bent, pull, excess, defect, residual = new
        rho, _, age = progress
        worn_out = (age >= _PATIENCE) | (rho > _MOST)
        before = (state.x, state.bent, state.excess, state.defect)
        unbounded = accepted & is_unbounded(constants.reduced, before, (x, bent, excess, defect))
        # The further out points are ruled out, the better the proof; where nothing moves any more, a weak one must do.
        reach = (1.0 + largest(x)) / jnp.where(worn_out, _HOPELESS, negligible(x.dtype))

        def prove() -> tuple[Array, Array]:
            found = accepted & is_infeasible(constants, dual, eq, pull, reach, stall_tol)
            found = found | is_violation_least(constants, excess, defect, reach, stall_tol)
            at = (bent, pull, excess, defect)
            return found, _beyond_rounding(constants.reduced, constants.units, dual, at)

        # Attempts that are taken back are no lack of progress yet.
        stuck = ~solved & ((age > _ATTEMPTS) | worn_out)
        infeasible, beyond = where_needed(stuck, prove, (jnp.asarray(False), residual))
        result = RESULTS.where(worn_out & ~(beyond <= stall_tol), RESULTS.stalled, state.result)
        result = RESULTS.where(unbounded, RESULTS.unbounded, result)
        result = RESULTS.where(infeasible, RESULTS.infeasible, result)
        result = RESULTS.where(solved, RESULTS.successful, result)
        return solved | worn_out | infeasible | unbounded, result

    def _system(
        self, qp: Reduced, state: QPState, mu: Scalar, attempt: Bool[Array, ""], active: Array, barrier: Array
    ) -> "_System":
        """The factored Newton system: of the barrier problem, or of the equations of the active set.

        `ds = -(C dx + r) + δ dz` and `s dz + z ds = r_c` give `dz = W (C dx + r + r_c / z)` with `W = z / (s + δ z)`.
        """
        _, delta = self._regularisation(qp.c.dtype)
        eps = jnp.finfo(qp.c.dtype).eps
        # Where dynamics are eliminated, the curvature that a row competes with grows with the horizon.
        hard, least = (eps**0.75, eps**0.75) if qp.model.eliminates else (delta, eps**0.5)
        soft = jnp.maximum(jnp.minimum(mu, hard), least)
        weights = barrier * state.dual / (state.slack + soft * state.dual)
        weights = jnp.where(attempt | qp.is_equality, jnp.where(active, 1.0 / hard, 0.0), weights)
        factors = qp.model.factorise(weights, state.rho, delta)
        return _System(qp, factors, weights, soft, barrier * state.slack, state.dual, barrier)

    def done(self, state: QPState) -> Bool[Array, ""]:
        """Whether to stop: the instance converged or failed."""
        return state.stopped

    def is_answer(self, state: QPState) -> Bool[Array, ""]:
        """Whether the residual is small enough, even if the active set is not yet determined."""
        tol, _ = self._tolerances(state.x.dtype)
        return state.stopped | (state.residual <= 0.5 * tol)

    def finish(
        self, program: FlatProgram, constants: QPConstants, state: QPState, p: Any
    ) -> tuple[Point, RESULTS, Any]:
        """The polished iterate with scaling and elimination undone."""
        recovery = constants.recovery
        assert recovery is not None
        ineq, eq = recovery.multipliers(state.x, state.dual, state.eq)
        x = recovery.decision(state.x)
        lower, upper = program.limits(p)
        x = jnp.where(lower <= upper, jnp.clip(x, lower, upper), x)
        return Point(x, ineq, eq), state.result, (state.mu, jnp.asarray(0))

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-9 if dtype == jnp.float64 else 1e-5) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(10 * tol if self.stall_tol is None else self.stall_tol, dtype)

    def _regularisation(self, dtype: Any) -> tuple[Scalar, Scalar]:
        rho, delta = (1e-10, 1e-7) if dtype == jnp.float64 else (1e-6, 1e-4)
        value = lambda given, default: jnp.asarray(default if given is None else given, dtype)
        return value(self.rho, rho), value(self.delta, delta)


class _Direction(eqx.Module):
    x: Float[Array, " k"]
    slack: Float[Array, " m"]
    dual: Float[Array, " m"]
    eq: Float[Array, " e"]


class _System(eqx.Module):
    """The factored Newton system at an iterate."""

    qp: Reduced
    factors: Any
    """Those of the model, whatever it is."""
    weights: Float[Array, " m"]
    soft: Scalar
    """Regularisation of the rows."""
    slack: Float[Array, " m"]
    dual: Float[Array, " m"]
    barrier: Float[Array, " m"]
    """1 in rows with complementarity, else 0."""

    def direction(self, r_dual: Array, dropped: Array, r_rows: Array, r_eq: Array, r_comp: Array) -> _Direction:
        """The step for the given residuals of stationarity, rows, equalities and complementarity.

        Multipliers `dropped` are in `r_dual` still, and are to be taken out.
        """
        model = self.qp.model
        target = r_rows + self.barrier * r_comp / jnp.where(self.barrier > 0, self.dual, 1.0)
        right = model.rows_transposed(dropped - self.weights * target) - r_dual
        dx, deq = model.solve(self.factors, right, -r_eq)
        along = model.rows(dx)
        dual = self.weights * (along + target)
        # Not by division of the complementarity by z, which would amplify rounding where z is tiny.
        return _Direction(dx, self.barrier * (self.soft * dual - along - r_rows), dual, deq)

    def left(self, step: _Direction, r_dual: Array, dropped: Array, r_rows: Array, r_eq: Array) -> tuple:
        """The residuals after a full step, without regard to complementarity."""
        model = self.qp.model
        slope = model.curvature(step.x) + model.equalities_transposed(step.eq)
        return r_dual + slope, dropped - step.dual, r_rows + model.rows(step.x), r_eq + model.equalities(step.x)

    def length(self, step: _Direction) -> Scalar:
        """The longest step, up to a little more than 1, that keeps slacks and multipliers positive."""
        real = self.barrier > 0
        return jnp.minimum(_longest(self.slack, step.slack, real), _longest(self.dual, step.dual, real))

    def centring(self, step: _Direction, mu: Scalar) -> Scalar:
        """`σ = (μ after the affine step / μ)³` (Mehrotra 1992)."""
        alpha = self.length(step)
        products = self.barrier * (self.slack + alpha * step.slack) * (self.dual + alpha * step.dual)
        after = jnp.sum(products) / jnp.maximum(jnp.sum(self.barrier), 1.0)
        return jnp.clip(after / jnp.where(mu > 0, mu, 1.0), 0.0, 1.0) ** 3


def _evaluate(
    qp: Reduced, units: Units, x: Array, dual: Array, eq: Array
) -> tuple[tuple[Array, Array, Array, Array], Scalar]:
    """`H x`, `Cᵀz + Eᵀν`, `C x - d`, `E x - e`, and the residual."""
    model = qp.model
    bent, pull = model.curvature(x), model.rows_transposed(dual) + model.equalities_transposed(eq)
    excess, defect = qp.excess(x), model.equalities(x) - qp.e
    return (bent, pull, excess, defect), jnp.max(
        kkt_parts(qp, units, bent + qp.c + pull, excess, defect, dual), initial=0.0
    )


def _refined(
    system: _System, units: Units, attempt: Bool[Array, ""], active: Array, tol: Scalar, point: tuple, at: tuple,
    residual: Scalar,
) -> tuple[tuple, tuple, Scalar, Bool[Array, ""]]:  # fmt: skip
    """An attempt led on by its own factors, which hold the active set only up to a regularisation.

    Its residuals are taken anew as long as the signs agree with the active set and a turn makes a tenth of them.
    Returns point, what `_evaluate` says there, and whether the signs agree.
    """
    qp = system.qp
    real = qp.exists & ~qp.is_equality
    agrees = lambda dual, at: jnp.all(((real & (dual > -at[2])) | qp.is_equality) == active)
    none = jnp.zeros_like(point[1])

    def refine(carry: tuple) -> tuple:
        (x, dual, eq), at, last, _, count = carry
        more = system.direction(at[0] + qp.c + at[1], none, at[2], at[3], none)
        point = (x + more.x, dual + more.dual, eq + more.eq)
        at, residual = _evaluate(qp, units, *point)
        return point, at, residual, residual <= _REFINING * last, count + 1

    def unsettled(carry: tuple) -> Array:
        point, at, residual, improves, count = carry
        return attempt & improves & (residual > tol) & agrees(point[1], at) & (count < _REFINEMENTS)

    start = (point, at, residual, jnp.isfinite(residual), jnp.asarray(0))
    point, at, residual, _, _ = jax.lax.while_loop(unsettled, refine, start)
    return point, at, residual, agrees(point[1], at)


def _guess(qp: Reduced, state: QPState, mu: Scalar) -> tuple[Bool[Array, ""], Bool[Array, " m"]]:
    """Whether the active set is clear enough to try its equations, and the active set.

    Source: Stellato et al. (2020), section 5.2: rows with `z > s` are equations.
    """
    real = qp.exists & ~qp.is_equality
    active = (real & (state.dual > state.slack)) | qp.is_equality
    again = state.attempts > 0
    active = jnp.where(again, state.guess, active)
    larger, smaller = jnp.maximum(state.dual, state.slack), jnp.minimum(state.dual, state.slack)
    clear = jnp.all(jnp.where(real, larger >= _CLEAR * smaller, True))
    return jnp.any(real) & (again | (clear & (mu <= _AGAIN * state.attempted_at))), active


def _is_open(
    units: Units, state: QPState, new: tuple[Array, ...], trial: tuple[Array, Array, Array], real: Array, tol: Scalar
) -> Bool[Array, ""]:
    """Whether another active set is to be tried next; `trial`: an attempt, solved, and where its signs disagree.

    After an attempt in vain, rows that it violates come in and rows with a negative multiplier go out. And a small
    product leaves open which of the two is zero: slack and multiplier may be its root, and the decision as wrong. Then
    the equations of the active set are tried before the answer is taken.
    """
    (attempt, solved, wrong), (_, slack, dual, *_, residual) = trial, new
    again = attempt & ~solved & jnp.any(wrong) & (state.attempts < _ATTEMPTS - 1)
    sizes = jnp.minimum(slack * units.row, dual / (units.row * units.objective))
    return again | (~attempt & (residual <= tol) & jnp.any(real & (sizes > tol)))


def kkt_parts(qp: Reduced, units: Units, slope: Array, excess: Array, r_eq: Array, dual: Array) -> Array:
    """The entries of the KKT residual in the user's units: stationarity, violation, complementarity, sign."""
    violation = jnp.where(qp.is_equality, jnp.abs(excess), jnp.maximum(excess, 0.0)) * units.row
    products = jnp.where(qp.is_equality, 0.0, jnp.abs(dual * excess)) / units.objective
    signs = jnp.where(qp.is_equality, 0.0, -dual) / (units.row * units.objective)
    eq = jnp.abs(r_eq / units.eq) if r_eq.size else jnp.abs(r_eq)
    return jnp.concatenate([jnp.abs(units.slope(slope)), violation, products, signs, eq])


def _beyond_rounding(qp: Reduced, units: Units, dual: Array, at: tuple[Array, Array, Array, Array]) -> Scalar:
    """The largest entry of the residual less ten roundings of the terms that it is made of."""
    bent, pull, excess, defect = at
    parts = kkt_parts(qp, units, bent + qp.c + pull, excess, defect, dual)
    # The same entries of the sizes of the terms: they are not negative, which makes them violations.
    terms = jnp.maximum(jnp.maximum(jnp.abs(bent), jnp.abs(qp.c)), jnp.abs(pull))
    spread = units if units.basis is None else eqx.tree_at(lambda u: u.basis, units, jnp.abs(units.basis))
    rows = jnp.abs(qp.d)
    if qp.origin is not None:
        h = jnp.abs(qp.origin.data.h)
        rows = rows.at[: h.size].max(h)
    rows = jnp.where(qp.exists, rows, 0.0)
    sizes = kkt_parts(qp, spread, terms, rows, jnp.abs(qp.e), dual)
    return jnp.max(parts - 10 * jnp.finfo(parts.dtype).eps * jnp.maximum(sizes, 0.0), initial=0.0)


def _mean(v: Array, real: Bool[Array, " m"]) -> Scalar:
    """The mean over the rows that are `real`; zero without any."""
    return jnp.sum(jnp.where(real, v, 0.0)) / jnp.maximum(jnp.sum(real.astype(v.dtype)), 1.0)


def _shift(v: Array, real: Bool[Array, " m"]) -> Array:
    """`v` moved up until it is positive (Mehrotra 1992, section 7)."""
    lowest = jnp.min(jnp.where(real, v, jnp.inf), initial=jnp.inf)
    return jnp.where(lowest > 1e-2, v, v - lowest + 1.0)


def _longest(v: Array, dv: Array, real: Bool[Array, " m"]) -> Scalar:
    """The largest `α <= 1` that keeps `v + α dv >= 0`."""
    shrinking = real & (dv < 0)
    ratio = jnp.where(shrinking, -v / jnp.where(shrinking, dv, 1.0), 1.0 / _STEP)
    return jnp.min(ratio, initial=1.0 / _STEP)
