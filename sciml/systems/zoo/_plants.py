"""All reference plants, by family, with the data of their experiments."""

from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .._abstract import AbstractContinuousSystem, AbstractDiscreteSystem
from .._parameters import parameter
from ._buildings import single_zone
from ._chaotic import Chua, Lorenz, LorenzControl, Rossler, Thomas, ThomasControl
from ._chemistry_biology import Autoignition, Brusselator, HindmarshRose, LotkaVolterra, SEIR
from ._control import CartPole, ChainOfMasses, PlanarQuadrotor, Quadrotor
from ._networks import Boids, five_rooms, four_bodies
from ._oscillators import DoublePendulum, Duffing, DuffingControl, InvertedPendulum, Pendulum, UniversalOscillator
from ._plant import Plant
from ._process import CSTR, Tank
from ._signals import Beside, Held, Waves, Weather
from ._two_tank import TwoTank
from ._van_der_pol import VanDerPol, VanDerPolLienard
from ._vehicles_power import Actuator, SwingEquation, UnderwaterVehicle

_INF = float("inf")
_Box = Sequence[tuple[float | int, float | int]]


def plants() -> tuple[Plant, ...]:
    """All reference plants, in the order of their families; made anew by each call.

    Oscillators, chaotic systems, chemistry and biology, process plants, vehicles and power, networks, buildings, plants
    for control. Choose them for tests and benchmarks that run over many systems; each says where it starts, what it may
    reach, which inputs excite it and how it is sampled.

    Examples:
        ```python
        import jax.random as jr

        plant = {p.name: p for p in sciml.systems.zoo.plants()}["two_tank"]
        one, other = jr.split(jr.key(0))
        run = sciml.rollout(plant.discrete(), lambda x, w: w, plant.start(one), plant.inputs(other))
        assert jnp.all(plant.is_admissible(run.x))
        ```

    Source: the collection of NeuroMANCER 1.5 (PNNL, 2023), its errors corrected; each class names its own source, and
    where this library departs from the collection.
    """
    families = (_oscillators, _chaotic, _reactions, _populations, _process, _vehicles, _networks, _buildings, _control)
    return tuple(plant for family in families for plant in family())


def _plant(
    name: str,
    system: AbstractContinuousSystem | AbstractDiscreteSystem,
    states: str,
    x0: Sequence[float] | Array,
    box: _Box,
    admissible: _Box,
    *,
    dt: float,
    steps: int,
    substeps: int = 1,
    controls: str = "",
    bounds: _Box = (),
    signal: Callable[[PRNGKeyArray, int], Array] | None = None,
    are_shares: bool = False,
) -> Plant:
    """A plant from boxes given as one (low, high) per state; a single one stands for all states."""
    x0 = parameter(np.asarray(x0))
    boxes = [np.reshape(np.asarray(pairs, float), (-1, 2)).T for pairs in (box, admissible, bounds)]
    (low, high), (x_low, x_high) = (jnp.broadcast_to(parameter(pair), (2, len(x0))) for pair in boxes[:2])
    u_low, u_high = parameter(boxes[2])
    labels, inputs = tuple(filter(None, states.split(", "))), tuple(filter(None, controls.split(", ")))
    return Plant(
        name=name,
        system=system,
        states=labels,
        controls=inputs,
        x0=x0,
        x0_low=low,
        x0_high=high,
        x_low=x_low,
        x_high=x_high,
        u_low=u_low,
        u_high=u_high,
        signal=signal,
        dt=dt,
        steps=steps,
        substeps=substeps,
        are_shares=are_shares,
    )


def _held(low: Sequence[float], high: Sequence[float], samples: int) -> Held:
    return Held(np.array(low), np.array(high), samples)


def _waves(low: Sequence[float], high: Sequence[float], period: Sequence[float], noise: Sequence[float]) -> Waves:
    return Waves(np.array(low), np.array(high), np.array(period), np.array(noise))


# Tables: what belongs together stands on one line.
# fmt: off


