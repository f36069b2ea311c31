"""`solve`: the solution of a program at one instance, with its derivative."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jax.core import Tracer
from jaxtyping import Array

from ..core import (
    as_arrays,
    as_floats,
    checked,
    invalid,
    is_successful,
    iterate,
    RESULTS,
    Solution,
    stop_gradient,
    wrong_type,
)
from ..programs import (
    AbstractProgram,
    bound_multipliers,
    bounds,
    flat_residual,
    FlatProgram,
    flatten,
    unflatten_duals,
)
from ..programs._optimal_control import check_program
from ._abstract import AbstractSolver, begin, check_guess, SolveStats
from ._adjoint import KKTAdjoint
from ._outcome import outcome


def solve(
    program: AbstractProgram,
    solver: AbstractSolver,
    z0: Any,
    p: Any = None,
    *,
    warm: Any = None,
    max_steps: int = 256,
    adjoint: optx.AbstractAdjoint | None = None,
    throw: bool = True,
) -> Solution:
    """A local solution of `program` at the instance `p`, with multipliers and derivatives.

    A success is a KKT point. This is a first-order condition, which a saddle point satisfies too. For a nonconvex
    program, a `pivot` of zero in `derivative_health` shows that the point is not a strict minimum.

    Write for one instance; `jax.vmap(lambda p: sciml.solve(program, solver, z0, p, throw=False))(ps)` solves a batch,
    under `jit`, `grad` and `jvp` alike. A compiled function may contain several solves. On a CPU with jaxlib before
    0.11.2, their batched factorisations then use one thread, because they could otherwise wait for each other for ever.

    Args:
        program: objective, constraints and bounds. Define its functions once (not anew in a loop): a new function
            object is a new program to compile.
        solver: the method, for instance `InteriorPoint()`.
        z0: the start, any pytree of numbers; the decision has its structure.
        p: the instance, any pytree.
        warm: the `state` of an earlier solution of a program of the same shape. The solver then starts from its iterate
            and multipliers, and only the structure of `z0` matters. Also a `Guess` with multipliers;
            with `Race`, one without.
        max_steps: largest number of iterations.
        adjoint: method of differentiation; default `KKTAdjoint()`. `optimistix.ImplicitAdjoint()` is the reference.
        throw: whether a failure raises; if False, look at `result`.

    Returns:
        `Solution` with `value` (like `z0`), `duals` (`Duals`), `stats` (`SolveStats`), `result`, `state` (for `warm`).

    Raises:
        TypeError: if program, solver or adjoint have a wrong type, or `warm` is not a state of this solver and program.
        ValueError: if a function returns a wrong shape, or if bounds with known values contradict each other.
        EquinoxRuntimeError: with `throw=True`, at run time, every failure of `RESULTS`: `max_steps_reached`,
            `infeasible`, `unbounded`, `stalled`, `nonfinite_start`, `nonfinite_step`, `contradictory_bounds`. Under
            `jit` or `vmap` JAX wraps the message in `jax.errors.JaxRuntimeError`; both are a `RuntimeError`.

    Gradient: `value` and `duals` are differentiable with respect to every array in `p` and every array that the
    program's functions close over, in forward and reverse mode and repeatedly, by the implicit function theorem on the
    KKT residual with the active set at the solution. The derivative with respect to `z0` and `warm` is zero.
    A failed instance has zero derivatives.

    Examples:
        ```python
        nearest = sciml.Program(lambda z, p: jnp.sum((z - p) ** 2), ineq=lambda z, p: z @ z - 1.0)
        solution = sciml.solve(nearest, sciml.solvers.InteriorPoint(), jnp.zeros(2), jnp.array([3.0, 4.0]))
        assert jnp.allclose(solution.value, jnp.array([0.6, 0.8]), atol=1e-3)
        assert jnp.isclose(solution.duals.ineq, 4.0, atol=1e-2)
        ```
    """
    check_program(program)
    if not isinstance(solver, AbstractSolver):
        raise wrong_type("solver", repr(solver), "a solver object", "pass an instance, such as `InteriorPoint()`")
    if not (adjoint is None or isinstance(adjoint, optx.AbstractAdjoint)):
        fix = "wrap it, as in `KKTAdjoint(Smoothed(1e-3))`, or leave it out"
        raise wrong_type("adjoint", repr(adjoint), "an `optimistix.AbstractAdjoint`", fix)
    z0, p = as_floats(z0, "z0"), as_arrays(p)
    if not jtu.tree_leaves(z0):
        raise invalid("z0", repr(z0), "numbers to start from", "give a start that is structured like the decision")
    for path, leaf in jtu.tree_leaves_with_path(p):
        if not eqx.is_array_like(leaf):
            fix = "let the program's functions close over what is no number"
            raise invalid(f"p{jtu.keystr(path)}", f"a {type(leaf).__name__}", "numbers and arrays", fix)
    check_guess(solver, warm, z0)
    if throw:
        _check_bounds(program, z0, p)
    solution = _solve(program, solver, z0, p, warm, max_steps, KKTAdjoint() if adjoint is None else adjoint)
    if throw:
        solution = checked(solution, solution.result)
    return solution


def _check_bounds(program: AbstractProgram, z0: Any, p: Any) -> None:
    """Contradictory bounds raise at the door where their values are known; elsewhere they become a result."""
    lower, upper = bounds(program, z0, p)
    for (path, low), high in zip(jtu.tree_leaves_with_path(lower), jtu.tree_leaves(upper), strict=True):
        if isinstance(low, Tracer) or isinstance(high, Tracer):
            return
        wrong = np.argwhere(~(np.asarray(low) <= np.asarray(high)))
        if wrong.shape[0]:
            at = tuple(int(i) for i in wrong[0])
            got = f"lower = {float(low[at])} > upper = {float(high[at])}" + (f" at entry {at}" if at else "")
            fix = "swap the two, or relax one of them"
            raise invalid(f"lower{jtu.keystr(path)}", got, "lower <= upper in every entry", fix)


@eqx.filter_jit
def _solve(
    program: AbstractProgram,
    solver: AbstractSolver,
    z0: Any,
    p: Any,
    warm: Any,
    max_steps: int,
    adjoint: optx.AbstractAdjoint,
) -> Solution:
    flat, layout, x0 = flatten(program, z0, p)
    flat = solver.suited(flat)
    x0, warm = jax.lax.stop_gradient(x0), jax.lax.stop_gradient(warm)
    inputs = (flat, solver, x0, p, warm, max_steps)
    with jax.default_matmul_precision("highest"):
        root, (result, state, counters) = adjoint.apply(_iterate, _kkt_root, inputs, frozenset())
        state, counters = stop_gradient((state, counters))
        x, ineq, eq = jnp.split(root, [flat.size, flat.size + flat.n_ineq])
        # Once more from the program, after the loop: multipliers of the bounds, and a residual that trusts no solver.
        limits, (slope, g, h) = flat.limits(p), _slope(flat, x, ineq, eq, p)
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        below, above = bound_multipliers(x, slope, *limits)
        residual = stop_gradient(flat_residual(x, slope, g, h, limits, (ineq, below, above)))
    succeeded = is_successful(result)
    result = RESULTS.where(succeeded & ~jnp.isfinite(residual.largest), RESULTS.stalled, result)
    stats = SolveStats(counters.steps, residual, counters.barrier, counters.restorations, succeeded)
    return Solution(layout.decision(x), result, stats, unflatten_duals(layout, ineq, eq, below, above), state)


def _iterate(inputs: Any) -> Any:
    """The primal computation: the loop, and its outcome."""
    flat, solver, x0, p, warm, max_steps, while_loop = inputs
    constants = solver.prepare(flat, p)
    state = begin(solver, flat, constants, x0, p, warm)
    step = lambda s: solver.step(flat, constants, s, p)
    state, steps = iterate(step, solver.done, state, max_steps=max_steps, while_loop=while_loop)
    return outcome(flat, solver, constants, x0, state, steps, p)


def _kkt_root(root: Any, residual: Any, inputs: Any) -> Any:
    """Zero at a KKT point: the natural residual, whose branches are the active set.

    With `y = x - ∇L` and the projection onto the bounds, `x - proj(y)` is `x - lower` where the lower bound is active,
    `∇L` where none is; `min(-g, λ)` is `-g` where the inequality is active and `λ` where it is not
    (Facchinei & Pang 2003, Finite-Dimensional Variational Inequalities, section 1.5). Differentiating it with respect
    to the root and to `p` is differentiating the equations of the active set.
    """
    flat, _, _, p, *_ = inputs
    result, *_ = residual
    x, ineq, eq = jnp.split(root, [flat.size, flat.size + flat.n_ineq])
    lower, upper = flat.limits(p)
    slope, g, h = _slope(flat, x, ineq, eq, p)
    target = x - slope
    stationarity = jnp.where(target < lower, x - lower, jnp.where(target > upper, x - upper, slope))
    complementarity = jnp.where(ineq >= -g, -g, ineq)
    value = jnp.concatenate([stationarity, complementarity, h])
    # A failed instance has no equation to differentiate: zero derivative, whatever its functions do there.
    return jnp.where(is_successful(result), value, root - jax.lax.stop_gradient(root))


# Optimistix wants module-level functions without closure; the runtime type checker of the tests wraps them.
_iterate = getattr(_iterate, "__wrapped__", _iterate)
_kkt_root = getattr(_kkt_root, "__wrapped__", _kkt_root)


def _slope(flat: FlatProgram, x: Array, ineq: Array, eq: Array, p: Any) -> tuple[Array, Array, Array]:
    """`∇L` without bounds, and the constraints."""
    (f, g, h), pull = jax.vjp(lambda x: flat.functions(x, p), x)
    (slope,) = pull((jnp.ones_like(f), ineq, eq))
    return slope, g, h
