"""`plan`: inputs over a horizon, by a planner that rolls the system out."""

import functools
from abc import abstractmethod
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from sciml.core import (
    as_arrays,
    as_floats,
    check_key,
    checked,
    invalid,
    iterate,
    RESULTS,
    Solution,
    stop_gradient,
    wrong_type,
)
from sciml.programs import flatten, guess, OptimalControl, Shooting, transcribe

from ._horizon import Horizon, Inputs


class PlanStats(eqx.Module):
    """Statistics of a plan; they carry no derivatives."""

    steps: Int[Array, "*batch"]
    """Updates of the plan: of `ILQR` and `Gradient` those accepted, of `CEM` and `MPPI` all."""
    cost: Float[Array, "*batch"]
    """The cost of the plan; infinite where the start has none and nothing better was found."""
    residual: Float[Array, "*batch"]
    """The largest entry of the projected gradient of the cost with respect to the inputs; zero at a local minimum."""


class Outcome(eqx.Module):
    """What a planner returns: inputs, how it ended, and its counters."""

    u: Inputs
    result: RESULTS
    steps: Int[Array, ""]
    residual: Scalar
    memory: Any = None
    """What is useful beside the plan, such as feedback gains."""


class AbstractPlanner(eqx.Module):
    """The interface of a planner: options, never the problem; subclass it for a planner of your own.

    `plan` calls `init`, then `step` until `done` or the limit of steps, then `finish`. Write for one instance; states
    hold arrays only. The inputs that come in are within their bounds, and so must be those that go out.
    """

    @property
    def most_steps(self) -> int:
        """The limit of steps where `plan` is given none."""
        return 200

    @property
    def needs_key(self) -> bool:
        """Whether the planner draws random numbers."""
        return False

    def check(self, problem: OptimalControl) -> None:
        """Raises where the planner cannot plan for the problem; by default, for none."""

    @abstractmethod
    def init(self, horizon: Horizon, u: Inputs, limit: int, key: PRNGKeyArray | None) -> Any:
        """The first state, from inputs within their bounds; `limit` is the largest number of updates."""

    @abstractmethod
    def step(self, horizon: Horizon, state: Any) -> Any:
        """The state after one iteration."""

    @abstractmethod
    def done(self, state: Any) -> Bool[Array, ""]:
        """Whether to stop, in success or in failure."""

    @abstractmethod
    def finish(self, horizon: Horizon, state: Any) -> Outcome:
        """The answer."""


def plan(
    problem: OptimalControl,
    planner: AbstractPlanner,
    u0: Any,
    p: Any = None,
    *,
    key: PRNGKeyArray | None = None,
    throw: bool = True,
    max_steps: int | None = None,
) -> Solution[Shooting]:
    """Inputs that make the cost of `problem` at the instance `p` small, and the states that they cause.

    The same problem and the same kind of decision as `solve(transcribe(problem), ...)`, so that both can be compared
    and certified; here the states always obey the dynamics, and inputs obey their bounds exactly. Choose `ILQR` where
    derivatives exist, `CEM` or `MPPI` where they do not or mislead, `Gradient` to compare. Other limits than bounds on
    the inputs need a solver, or a penalty in the cost.

    Works under `jit` and `vmap`, with `throw=False`. In closed loop, start from the last plan, one step on:
    `plan(problem, planner, shifted(last.value.u), p)`.

    Args:
        problem: dynamics, costs, and bounds on the inputs.
        planner: the method, for instance `ILQR()`.
        u0: the inputs to start from, leading axis `N`; moved into their bounds.
        p: the instance, any pytree.
        key: for `CEM` and `MPPI`, to draw samples.
        throw: whether a failure raises; if False, look at `result`.
        max_steps: largest number of updates; default that of the planner.

    Returns:
        `Solution` with `value` (`Shooting`: states 1 ... N and inputs), `stats` (`PlanStats`), `result`, and `state`,
        which is `Feedback` for `ILQR` and None for others.

    Raises:
        TypeError: if problem, planner or key have a wrong type.
        ValueError: if the problem has limits other than on its inputs, or `u0` another length than the horizon.
        EquinoxRuntimeError: with `throw=True`, at run time: `max_steps_reached`, `stalled`, `nonfinite_start` (the
            run under `u0` or its derivatives are not finite), `nonfinite_step`, `contradictory_bounds`.

    Gradient: none; derivatives of a plan are zero. For derivatives of an optimal plan, start
    `solve(transcribe(problem), InteriorPoint(), plan.value, p)` from it.

    Examples:
        ```python
        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: 0.9 * x + u,
            stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
            initial=lambda p: p,
            horizon=5,
            u_lower=-0.5,
            u_upper=0.5,
        )
        plan = sciml.policies.plan(problem, sciml.policies.ILQR(), jnp.zeros((5, 1)), jnp.ones(1))
        assert plan.value.u[0, 0] == -0.5 and abs(plan.value.x[1, 0]) < 0.1
        ```
    """
    if not isinstance(problem, OptimalControl):
        fix = "plan for the `OptimalControl` itself; programs are for `solve`"
        raise wrong_type("problem", f"a {type(problem).__name__}", "an `OptimalControl`", fix)
    if not isinstance(planner, AbstractPlanner):
        raise wrong_type("planner", repr(planner), "a planner object", "pass an instance, such as `ILQR()`")
    _check_limits(problem, planner)
    planner.check(problem)
    if key is not None or planner.needs_key:
        if key is None:
            name = type(planner).__name__
            raise invalid("key", None, f"a key, since {name} draws samples", "pass `key=jax.random.key(0)`")
        check_key(key)
    u0, p = as_floats(u0, "u0"), as_arrays(p)
    for path, leaf in jtu.tree_leaves_with_path(u0):
        if jnp.shape(leaf)[:1] != (problem.horizon,):
            got, expected = f"shape {jnp.shape(leaf)}", f"a leading axis of {problem.horizon}, the horizon"
            raise invalid(f"u0{jtu.keystr(path)}", got, expected, "give one input for each step")
    steps = planner.most_steps if max_steps is None else max_steps
    solution = _plan(problem, planner, u0, p, key, steps)
    return checked(solution, solution.result) if throw else solution


