"""Simulation of a model under the inputs and at the times of a record."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from sciml.core import invalid, Trajectory, wrong_type
from sciml.sources import Record
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem, RK4
from sciml.systems._methods import in_both_modes

from ._rollout import rollout


def replay(
    system: AbstractContinuousSystem | AbstractDiscreteSystem,
    x0: Any,
    record: Record,
    *,
    method: diffrax.AbstractSolver | None = None,
    substeps: int = 1,
    is_interpolated: bool = False,
) -> Trajectory:
    """The free run `y[k] = h(t[k], x[k], u[k])` of a model from `x0`, at the times and under the inputs of a record.

    Measured outputs are not used: this is what a model is judged by. For a data set of several records,
    `jax.vmap(lambda x0, r: replay(model, x0, r))(x0s, data)` is compiled once, whatever their lengths.

    Args:
        system: continuous (integrated from sample to sample, evenly spaced or not), or discrete (one step for each
            sample; they must lie `system.dt` apart).
        x0: state at the first sample.
        record: one record. Padding at its end keeps the last state.
        method: how a continuous system steps, any Diffrax solver that steps an `ODETerm`; `RK4()` unless given.
        substeps: steps of the method between two samples, >= 1.
        is_interpolated: whether inputs of a continuous system are interpolated linearly between samples; otherwise they
            are held, as a digital-to-analogue converter does.

    Returns:
        States, inputs and outputs at the times of the record. A run that diverges is frozen, as in `rollout`.

    Raises:
        ValueError: several records without `vmap`, `substeps < 1`, or a model that does not take state or inputs;
            (outside `jit` and `vmap`) samples that do not lie `system.dt` apart, for a discrete system.
        TypeError: no system, no method.

    Gradient: as of `rollout`.

    Examples:
        ```python
        decay = sciml.systems.LinearContinuous(A=-jnp.eye(1), B=jnp.ones((1, 1)))
        data = sciml.sources.record(y=jnp.zeros(4), u=jnp.zeros(4), t=[0.0, 0.1, 0.4, 0.5])
        run = sciml.simulation.replay(decay, jnp.ones(1), data, substeps=4)
        assert jnp.allclose(run.y[:, 0], jnp.exp(-data.t), atol=1e-6)
        ```
    """
    if record.t.ndim != 1:
        fix = "`jax.vmap(lambda x0, r: replay(system, x0, r))(x0s, records)`"
        raise invalid("record", f"{record.t.shape[0]} stacked records", "one record", fix)
    if substeps < 1:
        raise invalid("substeps", substeps, "an integer >= 1", "leave it at 1")
    method = RK4() if method is None else method
    if not isinstance(method, diffrax.AbstractSolver):
        raise wrong_type("method", repr(method), "a Diffrax solver", "pass an instance, such as `RK4()`")
    if not isinstance(system, AbstractContinuousSystem | AbstractDiscreteSystem):
        fix = "subclass `systems.AbstractContinuousSystem` or `AbstractDiscreteSystem`"
        raise wrong_type("system", type(system).__name__, "a system", fix)
    check_times(system, record)
    u, t = record.u, record.t
    before = lambda leaf: leaf[:-1]
    interval = _Interval(
        t=before(t), h=jnp.diff(t), u=jax.tree.map(before, u),
        u_next=jax.tree.map(lambda leaf: leaf[1:], u), is_live=record.is_sample[1:],
    )  # fmt: skip
    if isinstance(system, AbstractContinuousSystem):
        stepper = _Between(jnp.ones((), t.dtype), system, in_both_modes(method), substeps, is_interpolated)
    else:
        stepper = _Counted(jnp.asarray(system.dt), system)
    run = rollout(stepper, _given, x0, interval)
    y = jax.vmap(system.output)(t, run.x, u)
    return Trajectory(t=t, x=run.x, u=u, y=y, result=run.result, lost=run.lost)


def check_times(system: Any, record: Record) -> None:
    """Raises where the samples of known records do not lie `system.dt` apart, to a thousandth and rounding."""
    if not isinstance(system, AbstractDiscreteSystem):
        return
    t, dt, is_sample = record.t, system.dt, record.is_sample
    if any(isinstance(leaf, Tracer) for leaf in (t, dt, is_sample)) or np.ndim(dt):
        return
    gaps = np.diff(np.asarray(t, float))[np.asarray(is_sample)[..., 1:]]
    step, rounding = float(dt), 4 * float(jnp.finfo(t.dtype).eps) * float(np.max(np.abs(np.asarray(t))))
    if gaps.size and np.max(np.abs(gaps - step)) > 1e-3 * step + rounding:
        got = f"samples {gaps.min():.6g} to {gaps.max():.6g} apart"
        fix = "use `sources.resample(record, dt=...)`, a model of this sampling time, or a continuous one"
        raise invalid("record", got, f"{step:.6g}, the sampling time of the discrete model", fix)


class _Interval(eqx.Module):
    """What acts between two samples."""

    t: Float[Array, "..."]
    h: Float[Array, "..."]
    u: Any
    u_next: Any
    is_live: Bool[Array, "..."]


def _given(x: Any, w: _Interval) -> _Interval:
    return w


class _Counted(AbstractDiscreteSystem):
    """A discrete system that stands still where there are no more samples."""

    dt: Float[Array, ""]
    system: AbstractDiscreteSystem

    def step(self, t: Any, x: Any, u: _Interval) -> Any:
        return _where(u.is_live, self.system.step(u.t, x, u.u), x)

    def output(self, t: Any, x: Any, u: Any) -> None:
        return None


class _Between(AbstractDiscreteSystem):
    """A continuous system integrated over one interval between samples."""

    dt: Float[Array, ""]
    system: AbstractContinuousSystem
    method: diffrax.AbstractSolver
    substeps: int = eqx.field(static=True)
    is_interpolated: bool = eqx.field(static=True)

    def step(self, t: Any, x: Any, u: _Interval) -> Any:
        h = u.h / self.substeps

        def field(t: Any, x: Any, w: _Interval) -> Any:
            if w.u is None or not self.is_interpolated:
                return self.system.vector_field(t, x, w.u)
            share = (t - w.t) / jnp.where(w.h > 0, w.h, 1)
            return self.system.vector_field(t, x, jax.tree.map(lambda a, b: a + share * (b - a), w.u, w.u_next))

        def advance(x: Any, k: Array) -> tuple[Any, None]:
            term, start = diffrax.ODETerm(field), u.t + k * h
            memory = self.method.init(term, start, start + h, x, u)
            new, _, _, _, result = self.method.step(term, start, start + h, x, u, memory, made_jump=False)
            if result is diffrax.RESULTS.successful:  # every explicit method: nothing to check at run time
                return new, None
            return _where(result == diffrax.RESULTS.successful, new, jax.tree.map(lambda a: a * jnp.nan, new)), None

        if self.substeps == 1:
            x_next = advance(x, jnp.zeros((), h.dtype))[0]
        else:
            x_next = jax.lax.scan(advance, x, jnp.arange(self.substeps, dtype=h.dtype), unroll=min(self.substeps, 4))[0]
        return _where(u.is_live, x_next, x)

    def output(self, t: Any, x: Any, u: Any) -> None:
        return None


def _where(condition: Bool[Array, ""], a: Any, b: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), a, b)
