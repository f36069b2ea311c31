"""Functions with one zero, at the origin, that are positive elsewhere."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from sciml.core import invalid

from ._checks import number


class PositiveDefiniteNet(eqx.Module):
    """`V(x) = s(g(x) - g(0)) + floor ‖x‖²` with a smoothed ReLU `s`: `V(0) = 0`, and `V(x) > 0` elsewhere.

    `s(r)` is 0 for `r <= 0`, `r²/(2 knee)` up to `knee` and `r - knee/2` beyond. Choose it for Lyapunov functions and
    storage functions. With an `InputConvexMLP` for `g` it is convex, so that the gradient is zero at the origin only;
    other networks may leave local minima. For another equilibrium `x*`, call it with `x - x*`.

    `floor` and `knee` are Python floats: they are saved with the network, and no optimiser changes them.

    Gradient: once continuously differentiable if `g` is.

    Source: J. Z. Kolter & G. Manek (2019), *Learning Stable Deep Dynamics Models*, NeurIPS, equation 12, without the
    invertible warping of `x`.

    Examples:
        ```python
        g = sciml.nn.InputConvexMLP(2, 1, width=8, depth=2, key=jax.random.key(0))
        V = sciml.nn.PositiveDefiniteNet(g, floor=0.01)
        assert V(jnp.zeros(2)) == 0.0 and V(jnp.array([0.3, -0.1])) > 0.0
        ```
    """

    g: Callable
    floor: float
    knee: float

    def __init__(self, g: Callable, *, floor: float = 0.01, knee: float = 1.0):
        """Args:
            g: a network from the state to one number, of shape () or (1,).
            floor: weight of `‖x‖²`, finite, > 0; the least `V(x)/‖x‖²`. Small, so that `g` gives `V` its shape.
            knee: width of the quadratic part of `s`, finite, > 0, in the unit of `g`.

        Raises:
            ValueError: `floor` or `knee` is not a finite number > 0.
        """
        for argument, got in (("floor", floor), ("knee", knee)):
            if not 0 < got < math.inf:
                raise invalid(argument, got, "a finite number > 0", "leave the default")
        self.g, self.floor, self.knee = g, float(floor), float(knee)

    def __call__(self, x: Float[Array, " x"], *, key: Any = None) -> Float[Array, ""]:
        """`V(x)` for one state; `key` is not used.

        Raises:
            ValueError: `g` returns more than one number.
        """
        here, origin = jnp.asarray(self.g(x)), jnp.asarray(self.g(jnp.zeros_like(x)))
        if here.size != 1:
            raise invalid("g", f"an output of shape {here.shape}", "one number", "build the network with out_size = 1")
        rise = jnp.reshape(here - origin, ())
        knee = number(self.knee, rise)
        bent = jnp.clip(rise, 0, knee)
        # r²/(2 knee) on [0, knee], then slope 1
        return bent**2 / (2 * knee) + jnp.maximum(rise - knee, 0) + number(self.floor, x) * jnp.sum(x**2)
