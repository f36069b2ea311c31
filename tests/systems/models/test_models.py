"""What each model of records promises: where it starts, what it reduces to, and its units."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.simulation import free_run, replay, rollout
from sciml.sources import record, scale_records
from sciml.systems import LinearContinuous, LinearDiscrete, zoo
from sciml.systems.models import (
    Constant,
    ElmanCell,
    Encoder,
    GreyBox,
    HammersteinWiener,
    LiquidTimeConstant,
    Measured,
    NeuralODE,
    Recurrent,
    Residual,
    scaled,
    Started,
    StateSpace,
)

KEY = jr.key(0)
A, B, C = np.array([[0.9, 0.1], [0.0, 0.8]]), np.array([[0.0], [1.0]]), np.array([[1.0, 0.5]])
LINEAR = LinearDiscrete(A, B, C, dt=0.1)
DATA = record(np.zeros((20, 1)), np.random.default_rng(0).normal(size=20), dt=0.1)


def outputs(system):
    return replay(system, jnp.array([0.5, -0.2]), DATA).y


def test_nonlinear_models_start_at_their_linear_part():
    expected = outputs(LINEAR)
    curved = StateSpace(2, 1, 1, dt=0.1, linear=LINEAR, has_output_network=True, key=KEY)
    blocks = HammersteinWiener(
        LINEAR, input_nonlinearity=Residual(1, key=KEY), output_nonlinearity=Residual(1, key=KEY)
    )
    np.testing.assert_array_equal(outputs(curved), expected)
    np.testing.assert_array_equal(outputs(blocks), expected)
    np.testing.assert_array_equal(outputs(HammersteinWiener(LINEAR)), expected)


def test_a_random_state_space_is_stable():
    model = StateSpace(5, 2, 3, dt=0.1, width=0, key=KEY)
    np.testing.assert_allclose(np.abs(np.linalg.eigvals(model.A)), 0.9, rtol=1e-12)
    assert model.f is None and model.input_shape() == (2,)
    with pytest.raises(ValueError, match="`linear`: got 2 states, 1 inputs, 1 outputs; expected 3, 1 and 1"):
        StateSpace(3, 1, 1, dt=0.1, linear=LINEAR, key=KEY)
    with pytest.raises(ValueError, match="`linear`: got a sampling time of 0.1; expected dt = 0.2"):
        StateSpace(2, 1, 1, dt=0.2, linear=LINEAR, key=KEY)


def test_blocks_act_before_and_after():
    square, root = lambda v: v**2, lambda v: jnp.tanh(v)
    system = HammersteinWiener(LINEAR, input_nonlinearity=square, output_nonlinearity=root)
    squared = eqx.tree_at(lambda r: r.u, DATA, DATA.u**2)
    inner = replay(LINEAR, jnp.array([0.5, -0.2]), squared).y
    np.testing.assert_allclose(outputs(system), jnp.tanh(inner), rtol=1e-12)


def test_a_neural_ode_runs_with_and_without_input():
    forced, free = NeuralODE(2, 1, rate=3.0, key=KEY), NeuralODE(2, key=KEY)
    x, u = jnp.array([0.1, 0.2]), jnp.array([0.3])
    expected = 3.0 * forced.network(jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(forced.vector_field(0.0, x, u), expected)
    assert free.vector_field(0.0, x, None).shape == (2,) and free.input_shape() is None
    # The rate is a constant: no fit trains it.
    assert 3.0 not in [leaf for leaf in jax.tree.leaves(eqx.filter(forced, eqx.is_inexact_array)) if leaf.size == 1]


def test_a_grey_box_with_the_true_equations_is_the_plant():
    def field(p, network, t, x, u):
        return jnp.stack([x[1], p["mu"] * (1 - x[0] ** 2) * x[1] - x[0] + u[0] + network(x)])

    model = GreyBox(field, {"mu": jnp.asarray(1.0)}, lambda x: 0.0, lambda p, t, x, u: x[:1])
    plant = replay(zoo.VanDerPol(), jnp.array([0.5, -0.2]), DATA)
    np.testing.assert_allclose(outputs(model), plant.x[:, :1], rtol=1e-13)


def test_recurrent_cells():
    gru = eqx.nn.GRUCell(1, 3, key=KEY)
    model = Recurrent(gru, 2, dt=0.1, key=KEY)
    x, u = jnp.array([0.1, 0.2, 0.3]), jnp.array([0.4])
    np.testing.assert_array_equal(model.step(0.0, x, u), gru(u, x))
    assert model.output(0.0, x, u).shape == (2,)
    elman = ElmanCell(1, 3, key=KEY)
    W, b = elman.layer.weight, elman.layer.bias
    np.testing.assert_allclose(elman(u, x), np.tanh(W @ np.concatenate([u, x]) + b), rtol=1e-14)


class Leak(eqx.Module):
    def __call__(self, u, x):
        return 0.5 * x + u


def test_any_cell_with_one_array_of_state():
    model = Recurrent(Leak(), 1, dt=0.1, state_size=1, key=KEY)
    np.testing.assert_array_equal(model.step(0.0, jnp.ones(1), jnp.ones(1)), [1.5])
    assert model.input_shape() is None
    assert Recurrent(ElmanCell(2, 3, key=KEY), 1, dt=0.1, key=KEY).input_shape() == (2,)
    assert LiquidTimeConstant(3, 2, 1, key=KEY).input_shape() == (2,)
    with pytest.raises(ValueError, match="`cell`: got a Leak without `hidden_size`"):
        Recurrent(Leak(), 1, dt=0.1, key=KEY)
    with pytest.raises(TypeError, match="`cell`: got an LSTMCell"):
        Recurrent(eqx.nn.LSTMCell(1, 2, key=KEY), 1, dt=0.1, key=KEY)
    with pytest.raises(ValueError, match="`tau`: got -1"):
        LiquidTimeConstant(2, 1, 1, tau=-1.0, key=KEY)


def test_liquid_states_stay_between_zero_and_their_target():
    model = LiquidTimeConstant(3, 1, 1, tau=0.5, key=KEY)
    wild = eqx.tree_at(lambda r: r.u, DATA, 100.0 * DATA.u)
    states = replay(model, 0.5 * model.target, wild, substeps=4).x
    share = states / model.target
    assert bool(jnp.all((share >= 0) & (share <= 1)))


def test_a_scaled_model_is_the_model_in_physical_units():
    """Fitted to scaled data, used with physical ones: channels of very different size."""
    rng = np.random.default_rng(1)
    data = record(rng.normal(size=(20, 2)) * [1e6, 1e-3] + [5e6, 0.0], 300.0 + rng.normal(size=20), dt=0.1)
    scaling = scale_records(data)
    inner = LinearContinuous(np.array([[-1.0, 0.5], [0.0, -2.0]]), np.ones((2, 1)))
    small = scaling.apply(data)
    expected = scaling.y.invert(replay(inner, small.y[0], small).y)
    outer = scaled(inner, scaling, measures_state=True)
    got = replay(outer, data.y[0], data)
    np.testing.assert_allclose(got.y, expected, rtol=1e-9)
    np.testing.assert_allclose(got.x, expected, rtol=1e-9)  # the state is physical too
    discrete = scaled(LINEAR, scale_records(record(np.arange(4.0), np.arange(4.0), dt=0.1)))
    assert not eqx.is_array(discrete.units.y.mean[0])  # constants: no fit trains them
    started = Started(LINEAR, Encoder(2, 1, 1, lag=3, key=KEY))
    line = record(np.arange(9.0) ** 2, np.arange(9.0), dt=0.1)
    affine = scale_records(line)
    np.testing.assert_allclose(
        free_run(scaled(started, affine), line).y, affine.y.invert(free_run(started, affine.apply(line)).y), rtol=1e-12
    )
    with pytest.raises(TypeError, match="`system`: got function"):
        scaled(lambda x: x, scaling)


def test_a_bare_scaled_model_begins_in_physical_units():
    """Cooling from 301 to 300 by dx/dt = -(x - 300.5)/s: the first state is the first measurement."""
    t = 0.1 * np.arange(20)
    data = record(300 + np.exp(-t), np.zeros(20), dt=0.1)
    scaling = scale_records(data)
    inner = LinearContinuous(-np.eye(1), np.ones((1, 1)))
    for outer in (scaled(inner, scaling), scaled(Started(inner), scaling)):
        run = free_run(outer, data)
        centre, spread = (float(part[0]) for part in (scaling.y.mean, scaling.y.scale))
        exact = centre + (301 - centre) * np.exp(-t)
        np.testing.assert_allclose(run.y[:, 0], exact, atol=1e-6 * spread)
    with pytest.raises(ValueError, match="`measures_state`: got False; expected True for a start at a measured state"):
        scaled(Started(inner), scaling, measures_state=False)
    with pytest.raises(ValueError, match=r"`measures_state`: got a state of shape \(2,\); expected \(1,\)"):
        scaled(LINEAR, scaling).step(0.0, jnp.ones(2), jnp.ones(1))


def test_starts_look_at_the_first_samples_only():
    y = np.random.default_rng(2).normal(size=(20, 2))
    y[1, 0] = np.nan
    data = record(y, np.arange(20.0), dt=0.1)
    encoder = Encoder(3, 1, 2, lag=4, key=KEY)
    later = eqx.tree_at(lambda r: (r.y, r.u), data, (data.y.at[4:].set(1e3), data.u.at[4:].set(1e3)))
    np.testing.assert_array_equal(encoder(data), encoder(later))
    z = np.concatenate([np.nan_to_num(y[:4]).ravel(), np.arange(4.0)])
    np.testing.assert_allclose(encoder(data), encoder.W @ z, rtol=1e-12)  # its network is zero at the start
    np.testing.assert_array_equal(Measured()(data), data.y[0])
    np.testing.assert_array_equal(Constant(jnp.ones(3))(data), np.ones(3))
    with pytest.raises(ValueError, match="`lag`: got 0"):
        Encoder(3, 1, 2, lag=0, key=KEY)


def test_a_free_run_begins_after_the_lag():
    model = Started(LINEAR, Encoder(2, 1, 1, lag=5, key=KEY))
    run = free_run(model, DATA)
    assert run.y.shape == (15, 1) and run.t[0] == DATA.t[5]
    x0 = model.start(DATA)
    expected = rollout(LINEAR, lambda x, w: w, x0, DATA.u[5:-1])
    np.testing.assert_allclose(run.x, expected.x, rtol=1e-13)
    with pytest.raises(ValueError, match="`record`: got 20 samples; expected at least 21"):
        free_run(Started(LINEAR, Encoder(2, 1, 1, lag=19, key=KEY)), DATA)
