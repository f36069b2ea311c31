"""Process plants: a stirred-tank reactor and a single tank; the coupled tanks have their own files."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter


class CSTR(AbstractContinuousSystem):
    """An exothermic first-order reaction in a stirred tank, cooled by a jacket at `u` [K], shape `(1,)`.

        dC = q / V (feed - C) - r                                r = k0 exp(-activation / T) C
        dT = q / V (feed_temperature - T) + heat / (rho cp) r + UA / (V rho cp) (u - T)

    States: concentration `C` [mol/l] and temperature `T` [K]; time in min. With `u = 300` K, `C = 0.87725` and
    `T = 324.475` are an equilibrium; the reactor oscillates or runs hot if the jacket is a few kelvin warmer.

    Source: Seborg, Edgar, Mellichamp & Doyle (2011), Process Dynamics and Control, 3rd ed., example 2.5 and table 2.3,
    in litres and minutes; NeuroMANCER 1.5 has the same numbers and calls them cubic metres and seconds.
    """

    flow: Float[Array, ""] = eqx.field(converter=parameter, default=100.0)
    """Flow `q`, l/min."""
    volume: Float[Array, ""] = eqx.field(converter=parameter, default=100.0)
    """Volume `V`, l."""
    density: Float[Array, ""] = eqx.field(converter=parameter, default=1000.0)
    """Density `rho`, g/l."""
    heat_capacity: Float[Array, ""] = eqx.field(converter=parameter, default=0.239)
    """Heat capacity `cp`, J/(g K)."""
    heat: Float[Array, ""] = eqx.field(converter=parameter, default=5e4)
    """Heat of the reaction, J/mol, positive where it heats."""
    activation: Float[Array, ""] = eqx.field(converter=parameter, default=8750.0)
    """Activation energy over the gas constant, K."""
    k0: Float[Array, ""] = eqx.field(converter=parameter, default=7.2e10)
    """Frequency factor, 1/min."""
    transfer: Float[Array, ""] = eqx.field(converter=parameter, default=5e4)
    """Heat transfer `UA`, J/(min K)."""
    feed_temperature: Float[Array, ""] = eqx.field(converter=parameter, default=350.0)
    """Temperature of the feed, K."""
    feed: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Concentration of the feed, mol/l."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "1"]) -> Float[Array, "2"]:
        """The state derivatives, per minute."""
        concentration, temperature = x
        dilution = self.flow / self.volume
        capacity = self.density * self.heat_capacity
        rate = self.k0 * jnp.exp(-self.activation / temperature) * concentration
        jacket = self.transfer / (self.volume * capacity) * (u[0] - temperature)
        heating = dilution * (self.feed_temperature - temperature) + self.heat / capacity * rate + jacket
        return jnp.stack([dilution * (self.feed - concentration) - rate, heating])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, the jacket's temperature: `(1,)`."""
        return (1,)


class Tank(AbstractContinuousSystem):
    """`dx = u1 u2 / (density area)`: the level [m] of a tank that a valve fills and nothing drains; time in s.

    Inputs, shape `(2,)`: the valve's coefficient `u1` [kg/s per % open] and its opening `u2` [%], both >= 0.

    Source: NeuroMANCER 1.5, after Hedengren, APMonitor, tank level.
    """

    density: Float[Array, ""] = eqx.field(converter=parameter, default=1000.0)
    """Density of the liquid, kg/m^3."""
    area: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Cross-section of the tank, m^2."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "1"], u: Float[Array, "2"]) -> Float[Array, "1"]:
        """The rate of the level, m/s."""
        return (u[0] * u[1] / (self.density * self.area))[None]

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, coefficient and opening of the valve: `(2,)`."""
        return (2,)
