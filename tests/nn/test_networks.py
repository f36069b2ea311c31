"""Residual, convex and positive definite networks, KANs and finite bases: the property that each is chosen for."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
import scipy.interpolate

from sciml.nn import FiniteBasis, InputConvexMLP, KAN, KANLayer, PositiveDefiniteNet, ResMLP
from sciml.nn._bsplines import basis


@eqx.filter_jit
def trained(net, xs, ys):
    """After 50 large steps of Adam."""
    method = optax.adam(0.05)
    trainable, rest = eqx.partition(net, eqx.is_inexact_array)

    def step(carry, _):
        now, state = carry
        loss = lambda free: jnp.mean((jnp.ravel(jax.vmap(eqx.combine(free, rest))(xs)) - ys) ** 2)
        with jax.numpy_dtype_promotion("standard"):
            updates, state = method.update(jax.grad(loss)(now), state)
        return (optax.apply_updates(now, updates), state), None

    (now, _), _ = jax.lax.scan(step, (trainable, method.init(trainable)), None, 50)
    return eqx.combine(now, rest)


batch = eqx.filter_jit(lambda net, xs: jax.vmap(net)(xs))
one = eqx.filter_jit(lambda net, x: net(x))


def single(net):
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, net)


def piece(key):
    return KAN(2, 1, width=3, depth=1, grid=3, key=key)


def convex(key):
    return InputConvexMLP(2, 1, width=8, depth=2, key=key)


NETS = {
    "FiniteBasis": lambda key: FiniteBasis(piece, counts=(3, 2), lower=-1.0, upper=(1.0, 2.0), key=key),
    "InputConvexMLP": convex,
    "KAN": lambda key: KAN(2, 1, width=3, depth=1, lower=-2.0, upper=2.0, key=key),
    "PositiveDefiniteNet": lambda key: PositiveDefiniteNet(convex(key)),
    "ResMLP": lambda key: ResMLP(2, 1, width=8, depth=3, key=key),
}


@pytest.mark.parametrize("name", NETS)
def test_a_batch_is_the_loop_and_float32_runs_and_constants_stay(name, key):
    net, xs = NETS[name](key), jr.normal(jr.fold_in(key, 1), (5, 2))
    together = np.asarray(batch(net, xs))
    np.testing.assert_allclose(together[3], one(net, xs[3]), rtol=1e-12, atol=1e-14)
    low = batch(single(net), xs.astype(jnp.float32))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, together, rtol=1e-4, atol=1e-5)
    constants = {"FiniteBasis": 4 + 4, "KAN": 4, "PositiveDefiniteNet": 2}  # Python floats, which no optimiser sees
    assert sum(isinstance(leaf, float) for leaf in jax.tree.leaves(net)) == constants.get(name, 0)


# ------------------------------------------------------------------------------------------------------- residual


def test_a_residual_network_starts_affine_and_learns(key):
    net = ResMLP(2, 3, width=8, depth=4, key=key)
    x = jnp.array([0.3, -0.7])
    expected = net.last(net.first(x))
    np.testing.assert_array_equal(net(x), expected)
    moved = eqx.tree_at(lambda n: n.blocks[1].layers[-1].weight, net, replace_fn=lambda w: w + 1.0)
    h = net.first(x)
    h = h + moved.blocks[1].layers[-1].weight @ jax.nn.gelu(moved.blocks[1].layers[0](h))
    np.testing.assert_allclose(moved(x), net.last(h), rtol=1e-13)
    assert np.array_equal(ResMLP(2, 3, width=8, depth=0, key=key)(x).shape, (3,))


# --------------------------------------------------------------------------------------------- convex and positive


@pytest.mark.parametrize("activation", [jax.nn.softplus, jax.nn.relu])
def test_an_input_convex_network_is_convex_before_and_after_training(activation, key):
    net = InputConvexMLP(3, 2, width=8, depth=3, activation=activation, key=key)
    a, b, s = 3 * jr.normal(key, (200, 3)), 3 * jr.normal(jr.fold_in(key, 1), (200, 3)), jr.uniform(key, (200, 1))
    concave, convex = -jnp.sum(a**2, axis=1), jnp.sum(a**2, axis=1)
    for model in (net, *[trained(net, a, jnp.repeat(target, 2)) for target in (concave, convex)]):
        between = batch(model, s * a + (1 - s) * b)
        chord = s * batch(model, a) + (1 - s) * batch(model, b)
        assert np.all(np.asarray(between - chord) < 1e-12 * (1 + np.abs(chord)))
    assert np.max(np.abs(between - chord)) > 1e-2  # it is not affine


def test_a_convex_network_is_its_equations(key):
    net = InputConvexMLP(2, 1, width=4, depth=2, activation=jax.nn.relu, key=key)
    x = np.array([0.4, -1.2])
    affine = [np.asarray(d.weight) @ x + np.asarray(d.bias) for d in net.direct]
    U = [np.log1p(np.exp(np.asarray(raw))) / 4 for raw in net.raw]
    z = np.maximum(affine[0], 0)
    z = np.maximum(U[0] @ z + affine[1], 0)
    np.testing.assert_allclose(net(jnp.asarray(x)), U[1] @ z + affine[2], rtol=1e-13)


def test_a_positive_definite_net_is_zero_at_the_origin_only(key):
    net = PositiveDefiniteNet(InputConvexMLP(3, 1, width=8, depth=2, key=key), floor=0.02, knee=0.5)
    xs = (jr.normal(key, (300, 3)) * jnp.logspace(-3, 1.5, 300)[:, None]).at[0].set(0.0)
    both = eqx.filter_jit(lambda model, xs: jax.vmap(jax.value_and_grad(model))(xs))
    for model in (net, trained(net, xs, -jnp.ones(300)), trained(net, xs, jnp.sum(xs**2, axis=1))):
        values, slopes = (np.asarray(leaf) for leaf in both(model, xs))
        squares = np.sum(np.asarray(xs) ** 2, axis=1)
        assert values[0] == 0.0 and not np.any(slopes[0])
        assert np.all(values >= 0.02 * squares * (1 - 1e-12))
        # convex with its minimum 0 at the origin: x · ∇V >= V > 0
        assert np.all(np.sum(slopes * xs, axis=1) >= values * (1 - 1e-9))


def test_the_bend_of_a_positive_definite_net_is_smooth():
    net = PositiveDefiniteNet(lambda x: x[0], floor=1e-9, knee=0.5)
    r = np.array([-1.0, -1e-9, 0.0, 0.25, 0.5, 0.5 + 1e-9, 2.0])
    values, slopes = jax.vmap(jax.value_and_grad(net))(jnp.asarray(r)[:, None])
    np.testing.assert_allclose(values, [0, 0, 0, 0.0625, 0.25, 0.25, 1.75], atol=1e-8)
    np.testing.assert_allclose(slopes[:, 0], [0, 0, 0, 0.5, 1, 1, 1], atol=1e-8)


# ------------------------------------------------------------------------------------------------------------ KAN


@pytest.mark.parametrize(("grid", "degree"), [(5, 3), (1, 1), (4, 2), (7, 5)])
def test_the_splines_are_those_of_scipy(grid, degree):
    knots = -1 + 2 * np.arange(-degree, grid + degree + 1) / grid
    x = np.linspace(-1.0, 1.0, 101)
    expected = scipy.interpolate.BSpline.design_matrix(np.clip(x, None, 1 - 1e-15), knots, degree).toarray()
    values = jax.jit(lambda x: basis(x, grid, degree))
    ours = np.asarray(values(jnp.asarray(x)))
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    np.testing.assert_allclose(np.sum(ours, axis=1), 1.0, atol=1e-13)
    inside = jnp.asarray(x[(np.abs(x * grid / 2 - np.round(x * grid / 2)) > 1e-3) & (np.abs(x) < 1)])
    slopes = jax.jit(jax.vmap(jax.jacfwd(lambda x: basis(x, grid, degree))))(inside)
    derivative = np.stack(
        [scipy.interpolate.BSpline(knots, c, degree).derivative()(inside) for c in np.eye(grid + degree)]
    )
    np.testing.assert_allclose(slopes.T, derivative, atol=1e-10)
    far = 1 + 2 * degree / grid + 0.01
    assert not np.any(values(jnp.linspace(-far, far, 101))[jnp.array([0, -1])])  # faded out


def test_a_layer_sums_functions_of_single_inputs(key):
    layer = KANLayer(2, 3, grid=4, degree=3, key=key)
    x = np.array([0.3, -0.8])
    knots = -1 + 2 * np.arange(-3, 8) / 4
    expected = np.zeros(3)
    for o in range(3):
        for i in range(2):
            spline = scipy.interpolate.BSpline(knots, np.asarray(layer.coefficients[o, i]), 3)(x[i])
            expected[o] += float(layer.base[o, i]) * x[i] / (1 + np.exp(-x[i])) + spline
    np.testing.assert_allclose(one(layer, jnp.asarray(x)), expected, rtol=1e-12)


def test_refinement_keeps_the_function(key):
    net = KAN(2, 1, width=3, depth=1, grid=3, lower=(0.0, -1.0), upper=(2.0, 3.0), key=key)
    xs = jr.uniform(key, (50, 2)) * jnp.array([2.0, 4.0]) + jnp.array([0.0, -1.0])
    finer = net.refined(3)
    assert finer.layers[0].grid == 9 and finer.layers[1].coefficients.shape == (1, 3, 12)
    np.testing.assert_allclose(batch(finer, xs), batch(net, xs), atol=1e-12)


def test_a_kan_maps_its_domain_to_the_splines(key):
    net = KAN(1, 1, width=1, depth=0, lower=2.0, upper=6.0, key=key)
    np.testing.assert_allclose(one(net, jnp.array([5.0])), one(net.layers[0], jnp.array([0.5])), rtol=1e-13)


def test_a_kan_learns_a_composition(key):
    # f(x, y) = exp(sin(pi x) + y²), the first example of Liu et al. (2024), equation 3.1
    xs = jr.uniform(key, (300, 2), minval=-1.0)
    f = lambda xs: jnp.exp(jnp.sin(jnp.pi * xs[:, 0]) + xs[:, 1] ** 2)
    net = KAN(2, 1, width=5, depth=1, key=key)
    for _ in range(6):
        net = trained(net, xs, f(xs))
    fresh = jr.uniform(jr.fold_in(key, 1), (300, 2), minval=-1.0)
    error = jnp.sqrt(jnp.mean((batch(net, fresh)[:, 0] - f(fresh)) ** 2))
    assert error < 0.1 * jnp.std(f(fresh))


# --------------------------------------------------------------------------------------------------- finite basis


def test_windows_are_a_partition_of_unity_that_data_do_not_move(key):
    net = NETS["FiniteBasis"](key)  # centres at x = -1, 0, 1 and y = -1, 2
    xs = jr.uniform(key, (400, 2), minval=-2.0, maxval=3.0)  # outside too
    windows = eqx.filter_jit(lambda net, xs: jax.vmap(net.windows)(xs))
    weights = np.asarray(windows(net, xs))
    assert weights.shape == (400, 6) and np.all(weights >= 0)
    np.testing.assert_allclose(np.sum(weights, axis=1), 1.0, atol=1e-14)
    assert np.max(np.sum(weights > 0, axis=1)) <= 4  # two windows along each axis
    centres = jnp.array([[i, j] for i in (-1.0, 0.0, 1.0) for j in (-1.0, 2.0)])
    # no window reaches the centre of a neighbour
    np.testing.assert_allclose(windows(net, centres), np.eye(6), atol=1e-12)


@pytest.fixture(scope="module")
def line():
    """Three KANs along an axis."""
    piece = lambda key: KAN(1, 1, width=3, depth=0, key=key)
    return FiniteBasis(piece, counts=(3,), lower=0.0, upper=2.0, key=jr.key(0))


def test_windows_are_those_of_the_paper(line):
    x, mu, sigma = 0.6, np.array([0.0, 1.0, 2.0]), 0.95
    bumps = np.where(np.abs(x - mu) < sigma, ((1 + np.cos(np.pi * (x - mu) / sigma)) / 2) ** 2, 0)
    np.testing.assert_allclose(eqx.filter_jit(line.windows)(jnp.array([x])), bumps / bumps.sum(), rtol=1e-13)
    values = eqx.filter_jit(eqx.filter_vmap(lambda n, z: n(z)))(line.networks, jnp.asarray((x - mu) / sigma)[:, None])
    np.testing.assert_allclose(one(line, jnp.array([x])), bumps @ values / bumps.sum(), rtol=1e-12)


def test_a_single_box_is_its_network(key):
    net = FiniteBasis(lambda key: KAN(1, 1, width=3, depth=0, key=key), counts=(1,), lower=0.0, upper=2.0, key=key)
    inner = jax.tree.map(lambda leaf: leaf[0] if eqx.is_array(leaf) else leaf, net.networks)
    np.testing.assert_allclose(one(net, jnp.array([1.5])), one(inner, jnp.array([0.5])), rtol=1e-13)


def test_a_finite_basis_is_smooth(line):
    both = eqx.filter_jit(lambda n, x: jax.vmap(jax.value_and_grad(lambda x: n(x[None])[0]))(x))
    x = jnp.concatenate([jnp.linspace(0.0, 2.0, 40) + 1e-3, jnp.array([-1.0, 3.0])])
    h = 1e-6
    differences = (both(line, x + h)[0] - both(line, x - h)[0]) / (2 * h)
    np.testing.assert_allclose(both(line, x)[1], differences, atol=1e-7)


# --------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda k: ResMLP(2, 1, width=0, depth=1, key=k), r"`width`: got 0; expected an integer >= 1"),
        (lambda k: ResMLP(2, 1, width=1, depth=-1, key=k), r"`depth`: got -1; expected an integer >= 0"),
        (lambda k: InputConvexMLP(2, 1, width=1, depth=0, key=k), r"`depth`: got 0; expected an integer >= 1"),
        (
            lambda k: InputConvexMLP(2, 1, width=1, depth=1, activation=jnp.tanh, key=k),
            r"`activation`: got tanh; expected a convex, nondecreasing function",
        ),
        (
            lambda k: InputConvexMLP(2, 1, width=1, depth=1, activation=jnp.square, key=k),
            r"`activation`: .*use `jax.nn.softplus`",
        ),
        (lambda k: PositiveDefiniteNet(jnp.sum, floor=0.0), r"`floor`: got 0.0; expected a finite number > 0"),
        (lambda k: PositiveDefiniteNet(jnp.sum, knee=-1.0), r"`knee`: got -1.0; expected a finite number > 0"),
        (
            lambda k: PositiveDefiniteNet(jnp.sin)(jnp.ones(2)),
            r"`g`: got an output of shape \(2,\); expected one number",
        ),
        (lambda k: KAN(2, 1, width=1, depth=1, grid=0, key=k), r"`grid`: got 0; expected an integer >= 1"),
        (lambda k: KAN(2, 1, width=1, depth=1, degree=0, key=k), r"`degree`: got 0; expected an integer >= 1"),
        (lambda k: KAN(2, 1, width=1, depth=1, lower=1.0, key=k), r"`lower`: got lower 1.0 and upper 1.0 for entry 0"),
        (lambda k: KAN(1, 1, width=1, depth=0, key=k).refined(0), r"`factor`: got 0; expected an integer >= 1"),
        (
            lambda k: FiniteBasis(lambda k: k, counts=(), lower=0.0, upper=1.0, key=k),
            r"`counts`: got \(\); expected one",
        ),
        (lambda k: FiniteBasis(lambda k: k, counts=(0,), lower=0.0, upper=1.0, key=k), r"`counts\[0\]`: got 0"),
        (
            lambda k: FiniteBasis(lambda k: k, counts=(2,), lower=0.0, upper=1.0, overlap=1.0, key=k),
            r"`overlap`: got 1.0; expected a finite number > 1",
        ),
        (
            lambda k: FiniteBasis(lambda k: k, counts=(2,), lower=0.0, upper=jnp.inf, key=k),
            r"`lower`: got .* upper inf",
        ),
    ],
)
def test_bad_arguments_are_named(make, match, key):
    with pytest.raises(ValueError, match=match):
        make(key)


def test_a_key_is_asked_for(unchecked):
    for make in (
        lambda: ResMLP(1, 1, width=1, depth=0, key=0),
        lambda: InputConvexMLP(1, 1, width=1, depth=1, key=0),
        lambda: KAN(1, 1, width=1, depth=0, key=0),
        lambda: FiniteBasis(lambda k: k, counts=(2,), lower=0.0, upper=1.0, key=0),
    ):
        with pytest.raises(TypeError, match=r"`key`: got 0; expected one key of `jax.random`"):
            make()
