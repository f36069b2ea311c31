"""What plants keep or obey: energies, sums, equivalent forms, symmetries, one program for networks of any size."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sciml.systems import zoo
from tests.systems.zoo.test_plants import experiment


def test_double_pendulum_keeps_its_energy():
    a, v, b, w = experiment("double_pendulum")[2][0].T
    kinetic = v**2 + 0.5 * w**2 + v * w * np.cos(a - b)
    energy = kinetic - 9.81 * (2 * np.cos(a) + np.cos(b))
    np.testing.assert_allclose(energy, energy[0], atol=1e-5)  # 1e-6 of its range, as the steps promise


def test_lotka_volterra_stays_on_its_orbit():
    prey, predators = experiment("lotka_volterra")[2][2].T
    orbit = 0.1 * prey - 0.4 * np.log(prey) + 0.4 * predators - 1.1 * np.log(predators)
    np.testing.assert_allclose(orbit, orbit[0], atol=1e-6)


def test_population_of_an_epidemic_is_constant():
    shares = experiment("seir")[2]
    np.testing.assert_allclose(shares.sum(axis=-1), 1.0, atol=1e-12)  # roundings of 300 steps
    assert np.all(np.diff(shares[..., 3], axis=1) >= 0)


def test_bodies_keep_momentum_and_energy():
    xs, masses = experiment("gravitation")[2][:4], np.array([1.0, 1e-6, 1e-6, 1e-6])
    places, velocities = np.moveaxis(xs.reshape(*xs.shape[:2], 2, 4, 2), 2, 0)
    momentum = np.einsum("b,ktbd->ktd", masses, velocities)
    np.testing.assert_allclose(momentum, momentum[:, :1].repeat(momentum.shape[1], 1), atol=1e-13)
    apart = np.linalg.norm(places[..., :, None, :] - places[..., None, :, :], axis=-1) + np.eye(4)
    pairs = np.triu(masses[:, None] * masses / apart, 1).sum(axis=(-2, -1))
    energy = 0.5 * (masses * (velocities**2).sum(-1)).sum(-1) - pairs
    np.testing.assert_allclose(energy, energy[:, :1].repeat(energy.shape[1], 1), rtol=1e-6)


def test_bodies_in_both_scalings_are_the_same():
    """Accelerations count in `L / T^2` with `T^2 = L^3 / (G M)`."""
    (plain, x), (scaled, z) = zoo.four_bodies(is_scaled=False), zoo.four_bodies()
    speed = np.sqrt(6.67e-11 * 1e6)
    np.testing.assert_allclose(scaled.vector_field(0.0, z, None)[8:], plain.vector_field(0.0, x, None)[8:] / speed**2)
    np.testing.assert_allclose(z[8:] * speed, x[8:])


def test_lienard_coordinates_are_those_of_van_der_pol():
    lienard, plain = zoo.VanDerPolLienard(1.5), zoo.VanDerPol(1.5)

    def to_phase(x):
        return jnp.stack([x[0], 1.5 * (x[0] - x[0] ** 3 / 3 - x[1])])

    x = jnp.array([0.7, -1.2])
    moved, rate = jax.jvp(to_phase, (x,), (lienard.vector_field(0.0, x, None),))
    np.testing.assert_allclose(rate, plain.vector_field(0.0, moved, None), rtol=1e-14)


def test_no_force_leaves_the_plants_that_controls_hold():
    x = jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_array_equal(
        zoo.LorenzControl().vector_field(0.0, x, jnp.zeros(2)), zoo.Lorenz().vector_field(0.0, x, None)
    )
    np.testing.assert_allclose(
        zoo.ThomasControl().vector_field(0.0, x, jnp.array([0.3])), zoo.Thomas(0.3).vector_field(0.0, x, None)
    )
    np.testing.assert_allclose(
        zoo.DuffingControl().vector_field(0.0, x[:2], jnp.array([0.4])), zoo.Duffing().vector_field(0.4, x[:2], None)
    )


def test_reactor_rests_at_its_stated_equilibrium():
    x = jnp.array([0.87725294608097, 324.475443431599])
    rate = zoo.CSTR().vector_field(0.0, x, jnp.array([300.0]))
    np.testing.assert_allclose(rate, 0.0, atol=1e-8)  # terms of size 50, of which the state gives 11 digits


def test_cart_pole_keeps_its_energy_without_force():
    plant, (x,) = zoo.CartPole(), np.random.default_rng(0).uniform(-2, 2, (1, 4))
    speed = x[2]

    def energy(x):
        _, angle, speed, rate = x
        end = jnp.stack([speed + 0.5 * rate * jnp.cos(angle), 0.5 * rate * jnp.sin(angle)])
        return 0.5 * speed**2 + 0.15 * jnp.sum(end**2) - 0.3 * 9.81 * 0.5 * jnp.cos(angle)

    _, change = jax.jvp(energy, (jnp.asarray(x),), (plant.vector_field(0.0, jnp.asarray(x), jnp.zeros(1)),))
    np.testing.assert_allclose(change, 0.0, atol=1e-13)
    # Under a force, power enters at the cart.
    _, change = jax.jvp(energy, (jnp.asarray(x),), (plant.vector_field(0.0, jnp.asarray(x), jnp.array([3.0])),))
    np.testing.assert_allclose(change, 3.0 * speed, atol=1e-13)


def test_quadrotors_agree_in_a_plane_and_hover():
    flat = zoo.PlanarQuadrotor(mass=0.5, inertia=0.0023, arm=0.175)
    tilt, thrusts = 0.4, jnp.array([1.5, 1.1])
    side = flat.vector_field(0.0, jnp.array([0.1, 0.2, tilt, 0.3, 0.4, 0.5]), thrusts)
    # The y-z plane seen from the front: roll is the tilt, the second rotor is on the right.
    x = jnp.zeros(12).at[jnp.array([4, 5, 6, 9])].set(jnp.array([0.3, 0.4, tilt, 0.5]))
    u = jnp.array([0.0, 1.5, 0.0, 1.1])
    space = zoo.Quadrotor().vector_field(0.0, x, u)
    np.testing.assert_allclose(space[jnp.array([1, 2, 6, 4, 5, 9])], side, rtol=1e-14)
    still = zoo.Quadrotor().vector_field(0.0, jnp.zeros(12), jnp.full(4, 0.5 * 9.81 / 4))
    np.testing.assert_allclose(still, 0.0, atol=1e-14)


@pytest.mark.parametrize("masses, hand", [(1, [0.3, 0.1, 0.2]), (3, [0.792, 0.0, 0.0]), (9, [1.0, 0.0, 0.0])])
def test_chain_hangs_at_rest(masses, hand):
    chain = zoo.ChainOfMasses(masses)
    x = chain.rest(hand)
    np.testing.assert_allclose(x[3 * masses : 3 * masses + 3], hand, atol=1e-12)
    np.testing.assert_allclose(chain.vector_field(0.0, x, jnp.zeros(3)), 0.0, atol=1e-9)  # g times 1e-11


def test_chain_has_a_mass():
    with pytest.raises(ValueError, match="`masses`: got 0; expected at least one"):
        zoo.ChainOfMasses(0)


def ring(rooms: int) -> zoo.RCNetwork:
    walls = np.stack([np.arange(rooms), (np.arange(rooms) + 1) % rooms], axis=1)
    ones = np.ones(rooms)
    return zoo.RCNetwork(walls, 0.5 * ones, 1e4 * ones, np.inf * ones, np.inf * ones)


def test_heat_stays_in_an_isolated_network_and_evens_out():
    network, x = ring(6), jnp.linspace(288.0, 298.0, 6)
    rate = network.vector_field(0.0, x, 1e3 * jnp.ones(7))
    np.testing.assert_allclose(jnp.sum(network.capacity * rate), 0.0, atol=1e-10)
    np.testing.assert_allclose(network.vector_field(0.0, jnp.full(6, 290.0), jnp.zeros(7)), 0.0)
    assert rate[0] > 0 and rate[5] < 0


def test_networks_of_any_size_are_one_program():
    lines = {
        n: jax.jit(type(ring(n)).vector_field).lower(ring(n), 0.0, jnp.ones(n), jnp.ones(n + 1)).as_text().count("\n")
        for n in (5, 500)
    }
    assert lines[5] == lines[500] < 80


@pytest.mark.parametrize(
    "walls, message",
    [
        (np.array([[0, 1], [1, 0]]), "listed twice"),
        (np.array([[0, 1], [2, 2]]), r"\[2, 2\]; expected two different rooms"),
        (np.array([[0, 1], [1, 3]]), r"\[1, 3\]; expected two different rooms below 3"),
        (np.array([[0.0, 1.0], [1.0, 2.0]]), "integers of shape"),
        (np.array([[0, 1]]), "one resistance per wall"),
    ],
)
def test_walls_join_two_rooms_once(walls, message):
    with pytest.raises(ValueError, match=message):
        zoo.RCNetwork(walls, np.ones(2), np.ones(3), np.ones(3), np.ones(3))


def test_rooms_have_all_their_numbers():
    with pytest.raises(ValueError, match="one number per room each"):
        zoo.RCNetwork(np.array([[0, 1]]), np.ones(1), np.ones(3), np.ones(2), np.ones(3))


def test_flock_has_finite_gradients_where_members_meet_and_rest():
    x = jnp.zeros(16).at[:8].set(5.0)
    slope = jax.jit(jax.jacrev(zoo.Boids().step, argnums=1))(0.0, x, None)
    assert np.all(np.isfinite(slope))
    with pytest.raises(ValueError, match="`dt`: got 0.0"):
        zoo.Boids(dt=0.0)


def test_flock_turns_at_the_walls():
    """Two members that fly into a corner stay inside and turn round."""
    boids = zoo.Boids()
    step = eqx.filter_jit(boids.step)
    x = jnp.array([9.0, 9.3, 9.3, 9.0, 0.02, 0.02, 0.02, 0.02])
    for _ in range(120):
        x = step(0.0, x, None)
        assert np.all(x[:4] < 10.0) and np.all(np.hypot(x[4::2], x[5::2]) < 0.0301)
    assert np.all(x[4:] < 0)
