"""The van der Pol oscillator."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter


class VanDerPol(AbstractContinuousSystem):
    """`dx1 = x2`, `dx2 = mu (1 - x1**2) x2 - x1 + u`: a self-excited oscillator with a force input, dimensionless.

    Nonlinear and smooth: the usual first test of identification and control. The limit cycle has amplitude close to 2;
    the period grows from 2 pi (`mu = 0`) and the system becomes stiff for `mu >> 1`.

    Source: van der Pol (1926), On relaxation-oscillations, Philosophical Magazine 2(11), 978-992,
    doi:10.1080/14786442608564127; here with an additive input.
    """

    mu: Float[Array, ""]
    """Damping, >= 0, dimensionless."""

    def __init__(self, mu: ArrayLike = 1.0):
        """Damping `mu`, 1 in most texts."""
        self.mu = parameter(mu)

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "1"] | None) -> Float[Array, "2"]:
        """The state derivatives; without an input, the force is zero."""
        acceleration = self.mu * (1 - x[0] ** 2) * x[1] - x[0]
        return jnp.stack([x[1], acceleration if u is None else acceleration + u[0]])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, a force: `(1,)`."""
        return (1,)
