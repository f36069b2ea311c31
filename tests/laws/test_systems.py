"""Laws of systems over all public ones: compiled batch = eager loop, traced once, saved = loaded, float32 runs.

A system is an argument of what is compiled here, with its parameters: that is how it is fitted, and how a batch of
plants is simulated. About 15 CPU-seconds.
"""

from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

import sciml.systems
from sciml.sources import record, scale_records
from sciml.storage import load, save
from sciml.systems import (
    AbstractContinuousSystem,
    AbstractDiscreteSystem,
    discretise,
    LinearContinuous,
    LinearDiscrete,
    models,
    RK4,
    zoo,
)
from tests.laws.registries import assert_equal, cast, public


class Member(NamedTuple):
    system: Any
    x: np.ndarray
    u: np.ndarray


A, B, C = np.array([[-1.0, 0.3], [0.2, -0.5]]), np.array([[1.0], [0.5]]), np.array([[1.0, 2.0]])
KEY, LINEAR = jax.random.key(0), LinearDiscrete(A, B, C, dt=0.5)
SCALING = scale_records(record(np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([0.0, 4.0]), dt=0.1))
X, U = np.array([0.3, -0.2]), np.array([0.7])


def spring(p: Any, network: Any, t: Any, x: Array, u: Array) -> Array:
    return jnp.stack([x[1], u[0] - p["stiffness"] * x[0] + network(x)[0]])


GREY = models.GreyBox(spring, {"stiffness": jnp.asarray(2.0)}, eqx.nn.MLP(2, 1, 4, 1, key=KEY))
MASS, POTENTIAL = (eqx.nn.MLP(1, out, 4, 1, jnp.tanh, key=KEY) for out in (1, "scalar"))


def node(p: Any, x: Array, s: Array, u: Array) -> Array:
    return (s - x + u) / p


def flow(q: Any, mine: Array, other: Array) -> Array:
    return (other - mine) / q


SYSTEMS = {
    "NeuralODE": Member(models.NeuralODE(2, 1, width=4, key=KEY), X, U),
    "GreyBox": Member(GREY, X, U),
    "StateSpace": Member(models.StateSpace(2, 1, 1, dt=0.5, linear=LINEAR, has_output_network=True, key=KEY), X, U),
    "HammersteinWiener": Member(
        models.HammersteinWiener(
            LINEAR, input_nonlinearity=models.Residual(1, key=KEY), output_nonlinearity=models.Residual(1, key=KEY)
        ),
        X,
        U,
    ),
    "Recurrent": Member(models.Recurrent(models.ElmanCell(1, 2, key=KEY), 1, dt=0.5, key=KEY), X, U),
    "LiquidTimeConstant": Member(models.LiquidTimeConstant(2, 1, 1, tau=0.5, key=KEY), X, U),
    "NetworkODE": Member(
        models.NetworkODE(
            node,
            flow,
            np.array([0]),
            np.array([1]),
            nodes=2,
            is_undirected=True,
            node_parameters=np.array([1.0, 2.0]),
            edge_parameters=np.array([0.5]),
            gates=models.Gates(np.zeros(1)),
        ),
        X,
        np.array([0.7, -0.1]),
    ),
    "Lagrangian": Member(
        models.Lagrangian(
            models.CholeskyMatrix(MASS, 1), POTENTIAL, damping_root=np.array([[0.4]]), input_matrix=np.array([[1.5]])
        ),
        X,
        U,
    ),
    "Hamiltonian": Member(models.Hamiltonian(models.separable(POTENTIAL, MASS), damping_root=np.array([[0.4]])), X, U),
    "PortHamiltonian": Member(
        models.PortHamiltonian(eqx.nn.MLP(2, "scalar", 4, 1, jnp.tanh, key=KEY), A, np.array([[0.1], [0.3]]), B), X, U
    ),
    "ScaledContinuous": Member(models.scaled(GREY, SCALING, measures_state=True), X, U),
    "ScaledDiscrete": Member(models.scaled(LINEAR, SCALING, measures_state=False), X, U),
    "SINDy": Member(models.SINDy(models.Polynomial(2), 0.1 * np.arange(20.0).reshape(10, 2), inputs=1), X, U),
    "Koopman": Member(models.koopman(2, 2, 1, dt=0.5, width=4, has_input_network=True, key=KEY).system, X, U),
    "LinearContinuous": Member(LinearContinuous(A, B, C), np.array([0.3, -0.2]), np.array([0.7])),
    "LinearDiscrete": Member(LinearDiscrete(A, B, C, dt=0.5), np.array([0.3, -0.2]), np.array([0.7])),
    "Discretised": Member(
        discretise(zoo.VanDerPol(), RK4(), dt=0.1, substeps=2), np.array([1.0, 0.5]), np.array([0.2])
    ),
    "CascadedTanks": Member(zoo.CascadedTanks(), np.array([4.0, 5.0, 3.0, 0.2]), np.array([3.5])),
    "TankLevels": Member(zoo.TankLevels(), np.array([4.0, 5.0, 3.0]), np.array([3.5])),
    "TwoTank": Member(zoo.TwoTank(), np.array([0.4, 0.3]), np.array([0.6, 0.3])),
    "VanDerPol": Member(zoo.VanDerPol(), np.array([1.0, 0.5]), np.array([0.2])),
}
for plant in zoo.plants():
    if type(plant.system) not in {type(member.system) for member in SYSTEMS.values()}:
        x, u = np.asarray(plant.start(jr.key(0))), np.asarray(0.4 * plant.u_low + 0.6 * plant.u_high)
        SYSTEMS[type(plant.system).__name__] = Member(plant.system, x, u)
