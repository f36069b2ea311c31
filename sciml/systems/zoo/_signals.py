"""Input signals of the plants: functions `(key, steps) -> inputs`, as modules with their ranges."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from sciml.sources import signals

from .._parameters import parameter
from ._buildings import single_zone_weather


class Held(eqx.Module):
    """Uniform random values in [low, high], each held for `samples` samples."""

    low: Float[Array, " u"] = eqx.field(converter=parameter)
    high: Float[Array, " u"] = eqx.field(converter=parameter)
    samples: int = eqx.field(static=True)

    def __call__(self, key: PRNGKeyArray, steps: int) -> Float[Array, "time u"]:
        """The signal, shape `(steps, inputs)`."""
        return signals.steps(key, steps, self.low, self.high, every=self.samples)


class Waves(eqx.Module):
    """Sines between low and high with random phases, and uniform noise in [-noise, noise]."""

    low: Float[Array, " u"] = eqx.field(converter=parameter)
    high: Float[Array, " u"] = eqx.field(converter=parameter)
    period: Float[Array, " u"] = eqx.field(converter=parameter)
    """In samples."""
    noise: Float[Array, " u"] = eqx.field(converter=parameter)

    def __call__(self, key: PRNGKeyArray, steps: int) -> Float[Array, "time u"]:
        """The signal, shape `(steps, inputs)`."""
        one, other = jr.split(key)
        phase = jr.uniform(one, self.low.shape, self.low.dtype, 0.0, 2 * np.pi)
        wave = signals.sine(steps, self.low, self.high, frequency=1 / self.period, dt=1.0, phase=phase)
        return wave + signals.steps(other, steps, -self.noise, self.noise, every=1)


class Weather(eqx.Module):
    """The synthetic disturbances of the single-zone building."""

    def __call__(self, key: PRNGKeyArray, steps: int) -> Float[Array, "time 3"]:
        """The signal, shape `(steps, 3)`."""
        return single_zone_weather(key, steps=steps)


class Beside(eqx.Module):
    """Signals beside each other: the columns of the first, then those of the second."""

    first: Callable[[PRNGKeyArray, int], Array]
    second: Callable[[PRNGKeyArray, int], Array]

    def __call__(self, key: PRNGKeyArray, steps: int) -> Float[Array, "time u"]:
        """The signal, shape `(steps, inputs)`."""
        one, other = jr.split(key)
        return jnp.concatenate([self.first(one, steps), self.second(other, steps)], axis=1)
