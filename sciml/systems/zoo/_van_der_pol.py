"""The van der Pol oscillator, in phase and in Lienard coordinates."""

import equinox as eqx
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


class VanDerPolLienard(AbstractContinuousSystem):
    """`dx1 = mu (x1 - x1**3 / 3 - x2)`, `dx2 = x1 / mu`: the van der Pol oscillator in Lienard coordinates.

    `(x1, mu (x1 - x1**3 / 3 - x2))` is the state of `VanDerPol` without a force: the same motion, dimensionless.

    Source: Lienard (1928), Etude des oscillations entretenues, Revue generale de l'electricite 23, 901-912 and 946-954;
    the form of NeuroMANCER 1.5.
    """

    mu: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Damping, > 0."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: object) -> Float[Array, "2"]:
        """The state derivatives; there is no input."""
        return jnp.stack([self.mu * (x[0] - x[0] ** 3 / 3 - x[1]), x[0] / self.mu])
