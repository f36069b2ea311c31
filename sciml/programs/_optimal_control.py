"""Optimal control: costs and limits along a trajectory, and the two programs made from them."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Scalar, ScalarLike

from ..core import invalid, RESULTS, Trajectory, tree_size, wrong_type
from ._program import AbstractProgram, Program, residuals, returned
from ._stages import Staged, Stages
from ._vectors import unravel, vector


class Shooting(eqx.Module):
    """The decision of a transcribed optimal-control problem: the inputs `u` and the states `x`."""

    x: Any
    """States at the times 1 ... N, leading axis `N`."""
    u: Any
    """Inputs held over the steps 0 ... N-1, leading axis `N`."""


class PathLimits(eqx.Module):
    """The limits along a trajectory, feasible where `<= 0`; an empty tuple where there is no limit."""

    path: Any
    terminal: Any
    x_lower: Any
    x_upper: Any
    u_lower: Any
    u_upper: Any


class OptimalControl(eqx.Module):
    """Optimal control: minimise `Σ_k stage(x_k, u_k, w_k, p) + terminal(x_N, p)` subject to dynamics and limits.

    State the problem once and make two programs from it. `transcribe` makes one over inputs and states, for a solver.
    `along_trajectory` makes one over a rolled-out `Trajectory`, to train a policy and to certify it. Both have the same
    cost, so that their values can be compared. A decision of another horizon, or of the other program, raises.

    Args:
        dynamics: `(x, u, w, p) -> x_next`, one step.
        stage: `(x, u, w, p) -> scalar`, the cost of one step.
        initial: `p -> x_0`.
        horizon: number of steps `N`.
        exogenous: `p -> w`, signals with leading axis `N` (references, disturbances); None for none.
        terminal: `(x_N, p) -> scalar`, or None.
        path: `(x, u, w, p) -> pytree`, `<= 0` at the steps 0 ... N-1, or None.
        terminal_ineq, terminal_eq: `(x_N, p) -> pytree`, `<= 0` and `= 0`, or None.
        x_lower, x_upper: bounds on the states 1 ... N: shaped like one state or a prefix of it (one number may bound
            all; None or infinity: no bound), or a function of `p`. A leading axis `N` lets them vary over time.
        u_lower, u_upper: bounds on every input, likewise.
        dt: sampling time, for the time axis of trajectories.

    Source: Rawlings, Mayne & Diehl (2017), Model Predictive Control, section 8.5 (direct multiple shooting, after
    Bock & Plitt 1984).

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
        x0 = jnp.ones(1)
        run = sciml.programs.guess(problem, jnp.zeros((5, 1)), x0)
        assert jnp.allclose(run.x[-1], 0.9**5)
        ```
    """

    dynamics: Callable[[Any, Any, Any, Any], Any]
    stage: Callable[[Any, Any, Any, Any], Any]
    initial: Callable[[Any], Any]
    horizon: int = eqx.field(static=True)
    exogenous: Callable[[Any], Any] | None = None
    terminal: Callable[[Any, Any], Any] | None = None
    path: Callable[[Any, Any, Any, Any], Any] | None = None
    terminal_ineq: Callable[[Any, Any], Any] | None = None
    terminal_eq: Callable[[Any, Any], Any] | None = None
    x_lower: Any = None
    x_upper: Any = None
    u_lower: Any = None
    u_upper: Any = None
    dt: ScalarLike = 1.0

    def __check_init__(self) -> None:
        if self.horizon < 1:
            raise invalid("horizon", self.horizon, "at least one step", "give the number of steps N")


def transcribe(problem: OptimalControl) -> Program:
    """The program of an optimal-control problem over inputs and states, by direct multiple shooting.

    Examples:
        ```python
        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: 0.9 * x + u,
            stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
            initial=lambda p: p,
            horizon=5,
        )
        x0 = jnp.ones(1)
        program, z0 = sciml.programs.transcribe(problem), sciml.programs.guess(problem, jnp.zeros((5, 1)), x0)
        excess = sciml.programs.violation(program, z0, x0)  # a guess obeys the dynamics
        assert jax.tree.reduce(lambda worst, leaf: jnp.maximum(worst, leaf.max()), excess.eq, 0.0) < 1e-6
        ```
    """
    return Program(
        _ShootingCost(problem),
        ineq=_ShootingLimits(problem) if _has_limits(problem) else None,
        eq=_Defects(problem),
        lower=_ShootingBounds(problem.x_lower, problem.u_lower),
        upper=_ShootingBounds(problem.x_upper, problem.u_upper),
        structure=_ShootingStages(problem),
    )


def along_trajectory(problem: OptimalControl, *, tighten: Any = 0.0) -> Program:
    """The program of an optimal-control problem over a simulated `Trajectory`, with bounds as inequalities.

    The trajectory must have the horizon of the problem, and start from its initial state: roll out `horizon` steps
    from `problem.initial(p)`. Another horizon raises where the program is evaluated; another initial state raises in
    `certify`, `suboptimality` and `violations`.

    Args:
        problem: the optimal-control problem.
        tighten: margin by which every inequality is tightened, in its own unit; one number.
    """
    has_equality = problem.terminal_eq is not None
    return Program(
        _TrajectoryCost(problem),
        ineq=_TrajectoryLimits(problem, tighten),
        eq=_TerminalEquality(problem) if has_equality else None,
    )


def starts_apart(program: AbstractProgram, z: Any, p: Any) -> Scalar | None:
    """How far a trajectory starts from the initial state of its problem, as a part of its largest state.

    The largest over the leaves of the state; zero for rounding (the root of the dtype's epsilon). None where `program`
    is not that of `along_trajectory`.

    Raises:
        ValueError: if `problem.initial(p)` has another structure or shape than the states of the trajectory.
    """
    if not isinstance(program.objective, _TrajectoryCost):
        return None
    initial, first = _call(program.objective.problem, "initial", p), jtu.tree_map(lambda x: x[0], z.x)
    kinds = [(jtu.tree_structure(x), [jnp.shape(v) for v in jtu.tree_leaves(x)]) for x in (first, initial)]
    if kinds[0] != kinds[1]:
        (structure, shapes), (wanted, sizes) = kinds
        got, expected = f"states {structure} of shapes {shapes}", f"{wanted} of shapes {sizes}, as `initial(p)` returns"
        raise invalid("z.x", got, expected, "roll out from `problem.initial(p)`")

    def each(x0: Any, x: Any) -> Scalar:
        size = jnp.maximum(jnp.max(jnp.abs(x), initial=0.0), jnp.max(jnp.abs(x0).astype(x.dtype), initial=0.0))
        apart = jnp.max(jnp.abs(x[0] - x0.astype(x.dtype)), initial=0.0) / jnp.where(size > 0, size, 1.0)
        return jnp.where(apart > jnp.finfo(x.dtype).eps ** 0.5, apart, 0.0)

    initial = jtu.tree_map(jnp.asarray, initial)
    return jnp.max(jnp.stack([jnp.zeros(()), *jtu.tree_leaves(jtu.tree_map(each, initial, z.x))]))


def guess(problem: OptimalControl, u: Any, p: Any) -> Shooting:
    """A start for the transcribed program: the inputs `u` (leading axis N) and the states that they cause."""
    x0, w = _call(problem, "initial", p), _exogenous(problem, p)

    def advance(x: Any, uw: Any) -> tuple[Any, Any]:
        u, w = uw
        x = _call(problem, "dynamics", x, u, w, p)
        return x, x

    _, xs = jax.lax.scan(advance, x0, (u, w), length=problem.horizon)
    return Shooting(xs, u)


def to_trajectory(problem: OptimalControl, z: Shooting, p: Any) -> Trajectory:
    """The `Trajectory` of a transcribed decision, including the initial state."""
    x = _with_initial(problem, z.x, p)
    dt = jnp.asarray(problem.dt, jnp.result_type(float))
    t = jnp.arange(problem.horizon + 1, dtype=dt.dtype) * dt
    return Trajectory(t, x, z.u, x, RESULTS.successful, jnp.zeros(()))


class _ShootingCost(eqx.Module):
    problem: OptimalControl

    def __call__(self, z: Any, p: Any) -> Scalar:
        _check_shooting(self.problem, z)
        return _cost(self.problem, _with_initial(self.problem, z.x, p), z.u, p)


class _TrajectoryCost(eqx.Module):
    problem: OptimalControl

    def __call__(self, z: Any, p: Any) -> Scalar:
        _check_trajectory(self.problem, z)
        return _cost(self.problem, z.x, z.u, p)


class _Defects(eqx.Module):
    """`x_{k+1} - dynamics(x_k, u_k)`, and the terminal equality."""

    problem: OptimalControl

    def __call__(self, z: Any, p: Any) -> Any:
        problem = self.problem
        _check_shooting(problem, z)
        before = _but_last(_with_initial(problem, z.x, p))
        step = lambda x, u, w: _call(problem, "dynamics", x, u, w, p)
        after = jax.vmap(step)(before, z.u, _exogenous(problem, p))
        defects = jtu.tree_map(lambda a, b: a - b, z.x, after)
        end = _call(problem, "terminal_eq", _last(z.x), p)
        return defects, end


class _ShootingLimits(eqx.Module):
    problem: OptimalControl

    def __call__(self, z: Any, p: Any) -> Any:
        _check_shooting(self.problem, z)
        return _path_and_terminal(self.problem, _with_initial(self.problem, z.x, p), z.u, p)


class _ShootingBounds(eqx.Module):
    """Bounds of one step serve every step: they broadcast from the right against leaves with a leading time axis."""

    x: Any
    u: Any

    def __call__(self, p: Any) -> Shooting:
        return Shooting(_at(self.x, p), _at(self.u, p))


class _ShootingStages(eqx.Module):
    """The stages of the decision, and the problem's functions over vectors."""

    problem: OptimalControl

    def __call__(self, z: Shooting, g: Any, h: Any) -> Staged:
        problem, horizon = self.problem, self.problem.horizon
        sizes = lambda tree: tuple(leaf.size // horizon for leaf in jtu.tree_leaves(tree))
        path, terminal = g if len(g) == 2 else ((), ())
        stages = Stages(horizon, sizes(z.x), sizes(z.u), sizes(path), tree_size(terminal), tree_size(h[1]))
        one = lambda tree: jtu.tree_map(lambda v: jax.ShapeDtypeStruct(v.shape[1:], v.dtype), tree)
        state, control = unravel(one(z.x)), unravel(one(z.u))
        flat = functools.partial(vector, dtype=jnp.result_type(*jtu.tree_leaves(z)))
        arguments = lambda x, u, w: (state(x), control(u), w)

        def stage(x: Array, u: Array, w: Any, p: Any) -> tuple[Scalar, Array, Array]:
            given = (*arguments(x, u, w), p)
            cost, path, after = (flat(_call(problem, name, *given)) for name in ("stage", "path", "dynamics"))
            return jnp.sum(cost), path, after

        def last(x: Array, p: Any) -> tuple[Scalar, Array, Array]:
            names = ("terminal", "terminal_ineq", "terminal_eq")
            cost, ineq, eq = (flat(_call(problem, name, state(x), p)) for name in names)
            return jnp.sum(cost), ineq, eq

        given = lambda p: (flat(_call(problem, "initial", p)), _exogenous(problem, p))
        return Staged(stages, stage, last, given, arguments, state)


class _TrajectoryLimits(eqx.Module):
    problem: OptimalControl
    tighten: Any

    def __call__(self, z: Any, p: Any) -> PathLimits:
        _check_trajectory(self.problem, z)
        problem, after = self.problem, jtu.tree_map(lambda x: x[1:], z.x)
        path, terminal = _path_and_terminal(problem, z.x, z.u, p)
        limits = PathLimits(
            path,
            terminal,
            _excess(problem.x_lower, after, p, -1.0),
            _excess(problem.x_upper, after, p, 1.0),
            _excess(problem.u_lower, z.u, p, -1.0),
            _excess(problem.u_upper, z.u, p, 1.0),
        )
        return jtu.tree_map(lambda g: g + self.tighten, limits)


class _TerminalEquality(eqx.Module):
    problem: OptimalControl

    def __call__(self, z: Any, p: Any) -> Any:
        _check_trajectory(self.problem, z)
        return _call(self.problem, "terminal_eq", _last(z.x), p)


def _cost(problem: OptimalControl, x: Any, u: Any, p: Any) -> Scalar:
    """`Σ stage + terminal` for states 0 ... N and inputs 0 ... N-1."""
    stage = lambda x, u, w: _call(problem, "stage", x, u, w, p)
    total = jnp.sum(jax.vmap(stage)(_but_last(x), u, _exogenous(problem, p)))
    return total if problem.terminal is None else total + _call(problem, "terminal", _last(x), p)


def _path_and_terminal(problem: OptimalControl, x: Any, u: Any, p: Any) -> tuple[Any, Any]:
    each = lambda x, u, w: _call(problem, "path", x, u, w, p)
    path = () if problem.path is None else jax.vmap(each)(_but_last(x), u, _exogenous(problem, p))
    return path, _call(problem, "terminal_ineq", _last(x), p)


def _call(problem: OptimalControl, name: str, *arguments: Any) -> Any:
    """What a function of the problem returns, an empty tuple for one that is left out; None is refused."""
    function = getattr(problem, name)
    if function is None:
        return ()
    value = function(*arguments)
    if name in ("path", "terminal_ineq", "terminal_eq"):
        return residuals(name, value, "= 0" if name == "terminal_eq" else "<= 0")
    return returned(name, value)


def _excess(bound: Any, values: Any, p: Any, sign: float) -> Any:
    """`sign (value - bound)` for every entry that is bounded; infinite bounds drop out as a constant -1."""

    def each(one: Any, part: Any) -> Any:
        return () if one is None else jtu.tree_map(lambda v: _beyond(jnp.asarray(one).astype(v.dtype), v, sign), part)

    return jtu.tree_map(each, _at(bound, p), values, is_leaf=lambda x: x is None)


def _beyond(bound: Any, value: Any, sign: float) -> Any:
    finite = jnp.isfinite(bound)
    return jnp.where(finite, sign * (value - jnp.where(finite, bound, 0.0)), -1.0)


def _at(bound: Any, p: Any) -> Any:
    return bound(p) if callable(bound) else bound


def _exogenous(problem: OptimalControl, p: Any) -> Any:
    w = None if problem.exogenous is None else problem.exogenous(p)
    for path, leaf in jtu.tree_leaves_with_path(w):
        if jnp.shape(leaf)[:1] != (problem.horizon,):
            got, expected = f"shape {jnp.shape(leaf)}", f"a leading axis of {problem.horizon}, the horizon"
            raise invalid(f"exogenous{jtu.keystr(path)}", got, expected, "return one entry for each step")
    return w


def check_program(program: Any) -> None:
    """Raises unless `program` is one: for whom a function or an optimal-control problem is taken for it."""
    if isinstance(program, AbstractProgram):
        return
    fix = "wrap the function: `sciml.Program(objective)`"
    if isinstance(program, OptimalControl):
        fix = "`programs.transcribe(problem)` for a solver, `programs.along_trajectory(problem)` for losses and metrics"
    raise wrong_type("program", f"a {type(program).__name__}", "a `Program` or a `QuadraticProgram`", fix)


def _kind(z: Any) -> str:
    return f"an array of shape {z.shape}" if eqx.is_array(z) else f"a {type(z).__name__}"


def _check_trajectory(problem: OptimalControl, z: Any) -> None:
    """Raises unless `z` is a trajectory over the horizon."""
    if not isinstance(z, Trajectory):
        fix = "give what `rollout` returns (`decide` of a loss rolls out); a solver takes `transcribe(problem)`"
        raise wrong_type("z", _kind(z), "a `Trajectory`, as `along_trajectory` judges", fix)
    _check_length("z.x", z.x, problem.horizon + 1, problem.horizon)
    _check_length("z.u", z.u, problem.horizon, problem.horizon)


def _check_shooting(problem: OptimalControl, z: Any) -> None:
    """Raises unless `z` holds states and inputs over the horizon."""
    if not isinstance(z, Shooting):
        fix = "start from `guess(problem, u, p)`; for trajectories (losses, policies) use `along_trajectory(problem)`"
        raise wrong_type("z", _kind(z), "a `Shooting`, the decision of `transcribe`", fix)
    _check_length("z.x", z.x, problem.horizon, problem.horizon)
    _check_length("z.u", z.u, problem.horizon, problem.horizon)


def _check_length(name: str, tree: Any, length: int, horizon: int) -> None:
    for path, leaf in jtu.tree_leaves_with_path(tree):
        if jnp.shape(leaf)[:1] != (length,):
            got = f"shape {jnp.shape(leaf)}"
            fix = f"run {horizon} steps, or change the horizon: `dataclasses.replace(problem, horizon=...)`"
            expected = f"a leading axis of {length}, since the problem has a horizon of {horizon} steps"
            raise invalid(f"{name}{jtu.keystr(path)}", got, expected, fix)


def _has_limits(problem: OptimalControl) -> bool:
    return problem.path is not None or problem.terminal_ineq is not None


def _with_initial(problem: OptimalControl, x: Any, p: Any) -> Any:
    front = jtu.tree_map(lambda x0, xs: jnp.asarray(x0).astype(xs.dtype)[None], _call(problem, "initial", p), x)
    return jtu.tree_map(lambda a, b: jnp.concatenate([a, b]), front, x)


def _but_last(x: Any) -> Any:
    return jtu.tree_map(lambda v: v[:-1], x)


def _last(x: Any) -> Any:
    return jtu.tree_map(lambda v: v[-1], x)
