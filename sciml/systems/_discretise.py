"""Sampling of continuous systems on a fixed time grid."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from sciml.core import invalid, wrong_type

from ._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from ._linear import LinearContinuous, zero_order_hold
from ._methods import in_both_modes
from ._parameters import like, positive_scalar


class Discretised(AbstractDiscreteSystem):
    """A continuous system sampled with `dt`, its input held over each step; made by `discretise`."""

    system: AbstractContinuousSystem
    method: diffrax.AbstractSolver
    dt: Float[Array, ""]
    substeps: int = eqx.field(static=True)

    def step(self, t: ArrayLike, x: Any, u: Any) -> Any:
        """The state one sampling time later; NaN where an implicit method did not converge."""
        h = like(self.dt, x) / self.substeps
        start = like(jnp.asarray(t), x)
        if self.substeps == 1:
            return self._advance(start, h, x, u)

        def body(x: Any, k: Array) -> tuple[Any, None]:
            return self._advance(start + k * h, h, x, u), None

        steps = jnp.arange(self.substeps, dtype=h.dtype)
        return jax.lax.scan(body, x, steps, unroll=min(self.substeps, 4))[0]

    def output(self, t: ArrayLike, x: Any, u: Any) -> Any:
        """The measured output, as of the continuous system."""
        return self.system.output(t, x, u)

    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the input, as of the continuous system."""
        return self.system.input_shape()

    def _advance(self, t: Array, h: Array, x: Any, u: Any) -> Any:
        """One step of the method over `[t, t + h]`."""
        term = diffrax.ODETerm(self.system.vector_field)
        memory = self.method.init(term, t, t + h, x, u)
        # The input jumps at every sample: the method's memory starts afresh and is not carried from step to step.
        x, _, _, _, result = self.method.step(term, t, t + h, x, u, memory, made_jump=False)
        if result is diffrax.RESULTS.successful:  # every explicit method: nothing to check at run time
            return x
        failed = result != diffrax.RESULTS.successful
        return jax.tree.map(lambda a: jnp.where(failed, jnp.full_like(a, jnp.nan), a), x)


class Exact(eqx.Module):
    """Exact sampling of a `LinearContinuous`, as a method of `discretise`: no step error at any `dt`."""


def discretise(
    system: AbstractContinuousSystem, method: diffrax.AbstractSolver | Exact, *, dt: ArrayLike, substeps: int = 1
) -> AbstractDiscreteSystem:
    """A continuous system sampled at a fixed step, with the input held constant over each step.

    Choose `Exact()` for every `LinearContinuous`: the matrices are computed once, by `zero_order_hold`, for any `dt`.
    Otherwise choose `RK4()`, unless the system is stiff: then an implicit Diffrax method with its own root finder, for
    instance `diffrax.ImplicitEuler(diffrax.VeryChord(rtol=1e-8, atol=1e-8))`.

    Args:
        system: The continuous system.
        method: `Exact()`, or any Diffrax solver that steps an `ODETerm`; `RK4`, `Midpoint`, `Heun` are the fast ones.
        dt: Sampling time in the unit of the system's time, > 0. An array: a new value does not recompile.
        substeps: Steps of the method per sample, >= 1: more where `dt` is long for the dynamics. 1 with `Exact()`.

    Returns:
        A `LinearDiscrete` from `Exact()`, else a `Discretised`, with the output of `system`; both for `rollout`.

    Raises:
        ValueError: `dt` is not a positive scalar, `substeps < 1`, or more than one substep with `Exact()`.
        TypeError: a system in discrete time, a method that is no object, `Exact()` with a system that is not
            `LinearContinuous`.

    Gradient: through the steps (discretise, then differentiate), exact for the discrete system.
    """
    if not isinstance(system, AbstractContinuousSystem):
        got = (
            f"{type(system).__name__}, in discrete time" if isinstance(system, AbstractDiscreteSystem) else repr(system)
        )
        fix = "a discrete system goes into `rollout` as it is; else subclass `AbstractContinuousSystem`"
        raise wrong_type("system", got, "a system in continuous time", fix)
    if not isinstance(method, Exact | diffrax.AbstractSolver):
        raise wrong_type("method", repr(method), "`Exact()` or a Diffrax solver", "pass an instance, such as `RK4()`")
    if substeps < 1:
        raise invalid("substeps", substeps, "an integer >= 1", "leave it at 1")
    if not isinstance(method, Exact):
        dt = positive_scalar(dt, "dt", "give the sampling time in the unit of the system's time")
        return Discretised(dt=dt, system=system, method=in_both_modes(method), substeps=int(substeps))
    if not isinstance(system, LinearContinuous):
        raise wrong_type("system", f"a {type(system).__name__}", "a LinearContinuous for `Exact()`", "use `RK4()`")
    if substeps != 1:
        raise invalid("substeps", substeps, "1 with `Exact()`, which has no step error", "leave it at 1")
    return zero_order_hold(system, dt=dt)
