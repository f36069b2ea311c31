"""Pendulums and forced oscillators; the van der Pol oscillator has its own file."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import like, parameter


class UniversalOscillator(AbstractContinuousSystem):
    """`dx1 = x2`, `dx2 = -2 mu x2 - x1 + cos(omega t)`: a damped oscillator under a harmonic force, dimensionless.

    Time is counted in the inverse of the natural frequency; `mu` is the damping ratio, overdamped above 1.

    Source: the universal oscillator equation, for instance Thornton & Marion (2003), Classical Dynamics, section 3.6;
    parameters of NeuroMANCER 1.5.
    """

    mu: Float[Array, ""] = eqx.field(converter=parameter, default=2.0)
    """Damping ratio, >= 0."""
    omega: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Frequency of the force over the natural frequency."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: object) -> Float[Array, "2"]:
        """The state derivatives; there is no input."""
        force = jnp.cos(self.omega * like(jnp.asarray(t), x))
        return jnp.stack([x[1], -2 * self.mu * x[1] - x[0] + force])


class Pendulum(AbstractContinuousSystem):
    """`dx1 = x2`, `dx2 = -friction x2 - gravity sin(x1)`: a damped pendulum; angle [rad] from below, rate [rad/s].

    Time in s; the rod is 1 m long. Without friction, the energy `x2**2 / 2 - gravity cos(x1)` is constant.

    Source: the plane pendulum; parameters of NeuroMANCER 1.5.
    """

    gravity: Float[Array, ""] = eqx.field(converter=parameter, default=9.81)
    """Gravity over length, 1/s^2."""
    friction: Float[Array, ""] = eqx.field(converter=parameter, default=3.0)
    """Friction, 1/s."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: object) -> Float[Array, "2"]:
        """The state derivatives; there is no input."""
        return jnp.stack([x[1], -self.friction * x[1] - self.gravity * jnp.sin(x[0])])


class DoublePendulum(AbstractContinuousSystem):
    """Two point masses on massless rods in a plane, without friction; chaotic at large angles.

    State `(a1, w1, a2, w2)`: angles [rad] from below and their rates [rad/s]; time in s. With `d = a1 - a2`:

        (m1 + m2) l1 dw1 + m2 l2 dw2 cos d = -m2 l2 w2^2 sin d - (m1 + m2) g sin a1
        l2 dw2 + l1 dw1 cos d              =     l1 w1^2 sin d -           g sin a2

    solved for the accelerations. The energy is constant.

    Source: Landau & Lifshitz (1976), Mechanics, section 5, problem 1; parameters of NeuroMANCER 1.5.
    """

    length1: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Upper rod, m."""
    length2: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Lower rod, m."""
    mass1: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Upper mass, kg."""
    mass2: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Lower mass, kg."""
    gravity: Float[Array, ""] = eqx.field(converter=parameter, default=9.81)
    """Gravity, m/s^2."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "4"], u: object) -> Float[Array, "4"]:
        """The state derivatives; there is no input."""
        a1, w1, a2, w2 = x
        mass = self.mass1 + self.mass2
        cos, sin = jnp.cos(a1 - a2), jnp.sin(a1 - a2)
        # With p = l1 dw1 and q = l2 dw2:  mass p + m2 cos q = one,  cos p + q = other.
        one = -self.mass2 * self.length2 * w2**2 * sin - mass * self.gravity * jnp.sin(a1)
        other = self.length1 * w1**2 * sin - self.gravity * jnp.sin(a2)
        p = (one - self.mass2 * cos * other) / (self.mass1 + self.mass2 * sin**2)
        return jnp.stack([w1, p / self.length1, w2, (other - cos * p) / self.length2])


class InvertedPendulum(AbstractContinuousSystem):
    """`m l^2 ddθ = m g l sin θ - b dθ + u`: a pendulum upright at `θ = 0` under a torque `u` [N m], shape `(1,)`.

    State `(θ, dθ)`: angle [rad] from above and rate [rad/s]; time in s. The upright position is unstable.

    Source: the plane pendulum; parameters of NeuroMANCER 1.5.
    """

    gravity: Float[Array, ""] = eqx.field(converter=parameter, default=9.81)
    """Gravity, m/s^2."""
    length: Float[Array, ""] = eqx.field(converter=parameter, default=0.5)
    """Length, m."""
    mass: Float[Array, ""] = eqx.field(converter=parameter, default=0.15)
    """Mass, kg."""
    friction: Float[Array, ""] = eqx.field(converter=parameter, default=0.1)
    """Friction `b`, N m s."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "1"]) -> Float[Array, "2"]:
        """The state derivatives."""
        torque = self.mass * self.gravity * self.length * jnp.sin(x[0]) - self.friction * x[1] + u[0]
        return jnp.stack([x[1], torque / (self.mass * self.length**2)])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, a torque: `(1,)`."""
        return (1,)


class Duffing(AbstractContinuousSystem):
    """`dx1 = x2`, `dx2 = -delta x2 - alpha x1 - beta x1**3 + gamma cos(omega t)`, dimensionless.

    An oscillator with a cubic spring under a harmonic force; chaotic for some parameters.

    Source: Duffing (1918), Erzwungene Schwingungen bei veraenderlicher Eigenfrequenz, Vieweg; parameters of
    NeuroMANCER 1.5.
    """

    alpha: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Linear stiffness."""
    beta: Float[Array, ""] = eqx.field(converter=parameter, default=5.0)
    """Cubic stiffness."""
    delta: Float[Array, ""] = eqx.field(converter=parameter, default=0.02)
    """Damping, >= 0."""
    gamma: Float[Array, ""] = eqx.field(converter=parameter, default=8.0)
    """Amplitude of the force."""
    omega: Float[Array, ""] = eqx.field(converter=parameter, default=0.5)
    """Frequency of the force."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: object) -> Float[Array, "2"]:
        """The state derivatives; there is no input."""
        return self.at_phase(self.omega * like(jnp.asarray(t), x), x)

    def at_phase(self, phase: Float[Array, ""], x: Float[Array, "2"]) -> Float[Array, "2"]:
        """The state derivatives where the force is `gamma cos(phase)`; `phase` in rad."""
        spring = self.alpha * x[0] + self.beta * x[0] ** 3
        return jnp.stack([x[1], -self.delta * x[1] - spring + self.gamma * jnp.cos(phase)])


class DuffingControl(AbstractContinuousSystem):
    """The Duffing oscillator whose force is `gamma cos(omega u)`, with the input `u`, shape `(1,)`, in place of time.

    Everything else as in `Duffing`, which it holds.

    Source: NeuroMANCER 1.5.
    """

    duffing: Duffing = eqx.field(default_factory=Duffing)

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "1"]) -> Float[Array, "2"]:
        """The state derivatives."""
        return self.duffing.at_phase(self.duffing.omega * u[0], x)

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, which stands for the time of the force: `(1,)`."""
        return (1,)
