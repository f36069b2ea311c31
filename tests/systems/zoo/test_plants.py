"""Every reference plant: its equations against SciPy on independent ones, and laws of its experiment.

One compiled function per plant serves both. About 40 CPU-seconds.
"""

from functools import cache
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array
from scipy.integrate import solve_ivp

from sciml.core import RESULTS
from sciml.simulation import rollout
from sciml.systems import AbstractContinuousSystem, discretise, RK4, zoo
from tests.systems.zoo import references

PLANTS = {plant.name: plant for plant in zoo.plants()}
CONTINUOUS = [name for name, plant in PLANTS.items() if isinstance(plant.system, AbstractContinuousSystem)]
each = pytest.mark.parametrize("name", PLANTS)

# Chaos amplifies the error of both methods: compared for this long only, in the unit of the plant's time.
UNTIL = {"double_pendulum": 6.0, "lorenz": 8.0, "lorenz_control": 5.0, "rossler": 50.0, "chua": 1.4, "two_tank": 200.0}
# The root has an infinite second derivative where the tanks start, empty: a fine step there, and only there.
SUBSTEPS = {"two_tank": 400}


@cache
def compiled(name: str) -> Any:
    plant = PLANTS[name]
    finer = SUBSTEPS.get(name)
    system = discretise(plant.system, RK4(), dt=plant.dt, substeps=finer) if finer else plant.discrete()

    def one(x: Array, us: Array | None) -> Array:
        ts = jnp.arange(plant.steps, dtype=float) * plant.dt
        xs = jax.lax.scan(lambda x, now: (system.step(now[0], x, now[1]),) * 2, x, (ts, us))[1]
        return jnp.concatenate([x[None], xs])

    return jax.jit(jax.vmap(one))


@cache
def experiment(name: str) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Initial states, inputs, states: the default start under a held input, then under a default one, then samples."""
    plant = PLANTS[name]
    starts, signals = jr.split(jr.key(1), (2, 8))
    x0 = jax.vmap(plant.start)(starts).at[:2].set(plant.x0)
    us = None if plant.signal is None else jax.vmap(plant.inputs)(signals)
    us = None if us is None else us.at[0].set(us[0, 0])
    return np.asarray(x0), us if us is None else np.asarray(us), np.asarray(compiled(name)(x0, us))


@pytest.mark.parametrize("name", CONTINUOUS)
def test_plant_is_its_equations_integrated_by_scipy(name: str):
    plant, (_, us, xs) = PLANTS[name], experiment(name)
    u, rate = None if us is None else us[0, 0], getattr(references, name)
    ts = np.arange(plant.steps + 1) * float(plant.dt)
    ts = ts[ts <= UNTIL.get(name, ts[-1])]
    truth = solve_ivp(
        lambda t, x: rate(t, x, u), (0, ts[-1]), xs[0, 0], method="DOP853", rtol=1e-10, atol=1e-13, t_eval=ts
    )
    assert truth.success
    scale = np.maximum(np.abs(truth.y.T).max(axis=0), 1e-2)
    # 1e-6 of the largest value of each state, or of 0.01: the steps of the plants are chosen for it.
    np.testing.assert_array_less(np.abs(xs[0, : len(ts)] - truth.y.T) / scale, 1e-6)


def test_discrete_plants_are_their_equations():
    flock, (_, us, xs) = experiment("boids")[2][0], experiment("single_zone")
    for k in range(10):
        # 1e-12: the reference sums over members in another order.
        np.testing.assert_allclose(flock[k + 1], references.boids(flock[k]), rtol=0, atol=1e-12)
        np.testing.assert_allclose(xs[1, k + 1], references.single_zone(xs[1, k], us[1, k]), rtol=1e-13)


@each
def test_runs_are_finite_and_admissible(name: str):
    plant, (x0, us, xs) = PLANTS[name], experiment(name)
    assert np.all(np.isfinite(xs)) and bool(jnp.all(plant.is_admissible(jnp.asarray(xs))))
    assert np.all((x0[2:] >= plant.x_low) & (x0[2:] <= plant.x_high)) and len(np.unique(x0[2:], axis=0)) == 6
    if us is not None:
        assert us.shape == (8, plant.steps, len(plant.controls)) and plant.system.input_shape() == us.shape[2:]
        assert np.all((us >= plant.u_low) & (us <= plant.u_high)) and np.all(us[1:].std(axis=1) > 0)


@each
def test_description_fits_the_system(name: str):
    plant = PLANTS[name]
    n = len(plant.states)
    for box in (plant.x0, plant.x0_low, plant.x0_high, plant.x_low, plant.x_high):
        assert box.shape == (n,)
    assert np.all(plant.x0_low <= plant.x0_high) and bool(plant.is_admissible(plant.x0))
    assert plant.u_low.shape == plant.u_high.shape == (len(plant.controls),)
    assert all(label.endswith("]") and " [" in label for label in (*plant.states, *plant.controls))
    if not isinstance(plant.system, AbstractContinuousSystem):
        assert plant.discrete() is plant.system and float(plant.system.dt) == float(plant.dt)


def test_the_collection_is_complete_and_its_names_are_unique():
    """12 autonomous and 13 non-autonomous systems, three coupled ones of which one in two scalings, one building; five
    for control."""
    assert len(PLANTS) == len(zoo.plants()) == 35
    assert sum(plant.signal is None for plant in PLANTS.values()) == 12 + 3


@pytest.mark.parametrize("name, policy", [("tank", lambda x, w: w), ("brusselator", lambda x, w: None)])
def test_plants_roll_out(name: str, policy: Any):
    plant = PLANTS[name]
    inputs = plant.inputs(jr.key(0), 20)
    run = rollout(plant.discrete(), policy, plant.start(jr.key(1)), inputs, steps=20)
    assert run.result == RESULTS.successful and bool(jnp.all(plant.is_admissible(run.x)))


def test_a_plant_is_made_under_jit_and_in_batches():
    plant = PLANTS["two_tank"]
    states = eqx.filter_jit(lambda plant, keys: jax.vmap(plant.start)(keys))(plant, jr.split(jr.key(0), 3))
    assert states.shape == (3, 2)
    assert PLANTS["pendulum"].inputs(jr.key(0)) is None
    np.testing.assert_allclose(jnp.sum(PLANTS["seir"].start(jr.key(0))), 1.0, rtol=1e-15)
    assert not plant.is_admissible(jnp.array([0.5, jnp.nan]))


def test_a_plant_with_inputs_has_a_signal():
    plant = PLANTS["two_tank"]
    with pytest.raises(ValueError, match="2 inputs and no signal"):
        zoo.Plant(**{**{f: getattr(plant, f) for f in plant.__dataclass_fields__}, "signal": None})


@each
def test_plant_stands_on_the_page_of_plants(name: str):
    page = (Path(__file__).resolve().parents[3] / "docs" / "plants.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |")).split(" | ")
    plant = PLANTS[name]
    dt, steps = row[4].split(", ")
    assert float(dt.split()[0]) == float(plant.dt) and int(steps) == plant.steps
    if len(plant.states) < 9 and name != "five_rooms":
        assert row[2:4] == [", ".join(plant.states), ", ".join(plant.controls) or "none"]
