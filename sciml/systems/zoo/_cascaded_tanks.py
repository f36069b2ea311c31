"""The cascaded tanks of the nonlinear system identification benchmark."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter
from .._smooth import safe_sqrt

_SPILL_RATE = 2.0
_SPILL_WIDTH = 0.05


class CascadedTanks(AbstractContinuousSystem):
    """Two tanks, one above the other; a pump fills the upper one, the level of the lower one is measured.

        dx1/dt = -k1 sqrt(x1) + k4 u                - spill(x1)
        dx2/dt =  k2 sqrt(x1) - k3 sqrt(x2)         + k5 spill(x1) - spill(x2)
        y      =  min(x2, 10)

    States: levels in sensor volts, time in s, `u` the pump voltage [V] (shape `(1,)`). A level above the brim
    `x_max` spills `spill(x) = rate w softplus((x - x_max) / w)`, with `rate = 2` 1/s and `w = 0.05` V; a part `k5` of
    what leaves the upper tank falls into the lower one. The sensor saturates at 10 V. Gradients are finite at empty
    tanks (`safe_sqrt`). The defaults are of the size that identification on the record gives, not exact values.

    Source: Schoukens & Noel (2017), Three benchmarks addressing open challenges in nonlinear system identification,
    IFAC-PapersOnLine 50(1), 446-451, doi:10.1016/j.ifacol.2017.08.071, eq. (1)-(3); the smooth overflow is ours, after
    Holmes, Rogers, Worden & Cross (2018).
    """

    k1: Float[Array, ""]
    """Outflow of the upper tank, sqrt(V)/s."""
    k2: Float[Array, ""]
    """Inflow of the lower tank from the upper, sqrt(V)/s."""
    k3: Float[Array, ""]
    """Outflow of the lower tank, sqrt(V)/s."""
    k4: Float[Array, ""]
    """Inflow per pump voltage, 1/s."""
    k5: Float[Array, ""]
    """Part of the upper tank's overflow that reaches the lower tank, in [0, 1]."""
    x_max: Float[Array, ""]
    """Level of the brim, V."""

    def __init__(
        self,
        k1: ArrayLike = 0.05,
        k2: ArrayLike = 0.05,
        k3: ArrayLike = 0.05,
        k4: ArrayLike = 0.04,
        k5: ArrayLike = 0.3,
        x_max: ArrayLike = 10.0,
    ):
        """The coefficients, each > 0."""
        self.k1, self.k2, self.k3 = parameter(k1), parameter(k2), parameter(k3)
        self.k4, self.k5, self.x_max = parameter(k4), parameter(k5), parameter(x_max)

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "1"]) -> Float[Array, "2"]:
        """The rates of the two levels, V/s."""
        roots = safe_sqrt(x, 1e-4)
        spill = _SPILL_RATE * _SPILL_WIDTH * jax.nn.softplus((x - self.x_max) / _SPILL_WIDTH)
        upper = self.k4 * u[0] - self.k1 * roots[0] - spill[0]
        lower = self.k2 * roots[0] - self.k3 * roots[1] + self.k5 * spill[0] - spill[1]
        return jnp.stack([upper, lower])

    def output(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "1"] | None) -> Float[Array, "1"]:
        """The sensor: the lower level, saturated at 10 V."""
        return jnp.minimum(x[1:], 10.0)

    def input_shape(self) -> tuple[int, ...]:
        """`(1,)`."""
        return (1,)
