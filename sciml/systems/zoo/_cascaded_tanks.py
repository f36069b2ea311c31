"""The cascaded tanks of the nonlinear system identification benchmark."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter

_SPILL_RATE = 0.35  # 1/s: how fast a level above the brim spills
_SPILL_WIDTH = 0.05  # V: how sharp the brim is
_SENSOR_LIMIT = 10.0  # V


class CascadedTanks(AbstractContinuousSystem):
    """Two tanks, one above the other; a pump fills the upper one, the level of the lower one is measured.

        dx1/dt = ratio (pump - q1) - spill1
        dx2/dt = q1 + share spill1 / ratio - q2 - spill2
        dv/dt  = (u - v) / lag                                  pump = gain softplus(v - dead), rounded over 0.1 V
        ds/dt  = trip spill1 (1 - s) - s σ((release - x2) / 0.05) / 2
        y      = min(x2 + bias s, 10)
        q1     = outflow1 ((x1 + head1) / (10 + head1))^power1 + jet1 σ((x1 - at1) / width1)
        q2     = outflow2 (x2 / 10)^power2 + jet2 σ((x2 - at2) / width2)

    States `(x1, x2, v, s)`: the two levels in sensor volts (the upper brim is at 10 V by definition), the pump voltage
    behind its lag [V], and a relay in [0, 1]; input `u`, the pump voltage [V], shape `(1,)`; output `y` [V], shape
    `(1,)`; time in s. `σ` is the logistic function, `spill(x) = 0.35 softplus(x - brim)` per second, rounded over
    0.05 V. Outflows follow Bernoulli's law (power near 1/2) plus a part that starts above a level; a share of what
    leaves the upper brim falls into the lower tank; the sensor saturates at 10 V. The relay stands for what the record
    shows after an overflow: the sensor reads too high by a constant until the level has fallen to `release`,
    then drops within one sample. Gradients are finite at empty tanks. Defaults: this library's estimate from the
    benchmark's training record.

    Source: Schoukens & Noël (2017), Three benchmarks addressing open challenges in nonlinear system identification,
    DOI 10.1016/j.ifacol.2017.08.071, equations (1)-(3), for levels, overflow and saturation; thresholds, lag, relay are
    additions of this library, chosen on the training record.
    """

    ratio: Float[Array, ""]
    outflow1: Float[Array, ""]
    power1: Float[Array, ""]
    head1: Float[Array, ""]
    outflow2: Float[Array, ""]
    power2: Float[Array, ""]
    gain: Float[Array, ""]
    dead: Float[Array, ""]
    share: Float[Array, ""]
    brim2: Float[Array, ""]
    lag: Float[Array, ""]
    jet1: Float[Array, ""]
    at1: Float[Array, ""]
    width1: Float[Array, ""]
    jet2: Float[Array, ""]
    at2: Float[Array, ""]
    width2: Float[Array, ""]
    bias: Float[Array, ""]
    release: Float[Array, ""]
    trip: Float[Array, ""]

    def __init__(
        self,
        ratio: ArrayLike = 0.585,
        outflow1: ArrayLike = 0.133,
        power1: ArrayLike = 0.562,
        head1: ArrayLike = 0.269,
        outflow2: ArrayLike = 0.1445,
        power2: ArrayLike = 0.519,
        gain: ArrayLike = 0.0622,
        dead: ArrayLike = 0.844,
        share: ArrayLike = 0.565,
        brim2: ArrayLike = 10.02,
        lag: ArrayLike = 6.64,
        jet1: ArrayLike = 0.0168,
        at1: ArrayLike = 7.81,
        width1: ArrayLike = 0.461,
        jet2: ArrayLike = 0.0174,
        at2: ArrayLike = 3.245,
        width2: ArrayLike = 0.337,
        bias: ArrayLike = 0.346,
        release: ArrayLike = 5.36,
        trip: ArrayLike = 6.49,
    ):
        """Args:
        ratio: area of the lower tank over that of the upper one.
        outflow1, outflow2: outflow of a full tank, V/s of the lower level.
        power1, power2: exponents of the outflows, near 1/2.
        head1: height of the upper outlet above its tank's bottom, V.
        gain: inflow per pump voltage, 1/s.
        dead: pump voltage below which nothing flows, V.
        share: part of the upper tank's overflow that reaches the lower tank.
        brim2: brim of the lower tank, V.
        lag: time constant of the pump, s.
        jet1, at1, width1, jet2, at2, width2: additional outflow [V/s] above a level [V], and how sharply it starts [V].
        bias, release, trip: the relay's effect on the sensor [V], its level of release [V], its speed [1/V].
        """
        self.ratio, self.outflow1, self.power1 = parameter(ratio), parameter(outflow1), parameter(power1)
        self.head1, self.outflow2, self.power2 = parameter(head1), parameter(outflow2), parameter(power2)
        self.gain, self.dead, self.share = parameter(gain), parameter(dead), parameter(share)
        self.brim2, self.lag = parameter(brim2), parameter(lag)
        self.jet1, self.at1, self.width1 = parameter(jet1), parameter(at1), parameter(width1)
        self.jet2, self.at2, self.width2 = parameter(jet2), parameter(at2), parameter(width2)
        self.bias, self.release, self.trip = parameter(bias), parameter(release), parameter(trip)

    def vector_field(self, t: ArrayLike, x: Float[Array, "4"], u: Float[Array, "1"]) -> Float[Array, "4"]:
        """The rates of the levels [V/s], of the pump [V/s] and of the relay [1/s]."""
        rates, spill1 = self._flows(x[:3], u)
        relay = self.trip * spill1 * (1 - x[3]) - x[3] * jax.nn.sigmoid((self.release - x[1]) / 0.05) / 2
        return jnp.append(rates, relay)

    def output(self, t: ArrayLike, x: Float[Array, "4"], u: Float[Array, "1"] | None) -> Float[Array, "1"]:
        """The sensor: the lower level, biased by the relay, saturated at 10 V."""
        return jnp.minimum(x[1:2] + self.bias * x[3:4], _SENSOR_LIMIT)

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input `u`, the pump voltage: `(1,)`."""
        return (1,)

    def _flows(self, x: Float[Array, "3"], u: Float[Array, "1"]) -> tuple[Float[Array, "3"], Float[Array, ""]]:
        """Rates of `(x1, x2, v)`, and the upper tank's spill."""
        x1, x2, v = x
        pump = self.gain * _softplus(v - self.dead, 0.1)
        full1 = _positive(x1 + self.head1) / (10.0 + self.head1)
        q1 = self.outflow1 * full1**self.power1 + self.jet1 * jax.nn.sigmoid((x1 - self.at1) / self.width1)
        q2 = self.outflow2 * (_positive(x2) / 10.0) ** self.power2
        q2 = q2 + self.jet2 * jax.nn.sigmoid((x2 - self.at2) / self.width2)
        spill1 = _SPILL_RATE * _softplus(x1 - 10.0, _SPILL_WIDTH)
        spill2 = _SPILL_RATE * _softplus(x2 - self.brim2, _SPILL_WIDTH)
        upper = self.ratio * (pump - q1) - spill1
        lower = q1 + self.share * spill1 / self.ratio - q2 - spill2
        return jnp.stack([upper, lower, (u[0] - v) / self.lag]), spill1


class TankLevels(AbstractContinuousSystem):
    """`CascadedTanks` reduced to the states that matter for control, `(x1, x2, v)`, without the sensor's relay.

    Levels and pump do not depend on the relay, so this is exact. Output: the lower level itself, shape `(1,)`.

    Args:
        tanks: the complete plant.
    """

    tanks: CascadedTanks = eqx.field(default_factory=CascadedTanks)

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: Float[Array, "1"]) -> Float[Array, "3"]:
        """The rates of the levels and of the pump, V/s."""
        return self.tanks._flows(x, u)[0]

    def output(self, t: ArrayLike, x: Float[Array, "3"], u: Float[Array, "1"] | None) -> Float[Array, "1"]:
        """The lower level [V], shape `(1,)`."""
        return x[1:2]

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input `u`, the pump voltage: `(1,)`."""
        return (1,)


def _softplus(x: Float[Array, ""], width: float) -> Float[Array, ""]:
    return width * jax.nn.softplus(x / width)


def _positive(x: Float[Array, ""]) -> Float[Array, ""]:
    """`max(x, 0)` rounded over 0.1 V, positive and with finite slope of its powers everywhere."""
    return 0.5 * (x + jnp.sqrt(x**2 + 1e-2)) + 1e-4
