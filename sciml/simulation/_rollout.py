"""Simulation of a discrete-time system in closed loop with a policy."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, PRNGKeyArray

from sciml.core import (
    AbstractPolicy,
    batch_size,
    check_key,
    check_policy,
    invalid,
    policy_report,
    policy_start,
    policy_step,
    RESULTS,
    Trajectory,
    wrong_type,
)
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem

from ._times import as_state


def rollout(
    system: AbstractDiscreteSystem,
    policy: Callable[[Any, Any], Any] | AbstractPolicy,
    x0: Any,
    exogenous: Any,
    *,
    observe: Callable[[Any], Any] | None = None,
    key: PRNGKeyArray | None = None,
    steps: int | None = None,
    unroll: int = 1,
) -> Trajectory:
    """Simulates the closed loop `u[k] = policy(x[k], w[k])`, `x[k+1] = system.step(t[k], x[k], u[k])` from `x[0] = x0`.

    Choose it for controllers in closed loop and for gradients through long horizons; it is one `lax.scan`. For an open
    loop with known inputs `us`, use the policy `lambda x, w: w` with `exogenous=us`. `vmap` over `x0`, `exogenous` or
    the system makes a batch.

    Args:
        system: The discrete system; `systems.discretise` makes one from a continuous system.
        policy: `(x, w) -> u`, or an `AbstractPolicy` with memory. At any state below the limit of the guard (see
            Returns) it should be finite with finite derivatives.
        x0: Initial state: an array or a record of arrays; integers become floats. Its dtype is the dtype of the run.
        exogenous: References, disturbances, measured inputs, noise: a record of arrays with leading axis N, of which
            step `k` sees entry `k` as `w`. None together with `steps=N`; the policy then gets `w = None`.
        observe: `x -> what the policy sees`; the state itself unless given.
        key: Split into one key per step for `AbstractPolicy.step` (for instance for measurement noise or exploration);
            None gives the policy None.
        steps: N; needed without `exogenous`, else checked against it.
        unroll: Steps per iteration of the loop, see `jax.lax.scan`: compiles longer; rarely faster on a CPU.

    Returns:
        N + 1 states and outputs, N inputs (the last output is computed with the last input). A state that is not
        finite, or whose largest entry exceeds the cube root of the largest number of its dtype (7e12 in float32,
        5.6e102 in float64; beyond it squares and their derivatives overflow), is rejected. The run then stays at the
        last accepted state, with `result = RESULTS.diverged` and `lost` the number of steps not taken.

    Raises:
        ValueError: `exogenous` and `steps` contradict each other or are both missing; leaves of `exogenous` of unequal
            length; a policy whose output the system does not take; a step whose result is unlike `x0`.
        TypeError: a system in continuous time, a policy that is no function, a key that is none.

    Gradient: in both modes, of the steps taken; lost steps pass the frozen state on unchanged, and the system has zero
    derivatives there. The reverse pass stores states and inputs and recomputes the intermediates of step and policy, so
    a policy that solves a program solves it twice.

    Examples:
        ```python
        plant = sciml.systems.LinearDiscrete(A=jnp.eye(1), B=jnp.ones((1, 1)), dt=1.0)
        references = jnp.ones((10, 1))
        run = sciml.rollout(plant, lambda x, w: 0.5 * (w - x), jnp.zeros(1), references)
        assert run.x.shape == (11, 1) and jnp.isclose(run.x[-1, 0], 1.0 - 0.5**10)
        ```
    """
    _check_kinds(system, policy)
    if key is not None:
        check_key(key)
    x0 = as_state(x0)
    exogenous = jax.tree.map(jnp.asarray, exogenous)
    steps = _length(exogenous, steps)
    observe = _identity if observe is None else observe
    _check_loop(system, policy, x0, jax.tree.map(lambda a: a[0], exogenous), observe, key)
    return _rollout(system, policy, x0, exogenous, observe, key, steps, unroll)


def _identity(x: Any) -> Any:
    return x


def _check_kinds(system: Any, policy: Any) -> None:
    """Raise unless there is a system in discrete time and a policy."""
    if isinstance(system, AbstractContinuousSystem):
        fix = "sample it: `systems.discretise(system, RK4(), dt=...)`; or run it by `simulate`"
        raise wrong_type("system", f"{type(system).__name__}, in continuous time", "a system in discrete time", fix)
    if not isinstance(system, AbstractDiscreteSystem):
        fix = "subclass `systems.AbstractDiscreteSystem`, with `dt` and a `step`, and pass an instance"
        raise wrong_type("system", repr(system), "a system in discrete time", fix)
    check_policy(policy)


def _length(exogenous: Any, steps: int | None) -> int:
    """The number of steps, from the leading axis of `exogenous` or from `steps`."""
    if not jax.tree.leaves(exogenous):
        if steps is None or steps < 1:
            raise invalid("steps", steps, "an integer >= 1 where `exogenous` is None", "give the number of steps")
        return steps
    length = batch_size(exogenous, "exogenous")
    if length < 1 or steps not in (None, length):
        raise invalid(
            "steps",
            steps,
            f"None or {length}, the length of `exogenous`, >= 1",
            "leave out `steps`, or cut the signals",
        )
    return length


def _check_loop(system: AbstractDiscreteSystem, policy: Any, x0: Any, w: Any, observe: Any, key: Any) -> None:
    """Raise unless policy and system fit each other and the state."""

    def act() -> Any:
        return policy_step(policy, policy_start(policy, x0, w), observe(x0), w, key)[0]

    u = eqx.filter_eval_shape(act)
    shape = system.input_shape()
    if shape is not None and getattr(u, "shape", None) != shape:
        raise invalid(
            "policy",
            f"an output {u}",
            f"an array of shape {shape}, the input of the system",
            "return one entry per input of the system",
        )
    t, expected = jnp.zeros((), jnp.result_type(*jax.tree.leaves(x0))), jax.eval_shape(lambda: x0)
    try:
        got = eqx.filter_eval_shape(system.step, t, x0, u)
    except (TypeError, ValueError, IndexError) as error:
        if shape is not None:  # the input has the system's shape, so it is the state that has not
            got = f"a state {expected}, on which `system.step` raises: {error}"
            raise invalid(
                "x0", got, "a state of the system", "start from an array or a record with one entry per state"
            ) from error
        raise invalid(
            "policy",
            f"an output {u}, on which `system.step` raises: {error}",
            f"an input that {type(system).__name__}.step takes with a state {expected}",
            "let the policy return one number per input of the system, in the dtype of the state",
        ) from error
    if jax.tree.structure(got) != jax.tree.structure(expected) or any(
        (a.shape, a.dtype) != (b.shape, b.dtype)
        for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True)
    ):
        raise invalid(
            "system",
            f"a step that returns {got}",
            f"the structure, shapes and dtypes of `x0`, {expected}",
            "return one entry per state, and give system, policy, exogenous signals and state one dtype",
        )


def _is_sound(x: Any) -> Bool[Array, ""]:
    """Whether the state is finite and below the limit (a comparison with NaN is false)."""
    largest = [(jnp.max(jnp.abs(a)), float(jnp.finfo(a.dtype).max) ** (1 / 3)) for a in jax.tree.leaves(x) if a.size]
    sound = jnp.asarray(True)
    for value, limit in largest:
        sound = sound & (value < limit)
    return sound


# A step that overflows has infinite derivatives, and a zero cotangent times infinity is NaN. So the tangent of a step
#     dx' = f_x dx + f_u du + f_theta dtheta
# is computed at a safe point (x0, 0) and set to zero where the result is not sound. Doing it by `where` on the primal
# side would cost a second evaluation. `checkpoint` keeps the linearisation out of the forward pass: only x, u and one
# flag are stored per step, which is also faster than storing the intermediates of a small plant.
@eqx.filter_custom_jvp
def _guarded(step: Callable[..., Any], t: Array, x: Any, u: Any, safe: Any) -> Any:
    del safe
    return step(t, x, u)


@_guarded.def_jvp
def _guarded_jvp(primals: tuple[Any, ...], tangents: tuple[Any, ...]) -> tuple[Any, Any]:
    step, t, x, u, safe = primals
    t_step, t_t, t_x, t_u, _ = tangents
    x_next = step(t, x, u)
    ok = _is_sound(x_next)
    at_x, at_u = jax.tree.map(lambda a, b: jnp.where(ok, a, b), (x, u), safe)
    dynamic, static = eqx.partition((step, t, at_x, at_u), eqx.is_array)

    def tangent(dynamic: Any, directions: Any) -> Any:
        return eqx.filter_jvp(lambda f, *a: f(*a), eqx.combine(dynamic, static), directions)[1]

    t_next = jax.checkpoint(tangent, prevent_cse=False)(dynamic, (t_step, t_t, t_x, t_u))
    return x_next, jax.tree.map(lambda a: jnp.where(ok, a, jnp.zeros_like(a)), t_next)


def _pack(x0: Any) -> tuple[Any, Callable[[Any], Any]]:
    """A record of arrays of one dtype as one vector, and the way back: a scan pays per array that it carries."""
    leaves = jax.tree.leaves(x0)
    if len(leaves) > 1 and len({a.dtype for a in leaves}) == 1:
        return ravel_pytree(x0)
    return x0, _identity


@eqx.filter_jit
def _rollout(
    system: AbstractDiscreteSystem,
    policy: Any,
    x0: Any,
    exogenous: Any,
    observe: Callable[[Any], Any],
    key: PRNGKeyArray | None,
    steps: int,
    unroll: int,
) -> Trajectory:
    start, unpack = _pack(x0)
    dtype = jnp.result_type(*jax.tree.leaves(x0))
    ts = jnp.arange(steps + 1).astype(dtype) * jnp.asarray(system.dt).astype(dtype)
    keys = None if key is None else jr.split(key, steps)
    w0 = jax.tree.map(lambda a: a[0], exogenous)
    memory = policy_start(policy, x0, w0)

    def step(t: Array, x: Any, u: Any) -> Any:
        x_next = system.step(t, unpack(x), u)
        return _pack(x_next)[0]

    key0 = None if keys is None else keys[0]
    u_like = jax.eval_shape(lambda: policy_step(policy, memory, observe(x0), w0, key0)[0])
    u_safe = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), u_like)
    safe = jax.lax.stop_gradient((start, u_safe))
    # Captured tracers (a system inside `grad`) become explicit arguments, as a custom derivative rule needs them.
    step = eqx.filter_closure_convert(step, ts[0], start, u_safe)

    def body(carry: Any, inputs: Any) -> tuple[Any, Any]:
        x, memory, alive = carry
        t, w, key = inputs
        u, new_memory = policy_step(policy, memory, observe(unpack(x)), w, key)
        x_next = _guarded(step, t, x, u, safe)
        alive = alive & _is_sound(x_next)
        x, memory = jax.tree.map(lambda a, b: jnp.where(alive, a, b), (x_next, new_memory), (x, memory))
        report = policy_report(policy, memory)
        return (x, memory, alive), (x, u, alive, report)

    carry = (start, memory, jnp.asarray(True))
    # States, inputs and one flag are stored per step, the rest is computed again: faster than storing it, and a fifth
    # of the memory on long horizons.
    body = jax.checkpoint(body, prevent_cse=False)
    _, (xs, us, alive, report) = jax.lax.scan(body, carry, (ts[:-1], exogenous, keys), length=steps, unroll=unroll)
    xs = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), start, xs)
    xs = xs if unpack is _identity else jax.vmap(unpack)(xs)
    u_end = jax.tree.map(lambda a: jnp.concatenate([a, a[-1:]]), us)
    lost = jnp.sum(~alive)
    result = RESULTS.where(lost > 0, RESULTS.diverged, RESULTS.successful)
    ys = jax.vmap(system.output)(ts, xs, u_end)
    return Trajectory(t=ts, x=xs, u=us, y=ys, result=result, lost=lost, report=report)
