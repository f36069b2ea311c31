"""A plant with everything that an experiment on it needs."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sciml.core import check_key, invalid

from .._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from .._discretise import discretise
from .._methods import RK4
from .._parameters import parameter


class Plant(eqx.Module):
    """A reference system with initial states, ranges, inputs and time grid: one experiment, described.

    `plants()` lists those of the library. A run from a sampled initial state under a sampled input:

        rollout(plant.discrete(), lambda x, w: w, plant.start(one), plant.inputs(other))

    or `lambda x, w: None` with `steps=plant.steps` where there is no input.

    Args:
        name: unique, in snake case.
        system: in continuous or discrete time, with the parameters of its source.
        states: name and unit of each state.
        controls: name and unit of each input; empty without inputs.
        x0: initial state of the source.
        x0_low, x0_high: box from which `start` draws.
        x_low, x_high: admissible range of the states; infinite where any value is.
        u_low, u_high: admissible range of the inputs; what `signal` returns is inside.
        signal: the default input, a function `(key, steps) -> (steps, inputs)`; None without inputs.
        dt: sampling time in the unit of the system's time.
        steps: number of samples of a run.
        substeps: steps of the fourth-order Runge-Kutta method per sample that keep its error below 1e-6 of the range.
        are_shares: whether the states are shares of a whole, so that `start` divides them by their sum.
    """

    name: str = eqx.field(static=True)
    system: AbstractContinuousSystem | AbstractDiscreteSystem
    states: tuple[str, ...] = eqx.field(static=True)
    controls: tuple[str, ...] = eqx.field(static=True)
    x0: Float[Array, " x"]
    x0_low: Float[Array, " x"]
    x0_high: Float[Array, " x"]
    x_low: Float[Array, " x"]
    x_high: Float[Array, " x"]
    u_low: Float[Array, " u"]
    u_high: Float[Array, " u"]
    signal: Callable[[PRNGKeyArray, int], Array] | None
    dt: Float[Array, ""] = eqx.field(converter=parameter)
    steps: int = eqx.field(static=True)
    substeps: int = eqx.field(static=True, default=1)
    are_shares: bool = eqx.field(static=True, default=False)

    def __check_init__(self):
        """Raises `ValueError` unless the number of inputs and the presence of a signal agree."""
        if (self.signal is None) != (not self.controls):
            got = f"{len(self.controls)} inputs and {'no signal' if self.signal is None else 'a signal'}"
            raise invalid("signal", got, "a signal if and only if there are inputs", "give both, or neither")

    def start(self, key: PRNGKeyArray) -> Float[Array, " x"]:
        """A random initial state, uniform in the box `[x0_low, x0_high]`."""
        check_key(key)
        x = self.x0_low + (self.x0_high - self.x0_low) * jr.uniform(key, self.x0.shape, self.x0.dtype)
        return x / jnp.sum(x) if self.are_shares else x

    def inputs(self, key: PRNGKeyArray, steps: int | None = None) -> Float[Array, "time u"] | None:
        """A random default input over `steps` samples (those of the plant unless given); None without inputs."""
        check_key(key)
        return None if self.signal is None else self.signal(key, self.steps if steps is None else steps)

    def discrete(self) -> AbstractDiscreteSystem:
        """The system sampled with `dt`, its input held over each step; as it is if it is in discrete time."""
        if isinstance(self.system, AbstractDiscreteSystem):
            return self.system
        return discretise(self.system, RK4(), dt=self.dt, substeps=self.substeps)

    def is_admissible(self, x: Float[Array, "*batch x"]) -> Bool[Array, "*batch"]:
        """Whether all states are in their ranges; false where one is not a number."""
        return jnp.all((x >= self.x_low) & (x <= self.x_high), axis=-1)
