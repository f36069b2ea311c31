"""How a free run begins: the initial state from what a record holds."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sciml.core import invalid
from sciml.sources import Record

from ._networks import zero_network


class AbstractStart(eqx.Module):
    """A rule that gives the state at sample `lag` of a record, from the samples before it."""

    lag: eqx.AbstractVar[int]
    """Samples that are used up; the free run begins there and is judged from there on."""

    @abstractmethod
    def __call__(self, record: Record) -> Any:
        """The state at sample `lag` of one record."""

    @property
    def is_measured_state(self) -> bool:
        """Whether the state is the measurement of sample `lag` itself, so that this sample is no prediction."""
        return False

    def is_known(self, record: Record) -> Bool[Array, ""]:
        """Whether the samples that the start cannot do without were measured."""
        return jnp.asarray(True)


class Measured(AbstractStart):
    """The first measurement is the state: for models whose outputs are all of their states."""

    lag: int = eqx.field(static=True, default=0)

    def __call__(self, record: Record) -> Float[Array, " state"]:
        """`y[lag]`."""
        return record.y[self.lag]

    @property
    def is_measured_state(self) -> bool:
        """True."""
        return True

    def is_known(self, record: Record) -> Bool[Array, ""]:
        """Whether sample `lag` was measured in all channels."""
        return jnp.all(record.is_measured[self.lag])


class Constant(AbstractStart):
    """The same state at the start of every record, trained with the model: for experiments that start at rest."""

    x0: Any
    lag: int = eqx.field(static=True, default=0)

    def __call__(self, record: Record) -> Any:
        """`x0`."""
        return self.x0


class Encoder(AbstractStart):
    """`x[lag] = W z + N(z)` of the first `lag` inputs and outputs `z`: for hidden states, with any number of windows.

    Missing samples enter as 0, so scale the records first. The network starts as zero.

    Source: Beintema, Toth & Schoukens (2023), Deep subspace encoders for nonlinear system identification, DOI
    10.1016/j.automatica.2023.111210, equation (7).
    """

    W: Float[Array, "state past"]
    network: eqx.nn.MLP | None
    lag: int = eqx.field(static=True)

    def __init__(
        self,
        state_size: int,
        input_size: int,
        output_size: int,
        *,
        lag: int,
        width: int = 16,
        depth: int = 1,
        activation: Callable[[Array], Array] = jax.nn.tanh,
        key: PRNGKeyArray,
    ):
        """Args:
            state_size, input_size, output_size: numbers of channels.
            lag: samples to look at, >= 1; a few times the number of states.
            width, depth: of the hidden layers; width 0 for a linear encoder.
            activation: of the hidden layers.
            key: of the initial weights.

        Raises:
            ValueError: `lag < 1`.
        """
        if lag < 1:
            raise invalid("lag", lag, "an integer >= 1", "take two or three times the number of states")
        past = lag * (input_size + output_size)
        kw, kn = jr.split(key)
        self.W = jr.normal(kw, (state_size, past)) / past**0.5
        self.network = zero_network(past, state_size, width, depth, activation, kn) if width else None
        self.lag = lag

    def __call__(self, record: Record) -> Float[Array, " state"]:
        """The state at sample `lag`."""
        y = jnp.where(record.is_measured, record.y, 0)[: self.lag].ravel()
        z = y if record.u is None else jnp.concatenate([y, record.u[: self.lag].ravel()])
        return self.W @ z if self.network is None else self.W @ z + self.network(z)


class Started(eqx.Module):
    """A model and how its free runs begin; the losses of records fit both together.

    Args:
        system: the model, continuous or discrete.
        start: `Measured()`, `Constant(x0)`, `Encoder(...)`, or a rule of your own.
    """

    system: Any
    start: AbstractStart = eqx.field(default_factory=Measured)
