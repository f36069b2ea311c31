"""A matrix-free augmented Lagrangian method for large and degenerate nonlinear programs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, Scalar, ScalarLike

from ..core import invalid, RESULTS, tree_where, wrong_type
from ..programs import FlatProgram
from ._abstract import AbstractSolver, Point, PrimalDual
from ._evaluate import Scaling
from ._penalised import augmented, evaluate_rows, Limits, probed_scaling, Rows, scaled_rows
from ._polish import AbstractPolish, NewtonPolish, residual_at
from ._projected_newton import projected, ProjectedNewton

# Strategy constants; those of Birgin & Martínez (2014), section 4.1 and chapter 12, unless stated otherwise.
_TAU = 0.5  # the infeasibility must fall to this fraction, or else the penalty grows
_GAMMA = 10.0  # by this factor
_LARGEST_PENALTY = 1e12
_LARGEST_MULTIPLIER = 1e12  # safeguard: beyond it, multipliers start anew from zero
_TIGHTER = 0.1  # factor on the inner tolerance, one outer iteration after another
_MOST_ROUNDS = 10  # outer iterations with the same multipliers and penalty, where the inner one needs more steps
_MOST_ESCAPES = 6  # returns from far out, each with a hundredfold penalty
_PATIENCE = 15  # updates of multipliers in which the residual must improve by a tenth
_HOPELESS = 1e-5  # projected gradient of the violation relative to the violation: a stationary, infeasible point
_NEARLY_HOPELESS = 1e-2  # the same, for an instance whose penalty cannot grow any more


class AugmentedLagrangianState(eqx.Module):
    """One outer iterate in the scaled program, and the best point so far, unscaled."""

    x: Float[Array, " n"]
    dual: Float[Array, " m"]
    """Multipliers of inequalities; then of the bounds, where the inner minimiser does not keep them."""
    eq: Float[Array, " h"]
    scaling: Scaling
    penalty: Scalar
    inner_tol: Scalar
    infeasibility: Scalar
    """`max(|h|, |max(g, -λ/ρ)|)` after the last update of the multipliers."""
    rounds: Int[Array, ""]
    escapes: Int[Array, ""]
    best: Point
    residual: Scalar
    """The unscaled KKT residual of the best point."""
    mark: Scalar
    """The residual that progress is measured from."""
    age: Int[Array, ""]
    stopped: Bool[Array, ""]
    result: RESULTS


class AugmentedLagrangian(AbstractSolver):
    """A matrix-free augmented Lagrangian method for large or degenerate programs; it uses Hessian-vector products only.

    Choose it for programs with thousands of decisions, whose matrices do not fit into memory, and for programs with
    linearly dependent active constraints or unbounded multipliers: it needs no constraint qualification to make
    progress. For small dense programs, `InteriorPoint` is faster. Only `polish` and the derivative of the solution form
    a matrix of the size of the decision.

    Each iteration minimises the augmented Lagrangian of Powell, Hestenes and Rockafellar to a decreasing tolerance,
    then updates the multipliers. It raises the penalty only if the infeasibility has not halved. The inner minimiser
    satisfies the bounds. Close to the solution, a few Newton steps on the active set give the last digits. An
    infeasible stationary point of the violation ends as `RESULTS.infeasible`.

    Args:
        tol: largest *unscaled* KKT residual (stationarity, violation, complementarity, dual sign) of a success;
            default 1e-8 in float64 and 1e-4 in float32.
        stall_tol: tolerance that still counts as a success where progress stops; default `100 tol`.
        inner: the inner minimiser, any `optimistix.AbstractMinimiser`. `ProjectedNewton` stays within the bounds. With
            another one, such as `optimistix.LBFGS`, bounds are inequalities, and functions are evaluated outside them.
        inner_steps: largest number of inner iterations per outer iteration; the next outer iteration continues an
            unfinished minimisation. In a batch, all lanes wait for the slowest one.
        polish: the Newton polish at the end; None for no polish.
        scale_to: the objective and every constraint row are scaled so that no gradient is much longer than this at the
            start.
        unbounded_at: entry size beyond which a feasible iterate is reported as `RESULTS.unbounded`.

    Gradient: by the `adjoint` of `solve`, never through the iterations.

    Source: Birgin & Martínez (2014), Practical Augmented Lagrangian Methods for Constrained Optimization, algorithm
    4.1, DOI 10.1137/1.9781611973365; Birgin & Martínez (2008), Improving ultimate convergence of an augmented
    Lagrangian method, DOI 10.1080/10556780701577730, for the polish. Deviations: row sizes are estimated from a few
    directional derivatives; an inner run that is cut off is continued before multipliers are updated.
    """

    tol: ScalarLike | None = None
    stall_tol: ScalarLike | None = None
    inner: optx.AbstractMinimiser = ProjectedNewton()
    inner_steps: int = eqx.field(static=True, default=50)
    polish: AbstractPolish | None = NewtonPolish()
    scale_to: ScalarLike = 100.0
    unbounded_at: ScalarLike = 1e10

    def __check_init__(self) -> None:
        """What would otherwise fail deep inside."""
        if not isinstance(self.inner, optx.AbstractMinimiser):
            fix = "pass an instance, such as `ProjectedNewton()`"
            raise wrong_type("inner", repr(self.inner), "an `optimistix.AbstractMinimiser`", fix)
        if self.inner_steps < 1:
            raise invalid("inner_steps", str(self.inner_steps), "at least 1", "leave it out to use its default")

    @property
    def keeps_bounds(self) -> bool:
        """Whether the inner minimiser stays within bounds."""
        return isinstance(self.inner, ProjectedNewton)

    @property
    def takes_multipliers(self) -> bool:
        """True: a `Guess` with multipliers is a start, with the penalty of a cold one."""
        return True

    def prepare(self, program: FlatProgram, p: Any) -> Limits:
        """The bounds at the instance `p`."""
        return program.limits(p)

    def init(self, program: FlatProgram, constants: Limits, x0: Array, p: Any, warm: Any) -> AugmentedLagrangianState:
        """The start within its bounds, or the best point of `warm` with its multipliers and penalty."""
        lower, upper = constants
        crossed = jnp.any(~(lower <= upper))
        x = x0 if warm is None else warm.x if isinstance(warm, PrimalDual) else warm.best.x
        x = jnp.where(crossed, x, jnp.clip(x, lower, upper))
        scaling, (f, g, h), finite = probed_scaling(program, x, p, self.scale_to)
        dtype = x.dtype
        f, g, h = scaling.objective * f, scaling.ineq * g, scaling.eq * h
        squares = jnp.sum(jnp.maximum(g, 0.0) ** 2) + jnp.sum(h**2)
        penalty = jnp.clip(10.0 * jnp.maximum(1.0, jnp.abs(f)) / jnp.maximum(1.0, 0.5 * squares), 1e-4, 1e4)
        penalty = jnp.where(jnp.isfinite(penalty), penalty, 1.0).astype(dtype)
        dual = jnp.zeros(g.size + (0 if self.keeps_bounds else 2 * x.size), dtype)
        eq = jnp.zeros_like(h)
        if isinstance(warm, PrimalDual):
            bound = jnp.zeros(0, dtype) if self.keeps_bounds else jnp.concatenate([warm.lower, warm.upper])
            dual = jnp.concatenate([warm.ineq / scaling.ineq, bound]) * scaling.objective
            eq = warm.eq * scaling.objective / scaling.eq
        elif warm is not None:
            by_f = scaling.objective
            dual = jnp.concatenate([warm.best.ineq * by_f / scaling.ineq, warm.dual[g.size :]])
            eq, penalty = warm.best.eq * by_f / scaling.eq, warm.penalty
        result = RESULTS.where(finite, RESULTS.successful, RESULTS.nonfinite_start)
        result = RESULTS.where(crossed, RESULTS.contradictory_bounds, result)
        none, huge = jnp.asarray(0), jnp.full((), jnp.inf, dtype)
        best = self._point(scaling, x, dual, eq)
        return AugmentedLagrangianState(
            x, dual, eq, scaling, penalty, inner_tol=jnp.full((), 1e-2 if warm is None else 1e-4, dtype),
            infeasibility=huge, rounds=none, escapes=none, best=best, residual=huge, mark=huge, age=none,
            stopped=crossed | ~finite, result=result,
        )  # fmt: skip

    def step(
        self, program: FlatProgram, constants: Limits, state: AugmentedLagrangianState, p: Any
    ) -> AugmentedLagrangianState:
        """One inner minimisation, one update of multipliers or penalty, one polish where it may help."""
        tol, stall_tol = self._tolerances(state.x.dtype)
        rows = lambda x: scaled_rows(program, state.scaling, constants, self.keeps_bounds, x, p)
        x, given_up = self._minimise(rows, constants, state)
        at = evaluate_rows(rows, x, state.dual, state.eq, state.penalty)
        stationarity = projected(x, at.slope, *self._kept(constants, x))
        # What rounding keeps from the inner tolerance is not asked for twice.
        nearly = (stationarity <= stall_tol * state.scaling.objective) & (state.rounds > 0)
        solved = (stationarity <= state.inner_tol) | nearly

        ineq, eq = jnp.maximum(state.dual + state.penalty * at.g, 0.0), state.eq + state.penalty * at.h
        point, residual = self._candidate(constants, state.scaling, at, x, (ineq, eq))
        if self.polish is not None:
            wanted = (residual > tol) & at.is_finite & ~state.stopped
            polished, smaller = self.polish(program, constants, point, p, tol, wanted)
            point, residual = tree_where(smaller < residual, (polished, smaller), (point, residual))
        better = residual < state.residual
        best, residual = tree_where(better, (point, residual), (state.best, state.residual))

        reach = jnp.max(jnp.abs(x), initial=0.0)
        runs_away = (at.f < -jnp.asarray(self.unbounded_at, x.dtype)) & (at.violation > stall_tol)
        far = (reach > self.unbounded_at) | ~at.is_finite | runs_away
        moved = self._update(state, at, x, (ineq, eq), solved | given_up, tol)
        # Where the augmented Lagrangian has no minimum, its penalty is too small: back, with a larger one.
        back = eqx.tree_at(lambda s: (s.penalty, s.escapes), state, (100.0 * state.penalty, state.escapes + 1))
        moved = tree_where(far, back, moved)
        improved = residual <= 0.9 * state.mark
        # An inner run that goes on is no lack of progress.
        older = state.age + (far | (moved.rounds == 0)).astype(state.age.dtype)
        age, mark = jnp.where(improved, 0, older), jnp.where(improved, residual, state.mark)
        moved = eqx.tree_at(lambda s: (s.best, s.residual, s.age, s.mark), moved, (best, residual, age, mark))
        stop, result = self._judge(constants, state, moved, at, x, solved | given_up, far, stall_tol)
        # A start that no trial point could leave, because nothing around it is finite.
        uphill = at.slope / jnp.maximum(jnp.linalg.norm(at.slope), jnp.finfo(x.dtype).tiny)
        nearby = x - jnp.finfo(x.dtype).eps ** 0.5 * (1.0 + reach) * uphill
        aside = rows(jnp.clip(nearby, *self._kept(constants, x)))
        finite = jnp.all(jnp.isfinite(jnp.concatenate([aside[0][None], *aside[1:]])))
        alone = jnp.all(x == state.x) & given_up & ~solved & ~finite
        result = RESULTS.where(alone, RESULTS.nonfinite_step, result)
        stop, done = stop | alone, residual <= tol
        # A failure later on does not take back an answer that is good enough.
        result = RESULTS.where(done | (stop & (residual <= stall_tol)), RESULTS.successful, result)
        return eqx.tree_at(lambda s: (s.stopped, s.result), moved, (stop | done, result))

    def done(self, state: AugmentedLagrangianState) -> Bool[Array, ""]:
        """Whether to stop: the instance converged or failed."""
        return state.stopped

    def finish(
        self, program: FlatProgram, constants: Limits, state: AugmentedLagrangianState, p: Any
    ) -> tuple[Point, RESULTS, Any]:
        """The best point of all iterations."""
        return state.best, state.result, (jnp.zeros_like(state.penalty), jnp.asarray(0))

    def _minimise(self, rows: Any, constants: Limits, state: AugmentedLagrangianState) -> tuple[Array, Array]:
        """The inner minimiser's last iterate after at most `inner_steps`, and whether it gave up by itself."""
        inner, x = self.inner, state.x
        lower, upper = self._kept(constants, x)
        options = {"lower": lower, "upper": upper, "tol": state.inner_tol}
        fn = lambda x, _: (augmented(rows(x), state.dual, state.eq, state.penalty), None)
        tags = frozenset()
        first = inner.init(fn, x, None, options, jax.ShapeDtypeStruct((), x.dtype), None, tags)
        arrays, rest = eqx.partition(first, eqx.is_array)

        def going(carry: Any) -> Array:
            x, arrays, count = carry
            ended, result = inner.terminate(fn, x, None, options, eqx.combine(arrays, rest), tags)
            return ~ended & (result == optx.RESULTS.successful) & (count < self.inner_steps) & ~state.stopped

        def go(carry: Any) -> Any:
            x, arrays, count = carry
            x, new, _ = inner.step(fn, x, None, options, eqx.combine(arrays, rest), tags)
            return x, eqx.filter(new, eqx.is_array), count + 1

        x, arrays, count = jax.lax.while_loop(going, go, (x, arrays, jnp.asarray(0)))
        return x, count < self.inner_steps

    def _update(
        self, state: AugmentedLagrangianState, at: Rows, x: Array, multipliers: tuple[Array, Array],
        ready: Bool[Array, ""], tol: Scalar,
    ) -> AugmentedLagrangianState:  # fmt: skip
        """Multipliers and penalty for the next iteration, or the same ones where the inner one needs more steps."""
        converged, ready = ready, ready | (state.rounds >= _MOST_ROUNDS)
        shifted = jnp.maximum(at.g, -state.dual / state.penalty)
        infeasibility = jnp.max(jnp.abs(jnp.concatenate([shifted, at.h])), initial=0.0)
        enough = infeasibility <= jnp.maximum(_TAU * state.infeasibility, 0.1 * tol)
        penalty = jnp.minimum(jnp.where(enough, 1.0, _GAMMA) * state.penalty, _LARGEST_PENALTY)
        penalty = jnp.where(jnp.isfinite(state.infeasibility) & converged, penalty, state.penalty)
        largest = jnp.max(jnp.abs(jnp.concatenate(multipliers)), initial=0.0)
        dual, eq = tree_where(largest <= _LARGEST_MULTIPLIER, multipliers, (0 * state.dual, 0 * state.eq))
        tighter = jnp.where(converged, _TIGHTER, 1.0) * state.inner_tol
        inner_tol = jnp.maximum(tighter, jnp.minimum(0.3 * tol * state.scaling.objective, state.inner_tol))
        where = lambda s: (s.dual, s.eq, s.penalty, s.inner_tol, s.infeasibility)
        values = tree_where(ready, (dual, eq, penalty, inner_tol, infeasibility), where(state))
        return eqx.tree_at(
            lambda s: (s.x, s.rounds, *where(s)), state, (x, jnp.where(ready, 0, state.rounds + 1), *values)
        )

    def _judge(
        self, constants: Limits, old: AugmentedLagrangianState, new: AugmentedLagrangianState, at: Rows, x: Array,
        ready: Bool[Array, ""], far: Bool[Array, ""], stall_tol: Scalar,
    ) -> tuple[Bool[Array, ""], RESULTS]:  # fmt: skip
        """Whether to stop an instance that cannot go on, and the reason."""
        # Far out, rounding alone violates constraints.
        reach = jnp.max(jnp.abs(x), initial=0.0)
        violated = at.violation > stall_tol + 1e3 * jnp.finfo(x.dtype).eps * reach
        lost = far & at.is_finite & ~violated
        flat = projected(x, at.violation_gradient, *self._kept(constants, x))
        hopeless = violated & ~far & ready & (flat <= _HOPELESS * at.violation)
        worn_out = (new.age >= _PATIENCE) | (new.escapes > _MOST_ESCAPES) | (old.penalty >= _LARGEST_PENALTY)
        result = RESULTS.where(worn_out, RESULTS.stalled, old.result)
        result = RESULTS.where(
            worn_out & violated & (flat <= _NEARLY_HOPELESS * at.violation), RESULTS.infeasible, result
        )
        result = RESULTS.where(lost, RESULTS.unbounded, result)
        result = RESULTS.where(hopeless, RESULTS.infeasible, result)
        return worn_out | lost | hopeless, result

    def _point(self, scaling: Scaling, x: Array, dual: Array, eq: Array) -> Point:
        """The unscaled answer with its multipliers."""
        ineq = dual[: scaling.ineq.size] * scaling.ineq / scaling.objective
        return Point(x, ineq, eq * scaling.eq / scaling.objective)

    def _candidate(
        self, constants: Limits, scaling: Scaling, at: Rows, x: Array, multipliers: tuple[Array, Array]
    ) -> tuple[Point, Scalar]:
        """The iterate as an answer, and its unscaled KKT residual."""
        point, n_g = self._point(scaling, x, *multipliers), scaling.ineq.size
        slope = at.slope
        if not self.keeps_bounds:
            below, above = jnp.split(multipliers[0][n_g:], 2)
            slope = slope + below - above
        slope, g, h = slope / scaling.objective, at.g[:n_g] / scaling.ineq, at.h / scaling.eq
        return point, residual_at(constants, point, slope, g, h)

    def _kept(self, constants: Limits, x: Array) -> Limits:
        """The bounds that the inner minimiser keeps; infinite where they are inequalities."""
        lower, upper = constants
        if self.keeps_bounds:
            return lower, jnp.maximum(lower, upper)
        return jnp.full_like(x, -jnp.inf), jnp.full_like(x, jnp.inf)

    def _tolerances(self, dtype: Any) -> tuple[Scalar, Scalar]:
        tol = (1e-8 if dtype == jnp.float64 else 1e-4) if self.tol is None else self.tol
        return jnp.asarray(tol, dtype), jnp.asarray(100 * tol if self.stall_tol is None else self.stall_tol, dtype)
