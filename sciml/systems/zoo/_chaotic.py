"""Chaotic systems: Lorenz, Thomas, Roessler, Chua."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter


class Lorenz(AbstractContinuousSystem):
    """`dx1 = sigma (x2 - x1)`, `dx2 = x1 (rho - x3) - x2`, `dx3 = x1 x2 - beta x3`, dimensionless.

    Chaotic with the default parameters: the largest Lyapunov exponent is 0.906.

    Source: Lorenz (1963), Deterministic nonperiodic flow, J. Atmos. Sci. 20(2), 130-141, equations (25)-(27).
    """

    sigma: Float[Array, ""] = eqx.field(converter=parameter, default=10.0)
    """Prandtl number."""
    beta: Float[Array, ""] = eqx.field(converter=parameter, default=8.0 / 3.0)
    """Aspect of the convection cells."""
    rho: Float[Array, ""] = eqx.field(converter=parameter, default=28.0)
    """Rayleigh number over its critical value."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: object) -> Float[Array, "3"]:
        """The state derivatives; there is no input."""
        return jnp.stack([self.sigma * (x[1] - x[0]), x[0] * (self.rho - x[2]) - x[1], x[0] * x[1] - self.beta * x[2]])


class LorenzControl(AbstractContinuousSystem):
    """The Lorenz system with two inputs, shape `(2,)`: `u1` is added to `dx1`, and `u2` subtracted from `dx3`.

    Everything else as in `Lorenz`, which it holds.

    Source: NeuroMANCER 1.5, after Kaiser, Kutz & Brunton (2018), Sparse identification of nonlinear dynamics for model
    predictive control in the low-data limit, Proc. R. Soc. A 474, doi:10.1098/rspa.2018.0335.
    """

    lorenz: Lorenz = eqx.field(default_factory=Lorenz)

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: Float[Array, "2"]) -> Float[Array, "3"]:
        """The state derivatives."""
        return self.lorenz.vector_field(t, x, None) + jnp.stack([u[0], jnp.zeros_like(u[0]), -u[1]])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input: `(2,)`."""
        return (2,)


class Thomas(AbstractContinuousSystem):
    """`dx1 = sin x2 - b x1`, `dx2 = sin x3 - b x2`, `dx3 = sin x1 - b x3`: cyclically symmetric, dimensionless.

    Every orbit ends in the cube `|x| <= 1 / b`. Chaotic for `b` below about 0.208.

    Source: Thomas (1999), Deterministic chaos seen in terms of feedback circuits, Int. J. Bifurcation and Chaos 9(10),
    1889-1905, doi:10.1142/S0218127499001383.
    """

    b: Float[Array, ""] = eqx.field(converter=parameter, default=0.208186)
    """Friction, >= 0."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: object) -> Float[Array, "3"]:
        """The state derivatives; there is no input."""
        return jnp.sin(jnp.roll(x, -1)) - self.b * x


class ThomasControl(AbstractContinuousSystem):
    """The Thomas system whose friction is the input, `b = u`, shape `(1,)`, and whose sines have the factor `strength`.

    `dx_i = strength sin(x_{i+1}) - u x_i`, dimensionless; unstable for `u < 0`.

    Source: NeuroMANCER 1.5, with `strength = 1`.
    """

    strength: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Factor of the sines."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: Float[Array, "1"]) -> Float[Array, "3"]:
        """The state derivatives."""
        return self.strength * jnp.sin(jnp.roll(x, -1)) - u[0] * x

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, the friction: `(1,)`."""
        return (1,)


class Rossler(AbstractContinuousSystem):
    """`dx1 = -x2 - x3`, `dx2 = x1 + a x2`, `dx3 = b + x3 (x1 - c)`: chaos from one product, dimensionless.

    Source: Roessler (1976), An equation for continuous chaos, Physics Letters A 57(5), 397-398,
    doi:10.1016/0375-9601(76)90101-8.
    """

    a: Float[Array, ""] = eqx.field(converter=parameter, default=0.2)
    b: Float[Array, ""] = eqx.field(converter=parameter, default=0.2)
    c: Float[Array, ""] = eqx.field(converter=parameter, default=5.7)

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: object) -> Float[Array, "3"]:
        """The state derivatives; there is no input."""
        return jnp.stack([-x[1] - x[2], x[0] + self.a * x[1], self.b + x[2] * (x[0] - self.c)])


class Chua(AbstractContinuousSystem):
    """`dx1 = a (x2 - x1 - f(x1))`, `dx2 = x1 - x2 + x3`, `dx3 = -b x2`: an electronic circuit, dimensionless.

    `f(x) = m1 x + (m0 - m1) (|x + 1| - |x - 1|) / 2` is a resistance with slope `m0` inside [-1, 1] and `m1` outside:
    the derivative with respect to the state jumps at `|x1| = 1`. Double scroll with the default parameters; orbits that
    start far outside diverge.

    Source: Matsumoto (1984), A chaotic attractor from Chua's circuit, IEEE Trans. Circuits and Systems 31(12),
    1055-1058, doi:10.1109/TCS.1984.1085459; parameters of NeuroMANCER 1.5.
    """

    a: Float[Array, ""] = eqx.field(converter=parameter, default=15.6)
    b: Float[Array, ""] = eqx.field(converter=parameter, default=28.0)
    m0: Float[Array, ""] = eqx.field(converter=parameter, default=-1.143)
    """Slope of the resistance inside."""
    m1: Float[Array, ""] = eqx.field(converter=parameter, default=-0.714)
    """Slope of the resistance outside."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: object) -> Float[Array, "3"]:
        """The state derivatives; there is no input."""
        f = self.m1 * x[0] + 0.5 * (self.m0 - self.m1) * (jnp.abs(x[0] + 1) - jnp.abs(x[0] - 1))
        return jnp.stack([self.a * (x[1] - x[0] - f), x[0] - x[1] + x[2], -self.b * x[1]])