def _oscillators() -> tuple[Plant, ...]:
    pi = float(np.pi)
    turns = (-_INF, _INF)
    return (
        _plant(
            "universal_oscillator", UniversalOscillator(), "position [1], velocity [1]",
            [1.0, 0.0], [(-2, 2)], [(-4, 4)], dt=0.1, steps=500, substeps=3,
        ),
        _plant(
            "pendulum", Pendulum(), "angle [rad], rate [rad/s]",
            [0.0, 1.0], [(-2, 2)], [(-pi, pi), (-10, 10)], dt=0.1, steps=100, substeps=4,
        ),
        _plant(
            "double_pendulum", DoublePendulum(), "angle 1 [rad], rate 1 [rad/s], angle 2 [rad], rate 2 [rad/s]",
            [3 * pi / 7, 0.0, 3 * pi / 4, 0.0], [(-1.5, 1.5), (-0.5, 0.5), (-2.5, 2.5), (-0.5, 0.5)],
            [turns, (-15, 15), turns, (-20, 20)], dt=0.05, steps=400, substeps=20,
        ),
        _plant(
            "van_der_pol_lienard", VanDerPolLienard(), "x1 [1], x2 [1]",
            [1.0, 2.0], [(-3, 3), (-2, 2)], [(-4, 4), (-4, 4)], dt=0.1, steps=500, substeps=4,
        ),
        _plant(
            "duffing", Duffing(), "position [1], velocity [1]",
            [1.0, 0.0], [(-1, 1)], [(-5, 5), (-20, 20)], dt=0.01, steps=2000, substeps=2,
        ),
        _plant(
            "inverted_pendulum", InvertedPendulum(), "angle [rad], rate [rad/s]",
            [0.5, 0.0], [(-0.5, 0.5)], [(-3 * pi, 3 * pi), (-15, 15)], dt=0.1, steps=200, substeps=10,
            controls="torque [N m]", bounds=[(-1, 1)], signal=_held([-0.17], [0.17], 1),
        ),
        _plant(
            "duffing_control", DuffingControl(), "position [1], velocity [1]",
            [1.0, 0.0], [(-1, 1)], [(-5, 5), (-20, 20)], dt=0.1, steps=500, substeps=20,
            controls="phase over frequency [1]", bounds=[(-20, 20)], signal=_waves([0.0], [5.0], [125.0], [0.0]),
        ),
        _plant(
            "van_der_pol_control", VanDerPol(), "position [1], velocity [1]",
            [1.0, 2.0], [(-2, 2)], [(-8, 8), (-15, 15)], dt=0.1, steps=500, substeps=20, controls="force [1]",
            bounds=[(-5, 5)], signal=_held([-5.0], [5.0], 25),
        ),
    )


def _chaotic() -> tuple[Plant, ...]:
    lorenz = [(-35, 35), (-50, 50), (-10, 80)]
    return (
        _plant(
            "lorenz", Lorenz(), "x1 [1], x2 [1], x3 [1]",
            [1.0, 1.0, 1.0], [(-15, 15), (-20, 20), (10, 40)], lorenz, dt=0.01, steps=2000, substeps=8,
        ),
        _plant(
            "thomas", Thomas(), "x1 [1], x2 [1], x3 [1]",
            [1.0, -1.0, 1.0], [(-3, 3)], [(-5, 5)], dt=0.1, steps=1000, substeps=5,
        ),
        _plant(
            "rossler", Rossler(), "x1 [1], x2 [1], x3 [1]",
            [0.0, 0.0, 0.0], [(-5, 5), (-5, 5), (0, 1)], [(-20, 20), (-20, 20), (-1, 40)], dt=0.1, steps=1000,
            substeps=8,
        ),
        _plant(
            "chua", Chua(), "voltage 1 [1], voltage 2 [1], current [1]",
            [0.7, 0.0, 0.0], [(-0.8, 0.8), (-0.1, 0.1), (-0.1, 0.1)], [(-5, 5), (-2, 2), (-8, 8)], dt=0.02,
            steps=1000, substeps=20,
        ),
        _plant(
            "lorenz_control", LorenzControl(), "x1 [1], x2 [1], x3 [1]",
            [-8.0, 8.0, 27.0], [(-15, 15), (-20, 20), (10, 40)], lorenz, dt=0.01, steps=1000, substeps=8,
            controls="u1 [1], u2 [1]", bounds=[(-10, 10)] * 2,
            signal=_waves([-1.0, -1.0], [1.0, 1.0], [100 * np.pi, 25 * np.pi], [0.0, 0.0]),
        ),
        _plant(
            "thomas_control", ThomasControl(), "x1 [1], x2 [1], x3 [1]",
            [1.0, -1.0, 1.0], [(-3, 3)], [(-6, 6)], dt=0.1, steps=1000, substeps=4, controls="friction [1]",
            bounds=[(0.19, 1.01)], signal=_held([0.2], [1.0], 48),
        ),
    )


