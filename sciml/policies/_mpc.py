"""Model predictive control: an optimal-control program solved anew in each step."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Scalar, ScalarLike

from sciml.core import (
    AbstractPolicy,
    as_floats,
    invalid,
    is_successful,
    RESULTS,
    Solution,
    stop_gradient,
    tree_allfinite,
    tree_where,
    wrong_type,
)
from sciml.programs import (
    AbstractProgram,
    constraints,
    Duals,
    Elastic,
    elastic,
    ElasticProgram,
    OptimalControl,
    Shooting,
    StageLimits,
    state_bounds_as_limits,
    transcribe,
)
from sciml.solvers import AbstractSolver, Guess, solve, SQP

from ._shift import one_step_later


class MPCReport(eqx.Module):
    """What one step of a predictive controller has to tell; stacked over the steps in `Trajectory.report`."""

    result: RESULTS
    """How the program of this step ended."""
    steps: Int[Array, "*batch"]
    """Iterations of the solver."""
    residual: Scalar
    """The largest entry of the KKT residual of the answer, in the units of the program."""
    slack: Scalar
    """The largest violation that softened limits of the plan have; zero without soft limits."""
    is_fallback: Bool[Array, "*batch"]
    """Whether the input came from the fallback, because the program had no usable answer."""


class MPCMemory(eqx.Module):
    """The memory of a predictive controller: the plan from the next step on, with multipliers."""

    plan: Shooting | Elastic
    duals: Duals
    is_first: Bool[Array, ""]
    report: MPCReport


def state_and_signal(x: Any, w: Any) -> Any:
    """The instance of a problem: the state alone, or the pair `(x, w)` where there is an exogenous signal."""
    return x if w is None else (x, w)


class MPC(AbstractPolicy):
    """Model predictive control: in each step, the first input of the solution of an optimal-control program.

    The plan of one step, shifted by one stage with its multipliers, is the start of the next. A step whose program
    fails applies a fallback, and says so in `Trajectory.report`, an `MPCReport`. Use it in `rollout`, under `vmap` and
    `jit`, or step by step through `Controller`.

    Gradient: of the inputs with respect to state, signals and parameters of the problem by the implicit function
    theorem at each step's solution (in both modes), none through the warm start. Steps that fell back have the
    derivative of your `fallback`, or zero; so have answers of `real_time` that have not converged.

    Source: Rawlings, Mayne & Diehl (2017), Model Predictive Control; Diehl, Bock & Schlöder (2005), A real-time
    iteration scheme for nonlinear optimization in optimal feedback control, DOI 10.1137/S0363012902400713; exact
    penalties on soft constraints: Kerrigan & Maciejowski (2000), Soft constraints and exact penalty functions in model
    predictive control.

    Examples:
        ```python
        plant = sciml.systems.LinearDiscrete(A=jnp.array([[1.0, 0.1], [0.0, 1.0]]), B=jnp.array([[0.0], [0.1]]), dt=0.1)
        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: plant.step(0.0, x, u),
            stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
            initial=lambda p: p,
            horizon=20,
            u_lower=-1.0,
            u_upper=1.0,
        )
        mpc = sciml.policies.MPC(problem, u0=jnp.zeros(1))
        run = sciml.rollout(plant, mpc, jnp.array([1.0, 0.0]), None, steps=60)
        assert jnp.all(jnp.abs(run.u) <= 1.0) and jnp.all(jnp.abs(run.x[-1]) < 0.05)
        assert not jnp.any(run.report.is_fallback)
        ```
    """

    problem: OptimalControl
    """As it is solved: bounds on states are path limits if `soft_bounds` is given."""
    program: AbstractProgram
    u0: Any
    solver: AbstractSolver
    instance: Callable[[Any, Any], Any]
    fallback: Callable[[Any, Any], Any] | None
    max_steps: int = eqx.field(static=True)
    real_time: bool = eqx.field(static=True)

    def __init__(
        self,
        problem: Any,
        u0: Any,
        *,
        solver: Any = None,
        instance: Callable[[Any, Any], Any] = state_and_signal,
        soft: Any = None,
        soft_bounds: ScalarLike | None = None,
        curvature: ScalarLike = 0.0,
        fallback: Callable[[Any, Any], Any] | None = None,
        max_steps: int = 50,
        real_time: bool = False,
    ):
        """A controller for a problem.

        Args:
            problem: cost and limits over the horizon; its `initial` takes the state out of the instance.
            u0: an input, as the problem's functions take it. The first program, and each after one that failed, starts
                from rest at the present state under it.
            solver: a solver that starts from multipliers (`takes_multipliers`): `SQP()`, the default, with
                `StageGaussNewton` for tracking costs; or `InteriorPoint()`.
            instance: `(x, w) -> p`, the instance of the problem from what is seen and the exogenous signal. By default
                `p` is the state alone, or `(x, w)`. For previews let `w` be a window; see `previews`.
            soft: price of one unit of violation of the path limits, as in `elastic`; None keeps them hard. Above the
                largest multiplier the penalty is exact: a plan that meets the limits stays a local minimum. A nonconvex
                problem may have others, which do not meet them.
            soft_bounds: the same for bounds on states, one number for all; None keeps them hard. A disturbance
                can push the state beyond hard ones, and then no plan exists.
            curvature: of the quadratic price beside, as in `elastic`; smooths inputs where limits begin to be violated.
            fallback: `(x, w) -> u` for steps whose program has no usable answer. None: the plan that was last found,
                as far as it reaches, then its last input; before the first plan, `u0`.
            max_steps: largest number of iterations of the solver in each step. Under `vmap` all instances wait for the
                slowest.
            real_time: whether to apply the answer after `max_steps` iterations even if it has not converged; with
                `max_steps=1` this is the real-time iteration. `MPCReport.residual` says how far it is from a solution.

        Raises:
            TypeError: a problem that is no `OptimalControl`, a solver that takes no multipliers.
            ValueError: `max_steps < 1`; `soft` without path limits, `soft_bounds` without bounds on states.
        """
        if not isinstance(problem, OptimalControl):
            fix = "state costs and limits as `programs.OptimalControl(...)`; it is transcribed here"
            raise wrong_type("problem", f"a {type(problem).__name__}", "an `OptimalControl`", fix)
        solver = SQP() if solver is None else solver
        if not isinstance(solver, AbstractSolver) or not solver.takes_multipliers:
            fix = "choose `SQP()`, `InteriorPoint()` or `AugmentedLagrangian()`"
            raise wrong_type("solver", repr(solver), "a solver that starts from a plan with multipliers", fix)
        if max_steps < 1:
            raise invalid("max_steps", max_steps, "an integer >= 1", "give 1 for a real-time iteration")
        self.problem, self.program = _softened(problem, soft, soft_bounds, curvature)
        self.u0, self.solver, self.instance, self.fallback = as_floats(u0, "u0"), solver, instance, fallback
        self.max_steps, self.real_time = max_steps, real_time

    def init(self, x0: Any, w: Any) -> MPCMemory:
        """No plan yet: the structure of one, for a run that starts at `x0` and first sees `w`."""
        like = jax.eval_shape(lambda: self._first_plan(self.instance(x0, w)))
        plan, duals = jtu.tree_map(lambda v: jnp.zeros(v.shape, v.dtype), like)
        zero = jnp.zeros((), jnp.result_type(*jtu.tree_leaves(plan)))
        report = MPCReport(RESULTS.successful, jnp.asarray(0), zero, zero, jnp.asarray(False))
        return MPCMemory(plan, duals, jnp.asarray(True), report)

    def step(self, state: MPCMemory, x: Any, w: Any, *, key: PRNGKeyArray | None = None) -> tuple[Any, MPCMemory]:
        """The first input of today's plan, and the rest of it; the fallback's input where there is no plan."""
        solution = self.plan(state, x, w)
        first, none = self._first_plan(stop_gradient(self.instance(x, w)))
        planned, ahead = tree_where(state.is_first, (first, none), (state.plan, state.duals))
        usable = is_successful(solution.result)
        if self.real_time:
            usable = usable | (solution.result == RESULTS.max_steps_reached)
        usable = usable & tree_allfinite((solution.value, solution.duals))
        other = _inputs(planned) if self.fallback is None else self.fallback(x, w)
        u = tree_where(usable, _inputs(solution.value), other)
        value, duals = tree_where(usable, stop_gradient((solution.value, solution.duals)), (planned, ahead))
        slack = _largest(value.ineq) if isinstance(value, Elastic) else jnp.zeros_like(state.report.slack)
        stats = solution.stats
        report = MPCReport(solution.result, stats.steps, stats.residual.largest, slack, ~usable)
        return u, MPCMemory(*one_step_later(value, duals), jnp.asarray(False), stop_gradient(report))

    def report(self, state: MPCMemory) -> MPCReport:
        """How the last program ended."""
        return state.report

    def plan(self, state: MPCMemory, x: Any, w: Any) -> Solution:
        """The solution of the program at the present state; its `value` holds the whole plan."""
        p = self.instance(x, w)
        # A plan that could not be followed is a bad start: the step after a failure begins anew.
        anew = state.is_first | state.report.is_fallback
        plan, duals = tree_where(anew, self._first_plan(stop_gradient(p)), (state.plan, state.duals))
        if isinstance(plan, Elastic):
            # Slacks of today's limits; those of yesterday's plan may be too small where the state was pushed.
            plan = self._with_slacks(plan.z, stop_gradient(p))
        solver, program, warm = self.solver, self.program, Guess(plan, duals)
        return solve(program, solver, plan, p, warm=warm, max_steps=self.max_steps, throw=False)

    def _with_slacks(self, z: Shooting, p: Any) -> Shooting | Elastic:
        return self.program.start(z, p) if isinstance(self.program, ElasticProgram) else z

    def _first_plan(self, p: Any) -> tuple[Shooting | Elastic, Duals]:
        """Rest at the initial state under `u0`, without multipliers.

        It does not obey the dynamics, but it is near: what an unstable plant does under an input that is held is not.
        """
        problem, x0 = self.problem, as_floats(self.problem.initial(p), "initial")
        hold = lambda tree: jtu.tree_map(lambda v: jnp.broadcast_to(v, (problem.horizon, *v.shape)), tree)
        z = self._with_slacks(Shooting(hold(x0), hold(self.u0)), p)
        none = lambda tree: jtu.tree_map(jnp.zeros_like, tree)
        ineq, eq = constraints(self.program, z, p)
        return z, Duals(none(ineq), none(eq), none(z), none(z))


def _softened(
    problem: OptimalControl, soft: Any, soft_bounds: ScalarLike | None, curvature: ScalarLike
) -> tuple[OptimalControl, AbstractProgram]:
    """The problem as it is solved, and its program."""
    if soft is None and soft_bounds is None:
        return problem, transcribe(problem)
    if soft is not None and problem.path is None:
        fix = "give `soft_bounds` for bounds on states, or state the limits as `path`"
        raise invalid("soft", "a price", "None: the problem has no path limits", fix)
    if soft_bounds is None:
        return problem, elastic(transcribe(problem), ineq=(soft, None), curvature=curvature)
    if problem.x_lower is None and problem.x_upper is None:
        fix = "give `soft` for path limits, or `x_lower` and `x_upper` to the problem"
        raise invalid("soft_bounds", soft_bounds, "None: the problem has no bounds on states", fix)
    problem = state_bounds_as_limits(problem)
    weights = StageLimits(soft, soft_bounds, soft_bounds)
    return problem, elastic(transcribe(problem), ineq=(weights, None), curvature=curvature)


def _inputs(plan: Shooting | Elastic) -> Any:
    """The first input of a plan."""
    u = plan.z.u if isinstance(plan, Elastic) else plan.u
    return jtu.tree_map(lambda v: v[0], u)


def _largest(slack: Any) -> Array:
    """The largest slack."""
    return jnp.max(jnp.stack([jnp.max(leaf, initial=0.0) for leaf in jtu.tree_leaves(slack)]))