each = pytest.mark.parametrize("name", SYSTEMS)


def test_every_public_system_is_under_these_laws():
    continuous = public(sciml.systems, models, zoo, of=AbstractContinuousSystem)
    discrete = public(sciml.systems, models, zoo, of=AbstractDiscreteSystem)
    assert continuous | discrete == {type(member.system) for member in SYSTEMS.values()}, "add it to `SYSTEMS`"


def advance(system: Any, x: Array, u: Array) -> Any:
    """What a system says of a point in state space: its rate or next state, and its output."""
    time = jnp.asarray(0.5, x.dtype)
    move = system.vector_field if isinstance(system, AbstractContinuousSystem) else system.step
    return move(time, x, u), system.output(time, x, u)


@cache
def compiled(name: str) -> Any:
    """The derivatives along one direction too, of which a batch is taken; raises where it is traced a second time."""

    def one(system: Any, x: Array, u: Array) -> Any:
        return advance(system, x, u), jax.jacrev(lambda x: advance(system, x, u))(x)

    batch = jax.vmap(one, in_axes=(None, 0, 0))
    return eqx.filter_jit(eqx.debug.assert_max_traces(batch, max_traces=1))


def batch_of(member: Member) -> tuple[Array, Array]:
    scales = jnp.array([1.0, 0.5, 1.2])[:, None]
    return scales * member.x, scales * member.u


@each
def test_compiled_batch_equals_eager_loop(name: str):
    member = SYSTEMS[name]
    xs, us = batch_of(member)
    together, slopes = compiled(name)(member.system, xs, us)
    for i in range(len(xs)):
        # Both round at each of some tens of operations.
        one = jax.tree.map(lambda leaf, i=i: leaf[i], together)
        assert_equal(one, advance(member.system, xs[i], us[i]), rtol=1e-13, atol=1e-14)
    assert together[0].shape == xs.shape
    assert all(bool(jnp.all(jnp.isfinite(slope))) for slope in jax.tree.leaves(slopes))


@each
def test_other_parameters_are_not_traced_again(name: str):
    member = SYSTEMS[name]
    xs, us = batch_of(member)
    before = compiled(name)(member.system, xs, us)[0]
    factor = iter(np.linspace(1.1, 1.3, 100).tolist())  # not one for all: some systems have a scale without effect
    other = jax.tree.map(lambda leaf: next(factor) * leaf if eqx.is_inexact_array(leaf) else leaf, member.system)
    after = compiled(name)(other, xs, us)[0]  # raises if it is traced again
    assert not np.allclose(before[0], after[0], rtol=1e-3)


@each
def test_a_saved_system_is_the_same(name: str, tmp_path):
    system = SYSTEMS[name].system
    save(tmp_path / "system.sciml", system)
    like = jax.tree.map(lambda leaf: jnp.zeros_like(leaf) if eqx.is_array(leaf) else leaf, system)
    assert eqx.tree_equal(load(tmp_path / "system.sciml", like), system)


@each
def test_float32_runs(name: str):
    """1e-5: a few tens of roundings of 6e-8; also of the state, where a rate is a difference of terms of its size."""
    member = SYSTEMS[name]
    x, u = jnp.asarray(member.x, jnp.float32), jnp.asarray(member.u, jnp.float32)
    single = eqx.filter_jit(advance)(cast(member.system, jnp.float32), x, u)
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype(np.float32)}
    double = advance(member.system, jnp.asarray(member.x), jnp.asarray(member.u))
    assert_equal(single, double, rtol=1e-5, atol=max(1e-5, 3e-7 * np.abs(member.x).max()))


@each
def test_a_system_tells_the_shape_of_its_input(name: str):
    member = SYSTEMS[name]
    assert member.system.input_shape() in (None, member.u.shape)