def _reactions() -> tuple[Plant, ...]:
    return (
        _plant(
            "brusselator", Brusselator(), "x1 [1], x2 [1]",
            [1.0, 1.0], [(0.2, 3)], [(0, 10)], dt=0.1, steps=400, substeps=10,
        ),
        _plant(
            "autoignition", Autoignition(), "heat [1], burnt fraction [1]",
            [1.0, 0.7], [(0.6, 1.0), (0.7, 0.9)], [(0, 5), (0, 1)], dt=0.1, steps=500, substeps=16,
        ),
    )


def _populations() -> tuple[Plant, ...]:
    return (
        _plant(
            "lotka_volterra", LotkaVolterra(), "prey [1/area], predators [1/area]",
            [5.0, 2.0], [(2, 8), (1, 5)], [(0, 40), (0, 20)], dt=0.1, steps=500, substeps=4,
        ),
        _plant(
            "seir", SEIR(), "susceptible [1], exposed [1], infectious [1], recovered [1]",
            [1 - 1e-4, 1e-4, 0.0, 0.0], [(0.6, 0.9), (0, 0.05), (0, 0.05), (0, 0.2)], [(0, 1)], dt=0.5, steps=300,
            controls="distancing [1]", bounds=[(0, 1)], signal=_held([0.0], [1.0], 24), are_shares=True,
        ),
        _plant(
            "hindmarsh_rose", HindmarshRose(), "potential [1], recovery [1], adaptation [1]",
            [-5.0, -10.0, 0.0], [(-2, 2), (-10, 0), (2, 4)], [(-6, 3), (-60, 5), (-1, 6)], dt=0.1, steps=1000,
            substeps=64, controls="current [1]", bounds=[(0, 5)], signal=_held([2.99], [3.1], 48),
        ),
    )


def _process() -> tuple[Plant, ...]:
    valve = _waves([0.0], [10.0], [48.0], [0.0])
    return (
        _plant(
            "tank", Tank(), "level [m]",
            [0.0], [(0, 0.1)], [(0, 60)], dt=0.1, steps=1000, controls="coefficient [kg/(s %)], opening [%]",
            bounds=[(0, 55), (0, 100)], signal=Beside(_held([0.1], [55.0], 48), valve),
        ),
        _plant(
            "two_tank", TwoTank(), "level 1 [1], level 2 [1]",
            [0.0, 0.0], [(0, 0.5)], [(-0.01, 1.01)], dt=1.0, steps=1000, substeps=5, controls="pump [1], valve [1]",
            bounds=[(0, 1), (0, 1)], signal=_held([0.0, 0.0], [0.4, 0.4], 75),
        ),
        _plant(
            "cstr", CSTR(), "concentration [mol/l], temperature [K]",
            [0.87725294608097, 324.475443431599], [(0.82, 0.93), (320, 328)], [(0, 1), (290, 420)], dt=0.1,
            steps=1000, substeps=8, controls="jacket [K]", bounds=[(280, 310)], signal=_held([297.0], [303.0], 25),
        ),
    )


