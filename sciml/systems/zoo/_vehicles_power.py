"""An underwater vehicle, its actuators, and a synchronous generator."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter


class UnderwaterVehicle(AbstractContinuousSystem):
    """A torpedo-shaped underwater vehicle (Iver) in pitch, yaw and surge, with actuators; no roll, sway or currents.

        dpitch = q                   dyaw = r / cos(pitch)                    du = x_uu u**2 + thrust a
        dq = m_uq u q + m_q q - buoyancy sin(pitch) + elevator u**2 b         dr = n_ur u r + rudder u**2 c
        da = rate (a_c - a)          db = rate (b_c - b)                      dc = rate (c_c - c)

    States `(pitch, yaw, u, q, r, a, b, c)`: angles [rad], surge speed [m/s], pitch and yaw rate [rad/s], and thrust,
    elevator and rudder deflection, normalised to [0, 1], [-1, 1], [-1, 1]. Inputs `(a_c, b_c, c_c)`, shape `(3,)`: what
    is asked of these three. Time in s. The Euler angles are singular at `pitch = ±pi/2`, which full elevator, held at
    full speed, reaches.

    Source: NeuroMANCER 1.5 (IverSimple), modified there from Stankiewicz et al.; all coefficients from there.
    """

    m_q: Float[Array, ""] = eqx.field(converter=parameter, default=-0.748)
    """Pitch damping, 1/s."""
    n_ur: Float[Array, ""] = eqx.field(converter=parameter, default=-0.441)
    """Yaw damping, 1/m."""
    x_uu: Float[Array, ""] = eqx.field(converter=parameter, default=-0.179)
    """Drag, 1/m."""
    m_uq: Float[Array, ""] = eqx.field(converter=parameter, default=-3.519)
    """Pitch damping with speed, 1/m."""
    buoyancy: Float[Array, ""] = eqx.field(converter=parameter, default=8.947)
    """Righting moment of the buoyancy, 1/s^2."""
    thrust: Float[Array, ""] = eqx.field(converter=parameter, default=0.519)
    """Acceleration at full thrust, m/s^2."""
    elevator: Float[Array, ""] = eqx.field(converter=parameter, default=3.096)
    """Effect of the elevator, 1/m^2."""
    rudder: Float[Array, ""] = eqx.field(converter=parameter, default=0.065)
    """Effect of the rudder, 1/m^2."""
    rate: Float[Array, ""] = eqx.field(converter=parameter, default=10.0)
    """Rate of the actuators, 1/s."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "8"], u: Float[Array, "3"]) -> Float[Array, "8"]:
        """The state derivatives."""
        pitch, _, speed, q, r, a, b, c = x
        turning = [q, r / jnp.cos(pitch)]
        surge = self.x_uu * speed**2 + self.thrust * a
        damping = (self.m_uq * speed + self.m_q) * q
        pitching = damping - self.buoyancy * jnp.sin(pitch) + self.elevator * speed**2 * b
        yawing = self.n_ur * speed * r + self.rudder * speed**2 * c
        return jnp.concatenate([jnp.stack([*turning, surge, pitching, yawing]), self.rate * (u - x[5:])])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, commanded thrust, elevator and rudder: `(3,)`."""
        return (3,)


class Actuator(AbstractContinuousSystem):
    """`dx = rate (u - x)`: three first-order actuators that follow their commands, shape `(3,)`; time in s.

    Thrust in [0, 1], elevator and rudder in [-1, 1], as in `UnderwaterVehicle`. Linear: a check for methods.

    Source: NeuroMANCER 1.5.
    """

    rate: Float[Array, "3"]
    """Rates of the three actuators, 1/s."""

    def __init__(self, rate: ArrayLike = 10.0):
        """One rate for all three or one each, > 0."""
        self.rate = jnp.broadcast_to(parameter(rate), (3,))

    def vector_field(self, t: ArrayLike, x: Float[Array, "3"], u: Float[Array, "3"]) -> Float[Array, "3"]:
        """The state derivatives, 1/s."""
        return self.rate * (u - x)

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, three commands: `(3,)`."""
        return (3,)


class SwingEquation(AbstractContinuousSystem):
    """A synchronous generator on an infinite bus, driven by the mechanical power `u` [per unit], shape `(1,)`.

        d angle = w_s x2        dx2 = (u - maximum sin(angle) - damping x2) / M        M = 2 inertia / w_s

    States: rotor angle [rad] and deviation of the speed over the nominal one; `w_s = 2 pi frequency`; time in s. Stable
    equilibrium at `angle = asin(u / maximum)`.

    Source: Kundur (1994), Power System Stability and Control, section 3.9. Parameters and scaling of NeuroMANCER 1.5,
    whose M is `2 inertia / w_s` although its second state is already over the nominal speed; kept for comparison.
    """

    maximum: Float[Array, ""] = eqx.field(converter=parameter, default=5.0)
    """Largest electrical power, per unit."""
    inertia: Float[Array, ""] = eqx.field(converter=parameter, default=500.0)
    """Inertia constant, s."""
    damping: Float[Array, ""] = eqx.field(converter=parameter, default=5.0)
    """Damping, per unit."""
    frequency: Float[Array, ""] = eqx.field(converter=parameter, default=60.0)
    """Nominal frequency, Hz."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "2"], u: Float[Array, "1"]) -> Float[Array, "2"]:
        """The state derivatives."""
        speed = 2 * jnp.pi * self.frequency
        power = u[0] - self.maximum * jnp.sin(x[0]) - self.damping * x[1]
        return jnp.stack([speed * x[1], power * speed / (2 * self.inertia)])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, the mechanical power: `(1,)`."""
        return (1,)
