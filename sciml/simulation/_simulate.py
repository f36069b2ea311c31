"""Simulation of a continuous system."""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from sciml.core import checked, invalid, is_successful, RESULTS, Trajectory, wrong_type
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem
from sciml.systems._methods import in_both_modes

from ._inputs import AbstractInput, ZeroOrderHold
from ._times import as_state, time_grid

_CAUSES = {
    "diverged": "The state became NaN or infinite and was frozen at its last finite value. Shorten the step, bound the "
    "input, or start from another state."
}


class _Held(diffrax.AbstractSolver):
    """A method whose every step sees the input of the middle of that step, passed as `args`.

    A constant step that ends at a jump of the input would evaluate its last stage with the next sample.
    """

    solver: diffrax.AbstractSolver
    signal: Callable[[Any], Any]
    term_structure: ClassVar = diffrax.AbstractTerm

    @property
    def interpolation_cls(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.solver.interpolation_cls

    def order(self, terms: Any) -> int | None:
        return self.solver.order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        return self.solver.init(terms, t0, t1, y0, self.signal(0.5 * (t0 + t1)))

    def step(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any) -> Any:
        held = self.signal(0.5 * (t0 + t1))
        memory = self.solver.init(terms, t0, t1, y0, held)
        return self.solver.step(terms, t0, t1, y0, held, memory, made_jump)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        return self.solver.func(terms, t0, y0, self.signal(t0))


def simulate(
    system: AbstractContinuousSystem,
    x0: Any,
    u: Callable[..., Any] | ArrayLike | None = None,
    *,
    ts: ArrayLike,
    method: diffrax.AbstractSolver,
    dt: ArrayLike | None = None,
    rtol: ArrayLike | None = None,
    atol: ArrayLike | None = None,
    adjoint: diffrax.AbstractAdjoint | None = None,
    throw: bool = True,
    max_steps: int = 4096,
) -> Trajectory:
    """Integrates `dx/dt = f(t, x, u(t))` from `x(ts[0]) = x0` and returns the solution at the times `ts`.

    Choose it for accuracy in continuous time and for irregular grids. `rollout` is faster for sampled inputs and for
    policies in closed loop.

    Args:
        system: The continuous system.
        x0: State at `ts[0]`: an array or a record of arrays; integers become floats. Its dtype is the dtype of the run.
        u: `ZeroOrderHold(ts, us)`, `Linear`, `Cubic` or any function of time; None for a system without input. If
            signals change, pass an `eqx.Module` instead of a new lambda, so that a new signal does not recompile.
        ts: Times of the solution, in the system's unit of time; at least two, strictly increasing. The run starts
            at `ts[0]`.
        method: A Diffrax solver: `diffrax.Tsit5()` adaptive; `systems.RK4()` with `dt`.
        dt: Length of constant steps, reduced to divide `ts[-1] - ts[0]` evenly. A zero-order hold is constant over a
            step (its value in the middle), so let the samples fall on steps. None: adaptive steps, which stop and
            restart at the jumps of a zero-order hold.
        rtol: Relative tolerance of a step (adaptive only): 1e-6 in float64, 1e-4 in float32.
        atol: Absolute tolerance in the unit of `x` (adaptive only): 1e-8 in float64, 1e-6 in float32.
        adjoint: How to differentiate: `diffrax.RecursiveCheckpointAdjoint()` unless given.
        throw: Whether a failure raises. Pass False in a batch that may contain failures, and look at `result`.
        max_steps: Largest number of steps, accepted and rejected.

    Returns:
        States, inputs and outputs at `ts`. After a failure, the state keeps its last finite value; `lost` counts the
        times `ts` after the failure.

    Raises:
        ValueError: `ts` not increasing, `dt <= 0`, tolerances with `dt`, a state derivative unlike the state, no
            error estimate in `method` without `dt`.
        TypeError: `u` is an array, or the system is one in discrete time.
        RuntimeError: With `throw`, `RESULTS.diverged`, `max_steps_reached` and the other results of Diffrax.

    Gradient: by `adjoint`. Derivatives are those of the computed run, up to a failure. If constant steps overflow, they
    may not be finite; `rollout` guards against that.

    Examples:
        ```python
        import diffrax

        system = sciml.systems.LinearContinuous(A=-jnp.eye(1), B=jnp.zeros((1, 1)))
        ts = jnp.linspace(0.0, 1.0, 5)
        run = sciml.simulate(system, jnp.ones(1), ts=ts, method=diffrax.Tsit5())
        assert jnp.allclose(run.x[:, 0], jnp.exp(-ts), atol=1e-3)
        ```
    """
    _check_kinds(system, method)
    if u is not None and not callable(u):
        raise wrong_type("u", f"a {type(u).__name__}", "a function of time", "write `ZeroOrderHold(ts, u)`")
    x0 = as_state(x0)
    dtype = jnp.result_type(*jax.tree.leaves(x0))
    ts = time_grid(ts, dtype)
    if dt is not None:
        if rtol is not None or atol is not None:
            raise invalid("dt", "constant steps and a tolerance", "one of them", "leave out `dt`, or `rtol` and `atol`")
        dt = jnp.asarray(dt, dtype)
        if dt.shape != () or not (isinstance(dt, jax.core.Tracer) or float(dt) > 0):
            raise invalid("dt", dt, "a scalar > 0", "give the length of a step in the system's unit of time")
    elif not isinstance(method, diffrax.AbstractAdaptiveSolver):
        raise invalid("method", f"{type(method).__name__}, without error estimate", "an adaptive method", "give `dt`")
    _check_derivative(system, x0, u, ts)
    single = dtype == jnp.float32
    rtol = jnp.asarray((1e-4 if single else 1e-6) if rtol is None else rtol, dtype)
    atol = jnp.asarray((1e-6 if single else 1e-8) if atol is None else atol, dtype)
    adjoint = diffrax.RecursiveCheckpointAdjoint() if adjoint is None else adjoint
    run = _simulate(system, x0, u, ts, method, dt, (rtol, atol), adjoint, max_steps)
    return checked(run, run.result, _CAUSES) if throw else run


def _check_kinds(system: Any, method: Any) -> None:
    """Raise unless system and method are objects that integrate in continuous time."""
    if isinstance(system, AbstractDiscreteSystem):
        fix = "run it by `rollout(system, policy, x0, us)`, or give the continuous system that it was made of"
        raise wrong_type("system", f"{type(system).__name__}, in discrete time", "a system in continuous time", fix)
    if not isinstance(system, AbstractContinuousSystem):
        fix = "subclass `systems.AbstractContinuousSystem`, with a `vector_field`, and pass an instance"
        raise wrong_type("system", repr(system), "a system in continuous time", fix)
    if not isinstance(method, diffrax.AbstractSolver):
        raise wrong_type("method", repr(method), "a Diffrax solver", "pass an instance, such as `diffrax.Tsit5()`")


def _check_derivative(system: AbstractContinuousSystem, x0: Any, u: Any, ts: Array) -> None:
    """Raise unless the vector field returns something shaped like the state."""

    def derivative() -> Any:
        return system.vector_field(ts[0], x0, None if u is None else u(ts[0]))

    expected = jax.eval_shape(lambda: x0)
    try:
        got = jax.eval_shape(derivative)
    except (TypeError, ValueError, IndexError, AttributeError) as error:
        given = "no input" if u is None else f"an input {jax.eval_shape(lambda: u(ts[0]))}"
        raise invalid(
            "x0, u",
            f"a state {expected} and {given}, on which `vector_field` raises: {error}",
            f"a state and an input that {type(system).__name__}.vector_field takes",
            "give `x0` one entry per state, and `u` a function of time that returns one entry per input",
        ) from error
    if jax.tree.structure(got) != jax.tree.structure(expected) or any(
        (a.shape, a.dtype) != (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    ):
        raise invalid(
            "system",
            f"a `vector_field` that returns {got}",
            f"the structure, shapes and dtypes of `x0`, {expected}",
            "return one derivative per state (stack scalars with `jnp.stack`), and give system, input and state one "
            "dtype",
        )


@eqx.filter_jit
def _simulate(
    system: AbstractContinuousSystem,
    x0: Any,
    u: Callable[..., Any] | None,
    ts: Float[Array, " time"],
    method: Any,
    dt: Array | None,
    tolerances: tuple[Array, Array],
    adjoint: diffrax.AbstractAdjoint,
    max_steps: int,
) -> Trajectory:
    held = dt is not None and isinstance(u, ZeroOrderHold)

    def vector_field(t: Any, x: Any, args: Any) -> Any:
        return system.vector_field(t, x, args if held else (None if u is None else u(t)))

    if dt is None:
        controller = diffrax.PIDController(*tolerances)
        jumps = u.jumps() if isinstance(u, AbstractInput) else None
        if jumps is not None:
            controller = diffrax.ClipStepSizeController(controller, jump_ts=jumps.astype(ts.dtype))
    else:
        controller = diffrax.ConstantStepSize()
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(vector_field),
        _Held(in_both_modes(method), u) if held else method,  # pyright: ignore[reportArgumentType]
        ts[0],
        ts[-1],
        dt,
        x0,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=controller,
        adjoint=adjoint,
        max_steps=max_steps,
        throw=False,
    )
    x, lost = _hold_last_finite(solution.ys)
    result = RESULTS.promote(solution.result)
    result = RESULTS.where((lost > 0) & is_successful(result), RESULTS.diverged, result)
    us = None if u is None else jax.vmap(u)(ts)
    y = jax.vmap(system.output)(ts, x, us)
    return Trajectory(t=ts, x=x, u=us, y=y, result=result, lost=lost)


def _hold_last_finite(xs: Any) -> tuple[Any, Array]:
    """States with everything from the first non-finite one on replaced by the last finite one, and how many are."""
    leaves = jax.tree.leaves(xs)
    finite = [jnp.all(jnp.isfinite(a), axis=tuple(range(1, a.ndim))) for a in leaves]
    alive = jnp.cumprod(jnp.all(jnp.stack(finite), axis=0).astype(jnp.int32))
    last = jnp.maximum(jnp.sum(alive) - 1, 0)

    def hold(a: Array) -> Array:
        mask = (alive > 0).reshape((-1,) + (1,) * (a.ndim - 1))
        return jnp.where(mask, a, a[last])

    return jax.tree.map(hold, xs), jnp.sum(1 - alive)
