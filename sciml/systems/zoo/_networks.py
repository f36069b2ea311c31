"""Networks of many like parts: rooms that exchange heat, bodies that attract each other, a flock."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from sciml.core import invalid

from .._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from .._parameters import parameter, positive_scalar


class RCNetwork(AbstractContinuousSystem):
    """Rooms that exchange heat through walls, with the outside and with a heater each: a network of resistances.

        capacity_i dx_i = sum over walls of (x_j - x_i) / resistance_ij + (u_0 - x_i) / outer_i + (u_i - x_i) / heater_i

    States: room temperatures [K]. Inputs, shape `(rooms + 1,)`: the outdoor temperature `u_0`, then the temperature of
    each room's heater [K]. Time in s. Any graph and any size compile to the same few operations, since flows are
    gathered and summed by segments. Each wall is listed once, and what leaves one room enters the other: without
    outdoors and heaters, the heat `sum(capacity * x)` is constant. From temperatures alone only the products of
    resistance and capacity can be identified.

    Args:
        walls: pairs of rooms, numbered from 0, shape `(walls, 2)`; each wall once, in either order.
        resistance: of each wall, K/W, > 0.
        capacity: heat capacity of each room, J/K, > 0.
        outer: resistance between each room and outdoors, K/W, > 0; infinite for none.
        heater: resistance between each room and its heater, K/W, > 0; infinite for none.

    Raises:
        ValueError: a wall that joins no two rooms, or a wall listed twice; unequal lengths.

    Source: Bacher & Madsen (2011), Identifying suitable models for the heat dynamics of buildings, Energy and
    Buildings 43(7), 1511-1522, doi:10.1016/j.enbuild.2011.02.005; the structure of NeuroMANCER 1.5 (RC_Network). There
    the adjacency holds each wall twice, so that a wall can have two resistances and heat is lost, and the trainable
    version multiplies by the `R` by which it should divide.
    """

    walls: Int[Array, "wall 2"]
    resistance: Float[Array, " wall"]
    capacity: Float[Array, " room"]
    outer: Float[Array, " room"]
    heater: Float[Array, " room"]

    def __init__(
        self, walls: ArrayLike, resistance: ArrayLike, capacity: ArrayLike, outer: ArrayLike, heater: ArrayLike
    ):
        self.resistance, self.capacity = parameter(resistance), parameter(capacity)
        self.outer, self.heater = parameter(outer), parameter(heater)
        self.walls = jnp.asarray(_checked_walls(walls, self.resistance.shape, self.capacity.shape))
        if not self.capacity.shape == self.outer.shape == self.heater.shape:
            shapes = f"shapes {self.capacity.shape}, {self.outer.shape}, {self.heater.shape}"
            raise invalid("capacity, outer, heater", shapes, "one number per room each", "give all three one length")

    def vector_field(self, t: ArrayLike, x: Float[Array, " room"], u: Float[Array, " u"]) -> Float[Array, " room"]:
        """The rates of the room temperatures, K/s."""
        one, other = self.walls[:, 0], self.walls[:, 1]
        flow = (x[other] - x[one]) / self.resistance
        ends = jnp.concatenate([one, other])
        heat = jax.ops.segment_sum(jnp.concatenate([flow, -flow]), ends, num_segments=x.shape[0])
        return (heat + (u[0] - x) / self.outer + (u[1:] - x) / self.heater) / self.capacity

    def input_shape(self) -> tuple[int, ...]:
        """The shape of the input, temperatures outdoors and of the heaters: `(rooms + 1,)`."""
        return (self.capacity.shape[0] + 1,)


def _checked_walls(walls: ArrayLike, resistance: tuple[int, ...], rooms: tuple[int, ...]) -> np.ndarray:
    pairs = np.asarray(walls)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        got = f"{pairs.dtype} of shape {pairs.shape}"
        raise invalid("walls", got, "integers of shape (walls, 2)", "list the two rooms of each wall")
    if resistance != (len(pairs),):
        raise invalid("resistance", f"shape {resistance}", f"({len(pairs)},)", "give one resistance per wall")
    ordered = np.sort(pairs, axis=1)
    alone = (ordered[:, 0] == ordered[:, 1]) | (ordered[:, 0] < 0) | (ordered[:, 1] >= rooms[0])
    if alone.any():
        fix = "number the rooms from 0, and leave out walls to outdoors: they are `outer`"
        raise invalid("walls", pairs[alone][0].tolist(), f"two different rooms below {rooms[0]}", fix)
    if len(np.unique(ordered, axis=0)) < len(ordered):
        raise invalid("walls", "a wall that is listed twice", "each wall once", "drop the reversed pairs")
    return pairs.astype(np.int32)


def five_rooms() -> RCNetwork:
    """Five rooms and seven walls as an `RCNetwork`, with stated areas and volumes.

    Walls of 3.5 m² K/W between rooms (0, 1), (0, 2), (0, 3), (1, 3), (1, 4), (2, 3), (3, 4) and to outdoors; heaters of
    1 m² K/W; air of 840 J/(m³ K).

    Source: the graph and the ranges of NeuroMANCER 1.5 (RC_Network.make_5_room), where areas and volumes are drawn at
    random; time there is counted in units of 100 s.
    """
    walls = np.array([(0, 1), (0, 2), (0, 3), (1, 3), (1, 4), (2, 3), (3, 4)])
    areas = np.array([12.0, 9.0, 15.0, 8.0, 11.0, 14.0, 10.0])
    volumes = np.array([60.0, 120.0, 45.0, 200.0, 90.0])
    outer, heater = np.array([12.0, 8.0, 10.0, 5.0, 14.0]), np.array([6.0, 9.0, 5.0, 12.0, 7.0])
    return RCNetwork(walls, 3.5 / areas, 840.0 * volumes, 3.5 / outer, 1.0 / heater)


class Gravitation(AbstractContinuousSystem):
    """Point masses in a plane under their mutual attraction: `a_i = sum over j of G m_j r_ij / |r_ij|^3`.

    State, shape `(4 bodies,)`: the positions `(x, y)` of all bodies, then their velocities, flattened. SI units with
    the default `G`; with `G = 1`, masses in units M and lengths in units L, time counts in `sqrt(L^3 / (G M))`. Energy,
    momentum and angular momentum are constant. All pairs are evaluated at once. Accelerations are not finite where two
    bodies meet.

    Args:
        masses: of the bodies, kg, > 0.
        constant: the gravitational constant `G`, m^3 / (kg s^2).

    Source: Newton (1687), Principia; `G` of NeuroMANCER 1.5 (Gravitational_System), which carries the masses as states.
    """

    masses: Float[Array, " bodies"] = eqx.field(converter=parameter)
    constant: Float[Array, ""] = eqx.field(converter=parameter, default=6.67e-11)

    def vector_field(self, t: ArrayLike, x: Float[Array, " x"], u: object) -> Float[Array, " x"]:
        """Velocities, then accelerations; there is no input."""
        n = self.masses.shape[0]
        places = x[: 2 * n].reshape(n, 2)
        apart = places[None] - places[:, None]
        # One on the diagonal, where the distance is zero and so is the force.
        square = jnp.sum(apart**2, axis=-1) + jnp.eye(n, dtype=x.dtype)
        pulls = self.constant * jnp.sum((self.masses / square**1.5)[..., None] * apart, axis=1)
        return jnp.concatenate([x[2 * n :], pulls.ravel()])


# Heavy body at rest, and three light ones of a millionth of its mass: positions and velocities, in its units.
_FOUR_PLACES = ((0.0, 0.0), (1.0, 0.0), (0.0, 2.0), (-1.0, -1.0))
_FOUR_VELOCITIES = ((0.0, 0.0), (0.0, 8.167e-3), (4.0835e-3, 0.0), (4e-3, -4e-3))
_MASS, _SI = 1e6, 6.67e-11


def four_bodies(*, is_scaled: bool = True) -> tuple[Gravitation, Float[Array, "16"]]:
    """Three satellites around one heavy body: the system, and its initial state.

    The first satellite is on a circle of radius 1 m, with a period of 769 s; the others are on ellipses.

    Args:
        is_scaled: whether mass, length and time are counted in the heavy body's 1e6 kg, 1 m and `(G M)**-0.5` =
            122.4 s, so that `G = 1`. Otherwise in kg, m and s: for showing what bad scaling does.

    Source: the initial state of NeuroMANCER 1.5 (make_4_body), which passes an argument that its class refuses.
    """
    speed = (_SI * _MASS) ** -0.5 if is_scaled else 1.0
    masses = np.array([_MASS, 1.0, 1.0, 1.0])
    system = Gravitation(masses / _MASS, 1.0) if is_scaled else Gravitation(masses, _SI)
    return system, parameter(np.concatenate([np.ravel(_FOUR_PLACES), speed * np.ravel(_FOUR_VELOCITIES)]))


class Boids(AbstractDiscreteSystem):
    """A flock: each member steers towards the others' centre and mean velocity, and away from close ones and walls.

        a_i = cohesion (mean_{j != i} p_j - p_i) + alignment (mean_{j != i} v_j - v_i)
            + separation sum_j w_ij (p_i - p_j) / d_ij / (1 + sum_j w_ij)
            + wall (σ((near - p_i) / width) - σ((near - box + p_i) / width))
        v_i <- limit(v_i + dt limit(a_i, acceleration), speed)        p_i <- p_i + dt v_i

    with `w_ij = σ((near - d_ij) / width)`, `width = near / 10`, the logistic function `σ`, and the distance
    `d_ij = (|p_i - p_j|^2 + (near / 1000)^2)^0.5`, which is smooth where two members meet. State, shape
    `(4 boids,)`: positions `(x, y)` of all, then velocities, flattened; the flock lives in the box `[0, box]^2`.
    Dimensionless, in discrete time. `limit(v, m)` keeps the direction and rounds `min(|v|, m)` over `m / 20`.

    Source: Reynolds (1987), Flocks, herds and schools: a distributed behavioral model, Computer Graphics 21(4), 25-34,
    doi:10.1145/37401.37406; parameters of NeuroMANCER 1.5 (Boids), whose indicator functions are replaced by smooth
    ones here, so that gradients exist, and whose sideways push at the walls is left out.
    """

    cohesion: Float[Array, ""] = eqx.field(converter=parameter, default=0.05)
    alignment: Float[Array, ""] = eqx.field(converter=parameter, default=0.05)
    separation: Float[Array, ""] = eqx.field(converter=parameter, default=0.01)
    near: Float[Array, ""] = eqx.field(converter=parameter, default=0.2)
    """Distance below which others and walls are avoided."""
    wall: Float[Array, ""] = eqx.field(converter=parameter, default=0.5)
    """Acceleration at a wall, before it is limited."""
    speed: Float[Array, ""] = eqx.field(converter=parameter, default=0.03)
    """Largest speed."""
    acceleration: Float[Array, ""] = eqx.field(converter=parameter, default=0.005)
    """Largest acceleration."""
    box: Float[Array, ""] = eqx.field(converter=parameter, default=10.0)
    """Side of the box."""
    dt: Float[Array, ""] = eqx.field(converter=lambda dt: positive_scalar(dt, "dt", "leave it at 1"), default=1.0)

    def step(self, t: ArrayLike, x: Float[Array, " x"], u: object) -> Float[Array, " x"]:
        """The flock one step later; there is no input."""
        places, velocities = x.reshape(2, -1, 2)
        n = places.shape[0]
        width = 0.1 * self.near
        # mean over the others, less one's own:  (sum - own) / (n - 1) - own = n / (n - 1) (mean - own)
        gather = [rate * n / (n - 1) * (jnp.mean(a, axis=0) - a) for rate, a in self._flocking(places, velocities)]
        apart = places[:, None] - places[None]
        distance = jnp.sqrt(jnp.sum(apart**2, axis=-1) + (1e-3 * self.near) ** 2)  # never zero: no NaN in gradients
        weight = jax.nn.sigmoid((self.near - distance) / width) * (1 - jnp.eye(n, dtype=x.dtype))
        avoid = jnp.sum((weight / distance)[..., None] * apart, axis=1) / (1 + jnp.sum(weight, axis=1))[:, None]
        low, high = (self.near - places) / width, (self.near - self.box + places) / width
        push = self.wall * (jax.nn.sigmoid(low) - jax.nn.sigmoid(high))
        asked = gather[0] + gather[1] + self.separation * avoid + push
        velocities = _limit(velocities + self.dt * _limit(asked, self.acceleration), self.speed)
        return jnp.concatenate([(places + self.dt * velocities).ravel(), velocities.ravel()])

    def _flocking(self, places: Array, velocities: Array) -> tuple[tuple[Array, Array], ...]:
        return (self.cohesion, places), (self.alignment, velocities)


def _limit(v: Float[Array, "n 2"], most: Float[Array, ""]) -> Float[Array, "n 2"]:
    """Each row with its length smoothly bounded: `most - w softplus((most - |v|) / w)`, `w = most / 20`."""
    length = jnp.sqrt(jnp.sum(v**2, axis=-1, keepdims=True) + (1e-6 * most) ** 2)
    width = most / 20
    # |v| - w softplus((|v| - most) / w) is the same number, and does not cancel where |v| is small.
    return v * (1 - width * jax.nn.softplus((length - most) / width) / length)
