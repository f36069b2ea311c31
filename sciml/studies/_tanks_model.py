"""The cascaded-tanks study, first half: the record, the model's coordinates, the control problem."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from .. import sources
from ..core import invalid
from ..programs import OptimalControl
from ..sources import read_csv, sampling_time
from ..systems import discretise, RK4
from ..systems.zoo import CascadedTanks, TankLevels
from ..training import Ranged

INITIALISE = 50  # samples at the start of the test record that may be used to find its initial state
HORIZON = 20  # samples of a control scenario
INPUT = (0.5, 6.5)  # V, the pump's range
LEVELS = ((0.5, 9.5), (1.0, 9.5))  # V, limits of the upper and the lower level
PRIOR = 5e-4  # weight of the squared coordinates: the ranges below are beliefs, not bounds

# Range of each parameter for random starts and prior; True where it is linear in the logarithm.
RANGES = {
    "ratio": (0.3, 0.9, True), "outflow1": (0.09, 0.2, True), "power1": (0.4, 0.7, False), "head1": (-0.5, 1.0, False),
    "outflow2": (0.09, 0.2, True), "power2": (0.35, 0.65, False), "gain": (0.04, 0.07, True),
    "dead": (-0.3, 0.9, False), "share": (0.3, 0.9, False), "brim2": (10.0, 10.6, False), "lag": (3.0, 20.0, True),
    "jet1": (0.0, 0.03, False), "at1": (4.0, 9.0, False), "width1": (0.2, 0.8, True), "jet2": (0.0, 0.03, False),
    "at2": (2.5, 5.0, False), "width2": (0.2, 0.8, True), "bias": (0.2, 0.7, False), "release": (4.8, 5.4, False),
    "trip": (1.0, 10.0, True),
}  # fmt: skip


class Record(NamedTuple):
    """Training and test data: pump voltage and measured lower level [V], and the sampling time [s]."""

    u: Float[Array, " time"]
    y: Float[Array, " time"]
    u_test: Float[Array, " time"]
    y_test: Float[Array, " time"]
    dt: float


class Scenario(NamedTuple):
    """One instance of the control problem."""

    x0: Float[Array, "3"]
    """Upper level, lower level, pump voltage behind its lag [V]."""
    reference: Scalar
    """Wanted lower level [V]."""
    coordinates: Float[Array, "parameter"]
    """The plant, as coordinates of `RANGES`."""


def plant(coordinates: Float[Array, "parameter"]) -> CascadedTanks:
    """The tanks whose parameters have these coordinates (-1 at the low end of the range, +1 at the high end)."""
    values = zip(RANGES.items(), coordinates, strict=True)
    return CascadedTanks(**{name: Ranged(z, low, high, log).value() for (name, (low, high, log)), z in values})


def simulate(coordinates: Any, x0: Float[Array, "4"], u: Float[Array, " time"], dt: Any) -> tuple[Any, Any]:
    """Sensor readings for inputs held over each sample, and the state after the last."""
    system = discretise(plant(coordinates), RK4(is_looped=True), dt=dt)

    def advance(x: Any, u: Any) -> tuple[Any, Any]:
        return system.step(0.0, x, u[None]), system.output(0.0, x, u[None])[0]

    end, y = jax.lax.scan(advance, x0, u)
    return y, end


def segment(coordinates: Any, x0: Float[Array, "4"], piece: sources.Record, dt: Any) -> tuple[Any, Any]:
    """Sensor readings at all samples of a segment, and the state at its last one."""
    assert piece.u is not None
    y, end = simulate(coordinates, x0, piece.u[:-1, 0], dt)
    last = plant(coordinates).output(0.0, end, None)
    return jnp.append(y, last)[:, None], end


def read_record(path: str) -> Record:
    """The benchmark's columns, checked; training data are cut to whole segments of 32 samples."""
    columns = read_csv(path, ("uEst", "uVal", "yEst", "yVal"), scalars=("Ts",), min_length=256)
    u, u_test, y, y_test = (jnp.asarray(columns[name]) for name in ("uEst", "uVal", "yEst", "yVal"))
    n = 32 * (u.shape[0] // 32)
    if not float(columns["Ts"]) > 0:
        fix = "correct the record's first row"
        raise invalid("Ts", float(columns["Ts"]), "a positive sampling time in seconds", fix)
    return Record(u[:n], y[:n], u_test, y_test, sampling_time(columns["Ts"]))


def simulated_record(key: PRNGKeyArray, n: int = 1024, dt: float = 4.0, noise: float = 0.03) -> Record:
    """A record of the benchmark's form from the reference plant: slow random pump voltage, noise of 0.03 V."""
    system = discretise(CascadedTanks(), RK4(is_looped=True), dt=dt)

    def one(key: PRNGKeyArray) -> tuple[Any, Any]:
        walk, spread, error = jr.split(key, 3)
        knots = (
            2.8 + 1.1 * jr.normal(walk, (n // 32 + 2,)) + jnp.where(jr.uniform(spread, (n // 32 + 2,)) > 0.93, 3.0, 0.0)
        )
        u = jnp.clip(jnp.interp(jnp.arange(n) / 32, jnp.arange(float(knots.size)), knots), *INPUT)
        advance = lambda x, u: (system.step(0.0, x, u[None]), x)
        x = jax.lax.scan(advance, jnp.array([6.0, 5.0, 0.0, 0.0]).at[2].set(u[0]), u)[1]
        exact = jax.vmap(lambda x: system.output(0.0, x, None)[0])(x)
        return u, jnp.minimum(exact + noise * jr.normal(error, (n,)), 10.0)

    (u, u_test), (y, y_test) = jax.vmap(one)(jr.split(key))
    return Record(u, y, u_test, y_test, dt)


def prior(coordinates: Any, starts: Any, u0: Any) -> Any:
    """Beliefs: parameters in their ranges; the pump at rest with its input, the relay released at the start."""
    return np.sqrt(PRIOR) * coordinates, np.sqrt(1e-3) * (starts[0, 2:] - jnp.stack([u0, jnp.zeros_like(u0)]))


class _Dynamics(eqx.Module):
    dt: Array

    def __call__(self, x: Any, u: Any, w: Any, p: Scenario) -> Any:
        return discretise(TankLevels(plant(p.coordinates)), RK4(is_looped=True), dt=self.dt).step(0.0, x, u)


def tracking(x: Any, u: Any, w: Any, p: Scenario) -> Scalar:
    """`(x2 - reference)² + 0.05 (u - v)²` per sample [V²]: follow the reference, do not jerk the pump."""
    return (x[1] - p.reference) ** 2 + 0.05 * (u[0] - x[2]) ** 2


def control_problem(dt: float) -> OptimalControl:
    """Track the lower level within the limits of pump and levels."""
    return OptimalControl(
        _Dynamics(jnp.asarray(dt)), tracking, lambda p: p.x0, HORIZON,
        terminal=lambda x, p: 5.0 * (x[1] - p.reference) ** 2,
        x_lower=jnp.array([LEVELS[0][0], LEVELS[1][0], -jnp.inf]),
        x_upper=jnp.array([LEVELS[0][1], LEVELS[1][1], jnp.inf]),
        u_lower=jnp.array([INPUT[0]]), u_upper=jnp.array([INPUT[1]]), dt=dt,
    )  # fmt: skip


class Scenarios(eqx.Module):
    """Draws scenarios: levels inside their limits, any reference the lower tank can hold, one plant or uncertain ones.

    Args:
        coordinates: the estimate.
        root: a square root of its covariance, for uncertain plants; None for the estimate alone.
    """

    coordinates: Float[Array, "parameter"]
    root: Float[Array, "parameter parameter"] | None = None

    def __call__(self, key: PRNGKeyArray) -> Scenario:
        kx, kr, kp = jr.split(key, 3)
        x0 = jr.uniform(kx, (3,), minval=jnp.array([1.0, 1.5, 1.0]), maxval=jnp.array([9.0, 9.0, 6.0]))
        z = self.coordinates
        z = z if self.root is None else z + self.root @ jr.normal(kp, z.shape)
        return Scenario(x0, jr.uniform(kr, (), minval=2.0, maxval=8.5), z)
