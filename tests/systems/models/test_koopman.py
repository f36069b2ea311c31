"""Deep Koopman models: bounded by construction, consistent with inputs, fitted by least squares."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

import sciml
from sciml.losses import FreeRun, KoopmanErrors, MeanSquares
from sciml.simulation import free_run, replay
from sciml.sources import cut, record
from sciml.systems.models import Koopman, koopman, Learned, Lifted, Started
from sciml.training import LevenbergMarquardt

KEY = jr.key(0)


@pytest.mark.parametrize("seed", range(3))
def test_bounded_over_ten_thousand_steps_for_any_parameters(seed: int):
    model = koopman(2, 6, dt=0.1, width=8, key=KEY)
    arrays, static = eqx.partition(model, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)
    wild = [
        10 * jr.normal(key, leaf.shape) for key, leaf in zip(jr.split(jr.key(seed), len(leaves)), leaves, strict=True)
    ]
    system = eqx.combine(jax.tree.unflatten(tree, wild), static).system
    system = eqx.tree_at(lambda s: s.dt, system, jnp.asarray(0.1))
    assert bool(jnp.all(jnp.abs(system.eigenvalues()) <= 1))
    z0 = jr.normal(jr.key(seed), (6,))
    end, norms = jax.lax.scan(lambda z, _: (system.step(0.0, z, None),) * 2, z0, None, length=10_000)
    sizes = jnp.linalg.norm(norms, axis=1)
    # 10,000 roundings.
    assert bool(jnp.all(sizes <= jnp.linalg.norm(z0) * (1 + 1e-11)))
    assert bool(jnp.all(jnp.isfinite(system.output(0.0, end, None))))


def test_eigenvalues_are_those_of_the_matrix():
    system = koopman(2, 4, dt=0.1, key=KEY).system
    K = jax.jacobian(lambda z: system.step(0.0, z, None))(jnp.zeros(4))
    np.testing.assert_allclose(
        np.sort_complex(np.linalg.eigvals(K)), np.sort_complex(np.asarray(system.eigenvalues())), atol=1e-12
    )


def rotating(n: int, seed: int):
    """A forced spiral seen through a nonlinearity: y = (z0, z1 + z0²)."""
    rng, z = np.random.default_rng(seed), [np.array([1.0, 0.0])]
    u = rng.normal(size=(n, 1))
    K = 0.95 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    for k in range(n - 1):
        z.append(K @ z[-1] + np.array([0.1, 0.2]) * u[k])
    z = np.array(z)
    return record(np.stack([z[:, 0], z[:, 1] + z[:, 0] ** 2], axis=1), u, dt=0.1)


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def test_errors_of_the_true_controlled_model_are_zero():
    """Prediction, latent and reconstruction agree in one optimum, with inputs too."""
    square = lambda sign: lambda x: jnp.stack([jnp.zeros_like(x[0]), sign * x[0] ** 2])
    system = Koopman(
        jnp.array([logit(0.95)]), jnp.array([0.3]), jnp.array([[0.1], [0.2]]), jnp.eye(2), None, square(1),
        jnp.array(0.1)
    )  # fmt: skip
    model = Started(system, Lifted(Learned(jnp.eye(2), square(-1))))
    data = rotating(30, 0)
    np.testing.assert_allclose(KoopmanErrors()(model, data), 0, atol=1e-13)
    np.testing.assert_allclose(free_run(model, data).y, data.y, atol=1e-13)


def test_a_missing_sample_is_neither_lifted_nor_a_start():
    """Residuals do not change with what stands in the place of a missing number."""
    model = koopman(2, 4, 1, dt=0.1, width=6, depth=1, key=KEY)
    data = rotating(12, 0)
    for sample in (0, 5):
        missing = eqx.tree_at(lambda r: r.is_measured, data, data.is_measured.at[sample, 1].set(False))
        wild = eqx.tree_at(lambda r: r.y, missing, data.y.at[sample, 1].set(100.0))
        errors = KoopmanErrors()(model, missing)
        np.testing.assert_array_equal(errors, KoopmanErrors()(model, wild))
        if sample:
            assert float(FreeRun()(model, missing)) == float(FreeRun()(model, wild)) > 0
        else:
            with pytest.raises(ValueError, match="`batch`: got no sample that counts"):
                FreeRun()(model, missing)
            with pytest.raises(ValueError, match="`record`: got sample 0 with outputs that were not measured"):
                free_run(model, missing)
        assert float(jnp.linalg.norm(errors)) > 0  # the other samples are still rebuilt


def test_a_fit_learns_the_lifting():
    """Held out: twice the length of the training windows, other inputs."""
    windows = cut(rotating(200, 1), length=20)
    model = koopman(2, 4, 1, dt=0.1, width=6, depth=1, key=KEY)
    loss = MeanSquares(KoopmanErrors())
    found = sciml.fit(model, loss, windows, LevenbergMarquardt(), steps=60, key=KEY)
    fresh = rotating(60, 2)
    error = np.sqrt(np.mean((np.asarray(free_run(found.value, fresh).y) - np.asarray(fresh.y)) ** 2))
    assert error < 0.03 * np.std(np.asarray(fresh.y))


def test_a_model_without_input_network_or_decoder():
    model = koopman(3, 4, 2, dt=0.1, has_input_network=True, has_output_network=False, key=KEY)
    assert model.system.g is None and model.system.input_shape() == (2,)
    data = record(np.ones((5, 3)) * np.arange(5.0)[:, None], np.ones((5, 2)), dt=0.1)
    assert replay(model.system, model.start(data), data).y.shape == (5, 3)
    assert model.start.library.names(["a"], []) == ("ψ0", "ψ1", "ψ2", "ψ3")


def test_errors():
    with pytest.raises(ValueError, match="`latent_size`: got 3"):
        koopman(2, 3, dt=0.1, key=KEY)
    with pytest.raises(ValueError, match="`fastest`: got 3.2; expected 0 < fastest <= π"):
        koopman(2, 4, dt=0.1, fastest=3.2, key=KEY)
    with pytest.raises(ValueError, match="output_size = 0"):
        koopman(0, 2, dt=0.1, key=KEY)
    with pytest.raises(ValueError, match="`model`: got Measured"):
        KoopmanErrors()(Started(koopman(2, 2, dt=0.1, key=KEY).system), rotating(5, 0))
