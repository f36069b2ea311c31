"""Models fitted in scaled units, that take and give physical ones."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from sciml.core import invalid, wrong_type
from sciml.sources import Record, Scaling, Standardiser

from .._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from ._starts import AbstractStart, Started

Numbers = tuple[float, ...]


class _Affine(eqx.Module):
    """`x -> (x - mean) / scale` with constants that no fit trains (Python floats)."""

    mean: Numbers
    scale: Numbers

    def apply(self, x: Array) -> Array:
        return (x - jnp.asarray(self.mean, x.dtype)) / jnp.asarray(self.scale, x.dtype)

    def invert(self, x: Array) -> Array:
        return x * jnp.asarray(self.scale, x.dtype) + jnp.asarray(self.mean, x.dtype)


class _Units(eqx.Module):
    """The maps between physical and scaled units of one model."""

    u: _Affine | None
    y: _Affine
    measures_state: bool = eqx.field(static=True)

    def input(self, u: Any) -> Any:
        return u if u is None or self.u is None else self.u.apply(u)

    def state(self, x: Any) -> Any:
        if not self.measures_state:
            return x
        if x.shape != (len(self.y.mean),):
            got, fix = f"a state of shape {x.shape}", "pass `measures_state=False`: the state then is the model's own"
            raise invalid("measures_state", got, f"({len(self.y.mean)},), the outputs themselves", fix)
        return self.y.apply(x)


class ScaledContinuous(AbstractContinuousSystem):
    """A continuous model in physical units around one in scaled units; made by `scaled`."""

    system: AbstractContinuousSystem
    units: _Units

    def vector_field(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " state"]:
        """The derivative of the state."""
        rate = self.system.vector_field(t, self.units.state(x), self.units.input(u))
        return rate * jnp.asarray(self.units.y.scale, rate.dtype) if self.units.measures_state else rate

    def output(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " output"]:
        """The output in physical units."""
        return self.units.y.invert(self.system.output(t, self.units.state(x), self.units.input(u)))

    def input_shape(self) -> tuple[int, ...] | None:
        """As of the scaled model."""
        return self.system.input_shape()


class ScaledDiscrete(AbstractDiscreteSystem):
    """A discrete model in physical units around one in scaled units; made by `scaled`."""

    dt: Float[Array, ""]
    system: AbstractDiscreteSystem
    units: _Units

    def step(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " state"]:
        """The state one sample later."""
        x = self.system.step(t, self.units.state(x), self.units.input(u))
        return self.units.y.invert(x) if self.units.measures_state else x

    def output(self, t: ArrayLike, x: Float[Array, " state"], u: Any) -> Float[Array, " output"]:
        """The output in physical units."""
        return self.units.y.invert(self.system.output(t, self.units.state(x), self.units.input(u)))

    def input_shape(self) -> tuple[int, ...] | None:
        """As of the scaled model."""
        return self.system.input_shape()


class ScaledStart(AbstractStart):
    """A start that looks at scaled samples, for records in physical units; made by `scaled`."""

    lag: int = eqx.field(static=True)
    start: AbstractStart
    units: _Units

    def __call__(self, record: Record) -> Any:
        """The state at sample `lag`."""
        y = jnp.where(record.is_measured, self.units.y.apply(record.y), 0)
        u = self.units.input(record.u)
        x0 = self.start(Record(record.t, u, y, record.is_measured, record.length))
        return self.units.y.invert(x0) if self.units.measures_state else x0

    @property
    def is_measured_state(self) -> bool:
        """As of the start in scaled units."""
        return self.start.is_measured_state

    def is_known(self, record: Record) -> Bool[Array, ""]:
        """As of the start in scaled units."""
        return self.start.is_known(record)


def scaled(
    system: Any, scaling: Scaling, *, measures_state: bool | None = None
) -> ScaledContinuous | ScaledDiscrete | Started:
    """A model fitted to `scaling.apply(data)` as a model of `data`: it takes and gives physical units.

    Fit in scaled units and wrap the result before it is saved, simulated or controlled. The constants are part of the
    model, and no fit trains them. Not for use inside `jit`.

    Args:
        system: the fitted model, continuous or discrete, or in `Started`, whose start is wrapped as well.
        scaling: from `sources.scale_records`.
        measures_state: whether the outputs are the states themselves (as of `NeuralODE`): the state then is in physical
            units too. Otherwise it is the model's own. None: as the start says, and True for a bare system, whose free
            runs begin at a measured state.

    Raises:
        TypeError: `system` is no system.
        ValueError: False for a start at a measured state; (when it runs) a measured state of other size than the
            outputs.
    """
    if measures_state is None:
        measures_state = system.start.is_measured_state if isinstance(system, Started) else True
    if not measures_state and isinstance(system, Started) and system.start.is_measured_state:
        fix = "leave it out"
        raise invalid("measures_state", False, "True for a start at a measured state, whose units are physical", fix)
    units = _Units(None if scaling.u is None else _affine(scaling.u), _affine(scaling.y), measures_state)
    if isinstance(system, Started):
        inner = scaled(system.system, scaling, measures_state=measures_state)
        return Started(inner, ScaledStart(system.start.lag, system.start, units))
    if isinstance(system, AbstractContinuousSystem):
        return ScaledContinuous(system, units)
    if isinstance(system, AbstractDiscreteSystem):
        return ScaledDiscrete(system.dt, system, units)
    raise wrong_type("system", type(system).__name__, "a system", "pass a model, such as `fitted.value`")


def _affine(standardiser: Standardiser) -> _Affine:
    return _Affine(*(tuple(map(float, part)) for part in (standardiser.mean, standardiser.scale)))
