"""Reference plants against their equations, SciPy and physics; finite gradients at their edges."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from sciml.systems import discretise, RK4
from sciml.systems.zoo import CascadedTanks, TwoTank, VanDerPol


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


def test_cascaded_tanks_equations_and_sensor():
    tanks = CascadedTanks(k1=0.05, k2=0.06, k3=0.07, k4=0.04)
    rate = tanks.vector_field(0.0, jnp.array([4.0, 9.0]), jnp.array([3.0]))
    np.testing.assert_allclose(rate, [0.04 * 3 - 0.05 * 2, 0.06 * 2 - 0.07 * 3], atol=2e-6)
    np.testing.assert_allclose(tanks.output(0.0, jnp.array([4.0, 9.0]), None), [9.0])
    np.testing.assert_allclose(tanks.output(0.0, jnp.array([4.0, 10.3]), None), [10.0])


def test_cascaded_tanks_overflow_of_the_upper_tank_reaches_the_lower():
    x, u = jnp.array([10.5, 5.0]), jnp.array([5.0])
    dry, wet = (CascadedTanks(k5=k).vector_field(0.0, x, u) for k in (0.0, 0.5))
    spill = 0.04 * 5 - 0.05 * np.sqrt(10.5) - float(dry[0])
    np.testing.assert_allclose(spill, 2 * 0.5, rtol=1e-3)  # rate times height above the brim
    np.testing.assert_allclose(wet - dry, [0.0, 0.5 * spill], rtol=1e-3)


def test_van_der_pol_against_scipy():
    def rate(t, x):
        return [x[1], 2 * (1 - x[0] ** 2) * x[1] - x[0]]

    truth = solve_ivp(rate, (0, 1), [2.0, 0.0], rtol=1e-11, atol=1e-12).y[:, -1]
    step = discretise(VanDerPol(2.0), RK4(), dt=1.0, substeps=200).step
    np.testing.assert_allclose(eqx.filter_jit(step)(0.0, jnp.array([2.0, 0.0]), None), truth, atol=1e-8)


@pytest.mark.parametrize("plant, m", [(TwoTank(), 2), (CascadedTanks(), 1), (VanDerPol(), 1)])
@pytest.mark.parametrize("level", [-0.1, 0.0, 1.0, 10.0, 20.0])
def test_gradients_are_finite_at_the_edges_in_both_dtypes(plant, m, level):
    for dtype in (jnp.float32, jnp.float64):
        cast = jax.tree.map(lambda a, dtype=dtype: a.astype(dtype), plant)
        x, u = jnp.full((2,), level, dtype), jnp.full((m,), 0.5, dtype)
        jacobians = eqx.filter_jit(jax.jacrev(type(plant).vector_field, argnums=(2, 3)))(
            cast, jnp.zeros((), dtype), x, u
        )
        assert all(np.all(np.isfinite(j)) and j.dtype == dtype for j in jax.tree.leaves(jacobians))
        assert plant.input_shape() == (m,)
