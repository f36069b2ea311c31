"""Plants for control: a cart with a pole, quadrotors in a plane and in space, a chain of masses."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sciml.core import invalid

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter


class CartPole(AbstractContinuousSystem):
    """A pole that swings freely on a cart, which a force `u` [N], shape `(1,)`, pushes along a line.

        ddq = (u + m2 sin θ (l dθ^2 + g cos θ)) / (m1 + m2 sin^2 θ)
        l ddθ = -(u cos θ + m2 l dθ^2 cos θ sin θ + (m1 + m2) g sin θ) / (m1 + m2 sin^2 θ)

    State `(q, θ, dq, dθ)`: position [m], angle [rad] from below (upright at π, unstable), speed [m/s], rate [rad/s];
    time in s. All of the pole's mass is at its end, and nothing rubs.

    Source: Kelly (2017), An introduction to trajectory optimization, SIAM Review 59(4), 849-904, section 6 and table 2,
    doi:10.1137/16M1062569.
    """

    cart: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Mass `m1` of the cart, kg."""
    pole: Float[Array, ""] = eqx.field(converter=parameter, default=0.3)
    """Mass `m2` at the end of the pole, kg."""
    length: Float[Array, ""] = eqx.field(converter=parameter, default=0.5)
    """Length of the pole, m."""
    gravity: Float[Array, ""] = eqx.field(converter=parameter, default=9.81)
    """Gravity, m/s^2."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "4"], u: Float[Array, "1"]) -> Float[Array, "4"]:
        """The state derivatives."""
        sin, cos, rate = jnp.sin(x[1]), jnp.cos(x[1]), x[3]
        inertia = self.cart + self.pole * sin**2
        pull = self.pole * self.length * rate**2 * sin
        push = (u[0] + pull + self.pole * self.gravity * cos * sin) / inertia
        total = (self.cart + self.pole) * self.gravity
        turn = -(u[0] * cos + pull * cos + total * sin) / (inertia * self.length)
        return jnp.stack([x[2], rate, push, turn])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, a force: `(1,)`."""
        return (1,)


class PlanarQuadrotor(AbstractContinuousSystem):
    """A quadrotor seen from the side: `m dv = R(θ) (0, u1 + u2) - (0, m g)`, `I ddθ = r (u1 - u2)`.

    State `(x, z, θ, dx, dz, dθ)`: place [m], tilt [rad], positive to the left, speeds [m/s], rate [rad/s]; time in s.
    Inputs, shape `(2,)`: thrusts of the right and the left rotor [N], each `m g / 2` in hovering.

    Source: Steinhardt & Tedrake (2012), Finite-time regional verification of stochastic non-linear systems, Int. J.
    Robotics Research 31(7), 901-923, doi:10.1177/0278364912444146, with the parameters of Tedrake, Underactuated
    Robotics, section 3.3.
    """

    mass: Float[Array, ""] = eqx.field(converter=parameter, default=0.486)
    """Mass, kg."""
    inertia: Float[Array, ""] = eqx.field(converter=parameter, default=0.00383)
    """Moment of inertia, kg m^2."""
    arm: Float[Array, ""] = eqx.field(converter=parameter, default=0.25)
    """Distance `r` of a rotor from the centre, m."""
    gravity: Float[Array, ""] = eqx.field(converter=parameter, default=9.81)
    """Gravity, m/s^2."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "6"], u: Float[Array, "2"]) -> Float[Array, "6"]:
        """The state derivatives."""
        lift = (u[0] + u[1]) / self.mass
        turn = self.arm * (u[0] - u[1]) / self.inertia
        return jnp.stack([x[3], x[4], x[5], -lift * jnp.sin(x[2]), lift * jnp.cos(x[2]) - self.gravity, turn])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, two thrusts: `(2,)`."""
        return (2,)


