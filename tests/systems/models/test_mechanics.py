"""Mechanics: pendulums in closed form, conserved energy, passivity for random parameters, errors."""

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.simulation import simulate, ZeroOrderHold
from sciml.systems import RK4
from sciml.systems.models import CholeskyMatrix, Hamiltonian, Lagrangian, PortHamiltonian, separable

G = 9.81
M1, M2, L1, L2 = 1.3, 0.7, 0.8, 1.1


def double_mass(q: Any) -> Any:
    cross = M2 * L1 * L2 * jnp.cos(q[0] - q[1])
    return jnp.stack([jnp.stack([(M1 + M2) * L1**2 + 0 * cross, cross]), jnp.stack([cross, M2 * L2**2 + 0 * cross])])


def double_potential(q: Any) -> Any:
    return -(M1 + M2) * G * L1 * jnp.cos(q[0]) - M2 * G * L2 * jnp.cos(q[1])


DOUBLE = Lagrangian(double_mass, double_potential)


def test_the_double_pendulum_in_closed_form():
    """Accelerations of two point masses on rods, angles from the vertical, solved for by hand."""
    a, b, v, w = 0.7, -1.2, 0.9, -2.0
    d, total = a - b, 2 * M1 + M2
    bottom = total - M2 * np.cos(2 * d)
    first = (
        -G * total * np.sin(a) - M2 * G * np.sin(a - 2 * b) - 2 * np.sin(d) * M2 * (w**2 * L2 + v**2 * L1 * np.cos(d))
    ) / (L1 * bottom)
    second = (
        2 * np.sin(d) * (v**2 * L1 * (M1 + M2) + G * (M1 + M2) * np.cos(a) + w**2 * L2 * M2 * np.cos(d)) / (L2 * bottom)
    )
    rate = DOUBLE.vector_field(0.0, jnp.array([a, b, v, w]), None)
    np.testing.assert_allclose(rate, [v, w, first, second], rtol=1e-12)


def test_hamiltonian_and_lagrangian_are_one_motion():
    """The Legendre transform: `p = M(q) v`."""
    energy = lambda q, p: 0.5 * p @ jnp.linalg.solve(double_mass(q), p) + double_potential(q)
    q, v = jnp.array([0.7, -1.2]), jnp.array([0.9, -2.0])
    speeds = DOUBLE.vector_field(0.0, jnp.concatenate([q, v]), None)
    dq, dp = jnp.split(Hamiltonian(energy).vector_field(0.0, jnp.concatenate([q, double_mass(q) @ v]), None), 2)
    np.testing.assert_allclose(dq, v, rtol=1e-12)
    # d/dt (M v) = (dM/dt) v + M dv/dt
    rate = jax.jvp(double_mass, (q,), (v,))[1] @ v + double_mass(q) @ speeds[2:]
    np.testing.assert_allclose(dp, rate, rtol=1e-12)


def test_the_energy_of_a_double_pendulum_drifts_by_the_error_of_the_method_alone():
    ts, x0 = jnp.linspace(0.0, 5.0, 11), jnp.array([1.5, -0.5, 0.0, 0.0])
    drift = []
    for dt in (0.01, 0.005):
        run = simulate(DOUBLE, x0, ts=ts, method=RK4(), dt=dt)
        drift.append(float(jnp.max(jnp.abs(jax.vmap(DOUBLE.energy)(run.x) - DOUBLE.energy(x0)))))
    # energy of about 20 J; the fourth-order method gains a factor of about 2^4 or more from half the step
    assert drift[0] < 2e-3 and drift[1] < drift[0] / 12


def network(size: int, out: Any, key: Any) -> eqx.nn.MLP:
    return eqx.nn.MLP(size, out, width_size=8, depth=1, activation=jnp.tanh, key=key)


def learned(key: Any) -> dict[str, Any]:
    """One system of each kind with random networks in every place: state, input and the power that goes in."""
    keys = jr.split(key, 7)
    reshaped = lambda net, shape: lambda q: net(q).reshape(shape)
    mass, potential = CholeskyMatrix(network(2, 3, keys[0]), 2, 0.1), network(2, "scalar", keys[1])
    root, port = reshaped(network(2, 4, keys[2]), (2, 2)), reshaped(network(2, 2, keys[3]), (2, 1))
    kinetic = lambda p: 0.5 * p @ p + jnp.sum(jnp.cos(p))
    deep = network(3, "scalar", keys[4])
    return {
        "lagrangian": Lagrangian(mass, potential, damping_root=root, input_matrix=port),
        "hamiltonian": Hamiltonian(separable(kinetic, potential), damping_root=root, input_matrix=port),
        "port": PortHamiltonian(
            lambda x: x @ x + deep(x),
            reshaped(network(3, 9, keys[5]), (3, 3)),
            reshaped(network(3, 6, keys[6]), (3, 2)),
            jnp.array([[0.0], [1.0], [0.5]]),
        ),
    }


def power(system: Any, x: Any, u: Any) -> Any:
    """What the input brings in: `yᵀ u` at the port."""
    if isinstance(system, PortHamiltonian):
        return system.output(0.0, x, u) @ u
    q, v = jnp.split(x, 2)
    v = v if isinstance(system, Lagrangian) else jax.grad(system.hamiltonian, 1)(q, v)
    return v @ system.input_matrix(q) @ u


