"""Two tanks in series with a pump and a valve."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter
from .._smooth import safe_sqrt

# Levels above the brim (1) drain over it at this rate [1/s] per unit of level, rounded over this width.
_SPILL_RATE = 10.0
_SPILL_WIDTH = 2e-3


class TwoTank(AbstractContinuousSystem):
    """Two gravity-drained tanks: `u = (p, v)` is pump power and valve opening, the states are levels in [0, 1].

        dh1/dt = c1 (1 - v) p - c2 sqrt(h1)                  - spill(h1)
        dh2/dt = c1 v p       + c2 sqrt(h1) - c2 sqrt(h2)    - spill(h2)

    Time in s, levels as fractions of the tank's height, `0 <= p, v <= 1`. The root is `safe_sqrt` (finite slope at an
    empty tank). A full tank spills: `spill(h) = 10 s w softplus((h - 1) / w)`, with `w = 0.002`, smooth, so that levels
    stay below about `1 + c1 / 10`, here 1.008; at a level of 0.99 it is below 1.4e-4 of a unit per second. The
    rate of the stiffest mode is 10 1/s: with `dt = 1` take `discretise(..., substeps=5)` or more if tanks may overflow
    (RK4 is stable for `h < 0.27` s there).

    Source: TwoTank of the PSL model collection of NeuroMANCER 1.5 (2023), c1 = 0.08, c2 = 0.04, which clips the levels
    to [0, 1] instead; the spill here replaces the clip, whose gradient is zero.
    """

    c1: Float[Array, ""]
    """Inflow at full pump power, levels per s."""
    c2: Float[Array, ""]
    """Outflow coefficient, 1/s."""

    def __init__(self, c1: ArrayLike = 0.08, c2: ArrayLike = 0.04):
        """Inflow coefficient `c1` and outflow coefficient `c2`, both > 0."""
        self.c1, self.c2 = parameter(c1), parameter(c2)

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "2"]) -> Float[Array, "2"]:
        """The rates of the two levels, 1/s."""
        p, v = u[0], u[1]
        upper, lower = self.c2 * safe_sqrt(x[0]), self.c2 * safe_sqrt(x[1])
        spill = _SPILL_RATE * _SPILL_WIDTH * jax.nn.softplus((x - 1) / _SPILL_WIDTH)
        return jnp.stack([self.c1 * (1 - v) * p - upper, self.c1 * v * p + upper - lower]) - spill

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, pump power and valve opening: `(2,)`."""
        return (2,)
