"""Reference plants against their equations, SciPy and physics; finite gradients at their edges."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.systems import discretise, RK4
from sciml.systems.zoo import CascadedTanks, TankLevels, TwoTank, VanDerPol


def test_two_tank_equations_away_from_the_edges():
    rate = TwoTank().vector_field(0.0, jnp.array([0.49, 0.25]), jnp.array([0.6, 0.3]))
    expected = [0.08 * 0.7 * 0.6 - 0.04 * 0.7, 0.08 * 0.3 * 0.6 + 0.04 * 0.7 - 0.04 * 0.5]
    np.testing.assert_allclose(rate, expected, atol=1e-7)  # width of safe_sqrt: 0.04 * 1e-6 / (2 * 0.5)


def test_two_tank_stays_below_its_brim_and_drains():
    system = discretise(TwoTank(), RK4(), dt=1.0, substeps=5)

    @jax.jit
    def run(x, us):
        return jax.lax.scan(lambda x, u: (system.step(0.0, x, u), None), x, us)[0]

    x = run(jnp.zeros(2), jnp.tile(jnp.array([1.0, 0.3]), (200, 1)))
    # balance at full pump: inflow 0.08 * 0.7 = c2 sqrt(h1) + spill, so h1 < 1 + 0.016 / 10 + width ln 2
    assert 1.0 < float(x[0]) < 1.0035 and float(x[1]) < 1.0065
    assert np.all(np.abs(run(x, jnp.zeros((200, 2)))) < 1e-2)


PLAIN = {"jet1": 0.0, "jet2": 0.0, "head1": 0.0, "power1": 0.5, "power2": 0.5, "dead": 0.0, "ratio": 0.5}


def test_cascaded_tanks_are_bernoulli_tanks_without_their_extras():
    tanks = CascadedTanks(**PLAIN, outflow1=0.13, outflow2=0.14, gain=0.06, lag=5.0)
    rate = tanks.vector_field(0.0, jnp.array([4.0, 9.0, 3.0, 0.0]), jnp.array([4.0]))
    q1, q2 = 0.13 * np.sqrt(0.4), 0.14 * np.sqrt(0.9)
    # The root's argument is rounded by 2.5e-3 / level + 1e-4, the rest is exact.
    np.testing.assert_allclose(rate, [0.5 * (0.06 * 3 - q1), q1 - q2, 0.2, 0.0], atol=3e-5)


def test_cascaded_tanks_overflow_reaches_the_lower_tank_and_trips_the_relay():
    x, u = jnp.array([10.5, 5.0, 3.0, 0.0]), jnp.array([3.0])
    dry, wet = (CascadedTanks(share=s, trip=2.0).vector_field(0.0, x, u) for s in (0.0, 0.5))
    spill = 0.35 * 0.5  # rate times height above the brim
    np.testing.assert_allclose(wet - dry, [0.0, 0.5 * spill / 0.585, 0.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(wet[3], 2.0 * spill, rtol=1e-3)


def test_cascaded_tanks_sensor_saturates_and_is_biased_by_the_relay():
    tanks = CascadedTanks(bias=0.3)
    read = lambda level, relay: float(tanks.output(0.0, jnp.array([1.0, level, 0.0, relay]), None)[0])
    np.testing.assert_allclose([read(9.0, 0.0), read(9.0, 1.0), read(9.9, 1.0)], [9.0, 9.3, 10.0])


def test_levels_for_control_are_the_tanks_without_the_relay():
    tanks, x, u = CascadedTanks(), jnp.array([10.2, 6.0, 3.0, 0.7]), jnp.array([4.0])
    levels = TankLevels(tanks)
    np.testing.assert_array_equal(levels.vector_field(0.0, x[:3], u), tanks.vector_field(0.0, x, u)[:3])
    np.testing.assert_array_equal(levels.output(0.0, x[:3], None), [6.0])
    assert levels.input_shape() == (1,)


def test_looped_stages_give_the_same_step():
    x, u = jnp.array([5.0, 6.0, 3.0, 0.2]), jnp.array([4.0])
    one, other = (discretise(CascadedTanks(), RK4(is_looped=flag), dt=4.0).step(0.0, x, u) for flag in (False, True))
    np.testing.assert_allclose(one, other, rtol=1e-14)


def test_van_der_pol_against_scipy():
    def rate(t, x):
        return [x[1], 2 * (1 - x[0] ** 2) * x[1] - x[0]]

    truth = solve_ivp(rate, (0, 1), [2.0, 0.0], rtol=1e-11, atol=1e-12).y[:, -1]
    step = discretise(VanDerPol(2.0), RK4(), dt=1.0, substeps=200).step
    np.testing.assert_allclose(eqx.filter_jit(step)(0.0, jnp.array([2.0, 0.0]), None), truth, atol=1e-8)


@pytest.mark.parametrize(
    "plant, m, n", [(TwoTank(), 2, 2), (CascadedTanks(), 1, 4), (TankLevels(), 1, 3), (VanDerPol(), 1, 2)]
)
@pytest.mark.parametrize("level", [-0.1, 0.0, 1.0, 10.0, 20.0])
def test_gradients_are_finite_at_the_edges_in_both_dtypes(plant, m, n, level):
    for dtype in (jnp.float32, jnp.float64):
        cast = jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), plant)
        x, u = jnp.full((n,), level, dtype), jnp.full((m,), 0.5, dtype)
        jacobians = eqx.filter_jit(jax.jacrev(type(plant).vector_field, argnums=(2, 3)))(
            cast, jnp.zeros((), dtype), x, u
        )
        assert all(np.all(np.isfinite(j)) and j.dtype == dtype for j in jax.tree.leaves(jacobians))
        assert plant.input_shape() == (m,)