def shifted(u: Any, steps: int = 1) -> Any:
    """Inputs `u_1 ... u_{N-1}, u_{N-1}`: the rest of a plan after `steps` steps, its last input held.

    Examples:
        ```python
        assert sciml.policies.shifted(jnp.array([1.0, 2.0, 3.0])).tolist() == [2.0, 3.0, 3.0]
        ```
    """
    later = lambda v: jnp.concatenate([v[steps:], jnp.repeat(v[-1:], min(steps, len(v)), axis=0)])
    return jtu.tree_map(lambda v: later(jnp.asarray(v)), u)


def _check_limits(problem: OptimalControl, planner: AbstractPlanner) -> None:
    """Raises where the problem has limits that a rollout cannot obey."""
    for name in ("path", "terminal_ineq", "terminal_eq", "x_lower", "x_upper"):
        limit = getattr(problem, name)
        if limit is None or (name.startswith("x_") and _is_infinite(limit)):
            continue
        got, expected = f"a limit, with {type(planner).__name__}", "no limits but `u_lower` and `u_upper`"
        fix = "solve `transcribe(problem)` by `InteriorPoint()`, or put a penalty into `stage` or `terminal`"
        raise invalid(name, got, f"{expected}: planners roll the system out", fix)


def _is_infinite(bound: Any) -> bool:
    """Whether a bound is known to bound nothing."""
    leaves = jtu.tree_leaves(bound)
    known = not any(callable(leaf) or isinstance(leaf, Tracer) for leaf in leaves)
    return known and all(bool(jnp.all(jnp.isinf(jnp.asarray(leaf)))) for leaf in leaves)


@eqx.filter_jit
def _plan(
    problem: OptimalControl, planner: AbstractPlanner, u0: Any, p: Any, key: Any, limit: int
) -> Solution[Shooting]:
    problem, u0, p = stop_gradient((problem, u0, p))
    with jax.default_matmul_precision("highest"):
        z0 = jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(lambda: guess(problem, u0, p)))
        z0 = Shooting(z0.x, u0)
        flat, layout, z = flatten(transcribe(problem), z0, p)
        staged = flat.structure
        assert staged is not None
        lower, upper = (staged.stages.split(bound)[1] for bound in flat.limits(p))
        x0, w = staged.given(p)
        is_bounded = problem.u_lower is not None or problem.u_upper is not None
        horizon = Horizon(staged, p, x0.astype(z.dtype), w, lower, upper, is_bounded)
        # No input obeys bounds that contradict each other: plan between their means, and say so.
        is_possible = jnp.all((lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf))
        horizon = eqx.tree_at(lambda h: (h.lower, h.upper), horizon, _ordered(lower, upper))
        u = staged.stages.split(z)[1]
        u = horizon.clip(jnp.where(jnp.isfinite(u), u, 0.0))
        state, step = planner.init(horizon, u, limit, key), functools.partial(planner.step, horizon)
        loop = functools.partial(eqxi.while_loop, kind="lax")
        # One more, which only finds out whether the last update was good enough.
        state, _ = iterate(step, planner.done, state, max_steps=limit + 1, while_loop=loop)
        found = planner.finish(horizon, state)
        x, cost = horizon.run(found.u)
    result = RESULTS.where(is_possible, found.result, RESULTS.contradictory_bounds)
    value = layout.decision(staged.stages.join(x[1:], found.u))
    stats = PlanStats(found.steps, cost, found.residual)
    value, result, stats, memory = stop_gradient((value, result, stats, found.memory))
    return Solution(value, result, stats, None, memory)


def _ordered(lower: Inputs, upper: Inputs) -> tuple[Inputs, Inputs]:
    """The bounds, where they contradict each other their mean (or what is finite of them) twice."""
    wrong = ~((lower <= upper) & (lower < jnp.inf) & (upper > -jnp.inf))
    middle = jnp.where(jnp.isfinite(lower + upper), (lower + upper) / 2, 0.0)
    return jnp.where(wrong, middle, lower), jnp.where(wrong, middle, upper)