def _vehicles() -> tuple[Plant, ...]:
    tilt, low, high = float(np.pi) / 2, [0.0, -1.0, -1.0], [1.0, 1.0, 1.0]
    commands = "thrust [1], elevator [1], rudder [1]"
    bounds = [(0, 1), (-1, 1), (-1, 1)]
    delta = float(np.arcsin(0.16))
    return (
        _plant(
            "underwater_vehicle", UnderwaterVehicle(),
            "pitch [rad], yaw [rad], speed [m/s], pitch rate [rad/s], yaw rate [rad/s], " + commands,
            [0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.0, 0.0],
            [(-0.2, 0.2), (-1, 1), (0, 1), (-0.1, 0.1), (-0.1, 0.1), (0, 1), (-0.5, 0.5), (-0.5, 0.5)],
            [(-tilt, tilt), (-_INF, _INF), (0, 2), (-4, 4), (-2, 2), (0, 1), (-1, 1), (-1, 1)], dt=0.05, steps=400,
            substeps=4, controls=commands, bounds=bounds, signal=_held([0.0, -0.5, -0.5], [1.0, 0.5, 0.5], 10),
        ),
        _plant(
            "actuator", Actuator(), commands,
            [0.0, 0.0, 0.0], bounds, bounds, dt=0.1, steps=300, substeps=10, controls=commands, bounds=bounds,
            signal=_held(low, high, 3),
        ),
        _plant(
            "swing_equation", SwingEquation(), "rotor angle [rad], speed deviation [1]",
            [delta, 0.0], [(delta - 0.1, delta + 0.1), (-0.005, 0.005)], [(-tilt, tilt), (-0.1, 0.1)], dt=0.01,
            steps=1000, substeps=4, controls="mechanical power [1]", bounds=[(0, 4)],
            signal=_held([0.784], [0.816], 33),
        ),
    )


def _networks() -> tuple[Plant, ...]:
    rooms = range(5)
    kelvin = ", ".join(f"room {i} [K]" for i in rooms)
    heaters = "outdoors [K], " + ", ".join(f"heater {i} [K]" for i in rooms)
    scaled, x_scaled = four_bodies()
    plain, x_plain = four_bodies(is_scaled=False)
    members = 50
    return (
        _plant(
            "five_rooms", five_rooms(), kelvin,
            [294.0] * 5, [(288, 300)], [(275, 305)], dt=300.0, steps=576, substeps=2, controls=heaters,
            bounds=[(270, 310)] * 6,
            signal=_waves([280.0, *[288.0] * 5], [300.0] * 6, [288.0, *[144.0] * 5], [1.0, *[0.5] * 5]),
        ),
        _plant(
            "gravitation", scaled, _coordinates(4, "1", "1"),
            x_scaled, [(x - 0.05, x + 0.05) for x in np.asarray(x_scaled)], [(-5, 5)], dt=0.02, steps=1000,
            substeps=4,
        ),
        _plant(
            "gravitation_si", plain, _coordinates(4, "m", "m/s"),
            x_plain,
            [(x - 0.05 * s, x + 0.05 * s) for x, s in zip(np.asarray(x_plain), [1.0] * 8 + [8e-3] * 8, strict=True)],
            [(-5, 5)], dt=2.5, steps=1000, substeps=4,
        ),
        _plant(
            "boids", Boids(), _coordinates(members, "1", "1"),
            _flock(members), [*[(3, 6), (1, 4)] * members, *[(-0.03, 0.03)] * (2 * members)],
            [*[(0, 10)] * (2 * members), *[(-0.031, 0.031)] * (2 * members)], dt=1.0, steps=500,
        ),
    )


def _coordinates(count: int, length: str, speed: str) -> str:
    """The labels of the places of all parts of a network, then of their velocities."""
    places = [f"{axis}{i} [{length}]" for i in range(count) for axis in "xy"]
    return ", ".join([*places, *(f"v{axis}{i} [{speed}]" for i in range(count) for axis in "xy")])


def _flock(count: int) -> Array:
    """A flock on a sunflower spiral around (4.5, 2.5) with a common velocity."""
    index = np.arange(count)
    angle, radius = index * np.pi * (3 - np.sqrt(5)), 1.5 * np.sqrt((index + 0.5) / count)
    places = np.array([4.5, 2.5]) + radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return parameter(np.concatenate([places.ravel(), np.tile([0.015, 0.01], count)]))