class Quadrotor(AbstractContinuousSystem):
    """A quadrotor in space: a rigid body under gravity and the thrust of four rotors along its own vertical axis.

        m dv = R (0, 0, Σ u) - (0, 0, m g),   dη = E(η) ω,   J dω = τ - ω × J ω
        τ = (r (u2 - u4), r (u3 - u1), c (u1 - u2 + u3 - u4))

    State, shape `(12,)`: place [m] and velocity [m/s] in the world's frame (z up), roll, pitch and yaw `η` [rad] (Z-Y-X
    angles, of which `R` is the rotation), rates `ω` in the body's frame [rad/s]; time in s. Inputs, shape `(4,)`: the
    thrust of each rotor [N], in a cross of which the first and the third lie on the body's x axis; each `m g / 4` in
    hovering. Angles instead of a quaternion, since costs, limits and models that are linear in the state then need no
    manifold; in return the pitch has to stay within ±90 degrees, where the yaw rate is not finite.

    Source: Luukkonen (2011), Modelling and control of quadcopter, Aalto University, with rates of the body as states;
    mass, inertia, arm and drag are the defaults of `Quadrotor` in RobotZoo.jl 0.3.
    """

    mass: Float[Array, ""] = eqx.field(converter=parameter, default=0.5)
    """Mass, kg."""
    inertia: Float[Array, "3"] = eqx.field(
        converter=parameter, default_factory=lambda: np.array([0.0023, 0.0023, 0.004])
    )
    """Principal moments of inertia `J`, kg m^2."""
    arm: Float[Array, ""] = eqx.field(converter=parameter, default=0.175)
    """Distance `r` of a rotor from the centre, m."""
    drag: Float[Array, ""] = eqx.field(converter=parameter, default=0.0245)
    """Moment `c` about the rotor's axis for its thrust, m."""
    gravity: Float[Array, ""] = eqx.field(converter=parameter, default=9.81)
    """Gravity, m/s^2."""

    def vector_field(self, t: ArrayLike, x: Float[Array, "12"], u: Float[Array, "4"]) -> Float[Array, "12"]:
        """The state derivatives."""
        (sin_r, sin_p, sin_y), (cos_r, cos_p, cos_y) = jnp.sin(x[6:9]), jnp.cos(x[6:9])
        p, q, r = x[9:]
        upwards = [cos_y * sin_p * cos_r + sin_y * sin_r, sin_y * sin_p * cos_r - cos_y * sin_r, cos_p * cos_r]
        lift = jnp.sum(u) / self.mass
        turn = (q * sin_r + r * cos_r) / cos_p
        angles = [p + turn * sin_p, q * cos_r - r * sin_r, turn]
        moments = [self.arm * (u[1] - u[3]), self.arm * (u[2] - u[0]), self.drag * (u[0] - u[1] + u[2] - u[3])]
        ix, iy, iz = self.inertia
        couplings = [(iy - iz) * q * r, (iz - ix) * p * r, (ix - iy) * p * q]
        spin = (jnp.stack(moments) + jnp.stack(couplings)) / self.inertia
        weight = jnp.zeros(3, x.dtype).at[2].set(self.gravity.astype(x.dtype))
        return jnp.concatenate([x[3:6], lift * jnp.stack(upwards) - weight, jnp.stack(angles), spin])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, four thrusts: `(4,)`."""
        return (4,)


class ChainOfMasses(AbstractContinuousSystem):
    """Masses on springs between a wall and a hand: `m ddp_i = F_i - F_{i-1} - (0, 0, m g)`, `dp_{n+1} = u`.

        F_i = D (1 - L / |d_i|) d_i,   d_i = p_{i+1} - p_i,   p_0 = 0

    State, shape `(6 n + 3,)`: places `p_1 ... p_{n+1}` (x, y, z) [m], then velocities of the `n` masses [m/s],
    flattened; time in s. Input, shape `(3,)`: the velocity of the hand [m/s], usually within ±1. Nothing damps the
    springs; the task is to bring the chain to rest by its end. Any length compiles to the same few operations.

    Args:
        masses: number `n` of masses between the wall and the hand, >= 1.

    Raises:
        ValueError: if there is no mass.

    Source: Wirsching, Bock & Diehl (2006), Fast NMPC of a chain of masses connected by springs, IEEE Conference on
    Control Applications, 591-596, doi:10.1109/CACSD-CCA-ISIC.2006.4776712; parameters of the example in acados.
    """

    masses: int = eqx.field(static=True, default=3)
    mass: Float[Array, ""] = eqx.field(converter=parameter, default=0.033)
    """Mass `m` of each, kg."""
    stiffness: Float[Array, ""] = eqx.field(converter=parameter, default=1.0)
    """Stiffness `D` of the springs, N/m."""
    length: Float[Array, ""] = eqx.field(converter=parameter, default=0.033)
    """Length `L` of the springs at rest, m."""
    gravity: Float[Array, ""] = eqx.field(converter=parameter, default=9.81)
    """Gravity, m/s^2."""

    def __check_init__(self) -> None:
        if self.masses < 1:
            raise invalid("masses", self.masses, "at least one", "count the masses between the wall and the hand")

    def vector_field(self, t: ArrayLike, x: Float[Array, " x"], u: Float[Array, "3"]) -> Float[Array, " x"]:
        """The state derivatives."""
        n = self.masses
        places, velocities = x[: 3 * n + 3].reshape(n + 1, 3), x[3 * n + 3 :]
        apart = jnp.diff(places, axis=0, prepend=jnp.zeros((1, 3), x.dtype))
        distance = jnp.sqrt(jnp.sum(apart**2, axis=1, keepdims=True))
        force = self.stiffness * (1 - self.length / distance) * apart
        weight = jnp.zeros(3, x.dtype).at[2].set(self.gravity.astype(x.dtype))
        return jnp.concatenate([velocities, u, (jnp.diff(force, axis=0) / self.mass - weight).ravel()])

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, a velocity: `(3,)`."""
        return (3,)

    def rest(self, hand: ArrayLike | Sequence[float]) -> Float[Array, " x"]:
        """The state in which the chain hangs at rest, its end in the hand at the place `hand`; on the host.

        With `f` the force of the wall's spring, that of spring `i` is `f + (0, 0, i m g)` and its extent
        `F_i (1 / D + L / |F_i|)`; Newton's method finds the `f` for which the extents add up to the hand's place.
        Convex: it is the slope of the energy `Σ |F_i|^2 / (2 D) + L |F_i|`.
        """
        hand = np.asarray(hand, float)
        weight, stiff, length = float(self.mass * self.gravity), float(self.stiffness), float(self.length)
        lifts = weight * np.arange(self.masses + 1)[:, None] * np.array([0.0, 0.0, 1.0])
        extents = lambda f: (f + lifts) * (1 / stiff + length / np.linalg.norm(f + lifts, axis=1, keepdims=True))
        energy = lambda f: np.sum((f + lifts) ** 2) / (2 * stiff) + length * np.sum(np.linalg.norm(f + lifts, axis=1))
        force = stiff * hand / (self.masses + 1) - lifts.mean(axis=0)
        for _ in range(100):
            slope = extents(force).sum(axis=0) - hand
            size = np.linalg.norm(force + lifts, axis=1)
            along = (force + lifts) / size[:, None]
            bend = np.eye(3) * np.sum(1 / stiff + length / size) - (along.T * (length / size)) @ along
            step, factor = np.linalg.solve(bend, -slope), 1.0
            merit = lambda f: energy(f) - hand @ f
            while merit(force + factor * step) > merit(force) + 1e-12 * abs(merit(force)) and factor > 1e-9:
                factor /= 2
            force = force + factor * step
        places = np.cumsum(extents(force), axis=0)
        return parameter(np.concatenate([places.ravel(), np.zeros(3 * self.masses)]))