@pytest.mark.parametrize("kind", ["lagrangian", "hamiltonian", "port"])
def test_no_random_system_gains_more_energy_than_it_is_given(kind):
    """`d/dt H - yᵀu <= 0` at random states, for parameters ten times as large too; zero without damping."""
    system = learned(jr.key(3))[kind]
    size = 3 if kind == "port" else 4
    xs, us = 2 * jr.normal(jr.key(1), (50, size)), jr.normal(jr.key(2), (50, 1))

    @eqx.filter_jit
    def surplus(system: Any) -> Any:
        def one(x: Any, u: Any) -> Any:
            rate = jax.jvp(system.energy, (x,), (system.vector_field(0.0, x, u),))[1]
            return rate - power(system, x, u)

        return jax.vmap(one)(xs, us)

    for scale in (1.0, 10.0):
        scaled = jax.tree.map(lambda leaf, s=scale: s * leaf if eqx.is_inexact_array(leaf) else leaf, system)
        assert float(jnp.max(surplus(scaled))) < 1e-8 * scale**4
    assert float(jnp.min(surplus(system))) < -1e-2  # the damping is at work
    part = "dissipation_root" if kind == "port" else "damping_root"
    lossless = eqx.tree_at(lambda s: getattr(s, part), system, None)
    np.testing.assert_allclose(surplus(lossless), 0.0, atol=1e-10)


def test_the_dissipation_inequality_along_a_simulated_run():
    """`H(x(T)) - H(x(0)) + ∫ ‖Kᵀ∇H‖² = ∫ uᵀy`, with the integrals as further states."""
    system = learned(jr.key(3))["port"]

    def augmented(t: Any, both: Any, u: Any) -> Any:
        x = both[:3]
        slope = jax.grad(system.energy)(x)
        lost = jnp.sum((system.dissipation_root(x).T @ slope) ** 2)
        return jnp.concatenate([system.vector_field(t, x, u), jnp.stack([system.output(t, x, u) @ u, lost])])

    ts = jnp.linspace(0.0, 2.0, 21)
    held = ZeroOrderHold(ts, jnp.sin(3 * ts)[:, None])
    start = jnp.array([1.0, -0.5, 0.3, 0.0, 0.0])
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, u: augmented(t, y, u(t))),
        diffrax.Dopri8(),
        0.0,
        2.0,
        0.05,
        start,
        args=held,
        saveat=diffrax.SaveAt(ts=ts),
        stepsize_controller=diffrax.PIDController(rtol=1e-10, atol=1e-10, jump_ts=held.jumps()),
    )
    assert solution.ys is not None
    stored = jax.vmap(system.energy)(solution.ys[:, :3]) - system.energy(start[:3])
    supplied, lost = solution.ys[:, 3], solution.ys[:, 4]
    np.testing.assert_allclose(stored + lost, supplied, atol=1e-8)
    assert np.all(stored <= supplied + 1e-9) and float(lost[-1]) > 0.1


def test_matrices_are_positive_definite_for_any_entries():
    entries = 30 * jr.normal(jr.key(0), (40, 6))
    matrices = jax.vmap(lambda e: CholeskyMatrix(lambda q: e, 3, 0.5)(jnp.zeros(1)))(entries)
    eigenvalues = np.linalg.eigvalsh(np.asarray(matrices))
    assert eigenvalues.min() > 0.5 - 1e-9
    np.testing.assert_array_equal(matrices, matrices.mT)


def test_roots_are_roots_and_a_skew_matrix_is_itself():
    """0.3 as a root is a damping of 0.09."""
    root, x = 0.3 * np.eye(1), jnp.array([0.5, 2.0])
    energy = lambda x: 0.5 * x @ x
    spring = Lagrangian(lambda q: jnp.eye(1), lambda q: 0.5 * q @ q, damping_root=root)
    twin = Hamiltonian(lambda q, p: 0.5 * (q @ q + p @ p), damping_root=root)
    ported = PortHamiltonian(energy, np.array([[0.0, 1.0], [-1.0, 0.0]]), np.array([[0.0], [0.3]]), np.ones((2, 1)))
    for system in (spring, twin, ported):
        np.testing.assert_allclose(system.vector_field(0.0, x, None), [2.0, -0.5 - 0.09 * 2.0], rtol=1e-14)


def test_inputs_default_to_the_positions():
    system = Lagrangian(lambda q: 2 * jnp.eye(2), lambda q: jnp.zeros(()))
    rate = system.vector_field(0.0, jnp.zeros(4), jnp.array([1.0, -4.0]))
    np.testing.assert_allclose(rate, [0.0, 0.0, 0.5, -2.0])
    assert system.input_shape() is None
    assert Lagrangian(system.mass, system.potential, input_matrix=np.ones((2, 1))).input_shape() == (1,)


def test_bad_input_is_named(unchecked):
    with pytest.raises(ValueError, match="`size, floor`: got"):
        CholeskyMatrix(lambda q: q, 2, 0.0)
    with pytest.raises(ValueError, match=r"`damping_root`: got shape \(2,\)"):
        Lagrangian(double_mass, double_potential, damping_root=np.ones(2))
    for odd in (Lagrangian(double_mass, double_potential), Hamiltonian(lambda q, p: p @ p)):
        with pytest.raises(ValueError, match="`x`: got 3 states; expected an even number"):
            odd.vector_field(0.0, jnp.ones(3), None)