def _buildings() -> tuple[Plant, ...]:
    return (
        _plant(
            "single_zone", single_zone(), "floor [°C], inner facade [°C], outer facade [°C], zone air [°C]",
            [20.0] * 4, [(15, 25)], [(-10, 60)], dt=300.0, steps=2016,
            controls="heat [W], ambient [°C], gains [W], solar [W/m²]",
            bounds=[(0, 5000), (-20, 40), (0, 500), (0, 1300)], signal=Beside(_held([0.0], [5000.0], 12), Weather()),
        ),
    )


def _control() -> tuple[Plant, ...]:
    pi = float(np.pi)
    turns, wide = (-_INF, _INF), (-20, 20)
    chain, count = ChainOfMasses(), 3
    x_chain = np.asarray(chain.rest([6 * 0.033 * (count + 1), 0.0, 0.0])).tolist()
    around = lambda x, width: (x - width, x + width)
    flat, hover = PlanarQuadrotor(), 0.5 * 0.486 * 9.81
    hovering = 0.25 * 0.5 * 9.81
    axes = [f"{axis}{i} [m]" for i in range(1, count + 2) for axis in "xyz"]
    axes += [f"v{axis}{i} [m/s]" for i in range(1, count + 1) for axis in "xyz"]
    return (
        _plant(
            "pendulum_swing_up", InvertedPendulum(mass=1.0), "angle [rad], rate [rad/s]",
            [pi, 0.0], [(pi - 0.5, pi + 0.5), (-0.5, 0.5)], [turns, wide], dt=0.05, steps=200, substeps=4,
            controls="torque [N m]", bounds=[(-3, 3)], signal=_held([-1.0], [1.0], 4),
        ),
        _plant(
            "cart_pole", CartPole(), "position [m], angle [rad], speed [m/s], rate [rad/s]",
            [0.0] * 4, [(-0.2, 0.2), (-0.3, 0.3), (-0.1, 0.1), (-0.3, 0.3)], [(-2, 2), turns, wide, wide], dt=0.05,
            steps=60, substeps=8, controls="force [N]", bounds=[wide], signal=_held([-0.4], [0.4], 4),
        ),
        _plant(
            "planar_quadrotor", flat, "x [m], z [m], tilt [rad], vx [m/s], vz [m/s], rate [rad/s]",
            [0.0] * 6, [(-1, 1), (-1, 1), (-0.1, 0.1), (-0.5, 0.5), (-0.5, 0.5), (-0.1, 0.1)],
            [wide, wide, turns, wide, wide, wide], dt=0.02, steps=100, controls="right rotor [N], left rotor [N]",
            bounds=[(0, 5)] * 2, signal=_held([hover - 0.002] * 2, [hover + 0.002] * 2, 5),
        ),
        _plant(
            "quadrotor", Quadrotor(),
            "x [m], y [m], z [m], vx [m/s], vy [m/s], vz [m/s], roll [rad], pitch [rad], yaw [rad], roll rate [rad/s], "
            "pitch rate [rad/s], yaw rate [rad/s]",
            [0.0] * 12, [*[(-1, 1)] * 3, *[(-0.5, 0.5)] * 3, *[(-0.1, 0.1)] * 6],
            [*[wide] * 6, turns, (-pi / 2, pi / 2), turns, *[wide] * 3], dt=0.02, steps=100,
            controls="rotor 1 [N], rotor 2 [N], rotor 3 [N], rotor 4 [N]", bounds=[(0, 2.5)] * 4,
            signal=_held([hovering - 0.002] * 4, [hovering + 0.002] * 4, 5),
        ),
        _plant(
            "chain_of_masses", chain, ", ".join(axes), x_chain,
            [*(around(x, 0.02) for x in x_chain[: 3 * count + 3]), *[(-0.1, 0.1)] * (3 * count)],
            [*[(-5, 5)] * (3 * count + 3), *[(-10, 10)] * (3 * count)], dt=0.2, steps=50, substeps=48,
            controls="hand vx [m/s], hand vy [m/s], hand vz [m/s]", bounds=[(-1, 1)] * 3,
            signal=_held([-0.2] * 3, [0.2] * 3, 5),
        ),
    )
