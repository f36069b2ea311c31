"""Growing horizons: the same answer, one compilation, and what is refused."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest

from sciml.losses import FreeRun, LeastSquares, Regularised
from sciml.simulation import replay
from sciml.sources import record
from sciml.systems import AbstractDiscreteSystem
from sciml.training import curriculum, LevenbergMarquardt

TRACED = []


class Logistic(AbstractDiscreteSystem):
    """`x⁺ = r x (1 - x)`, for r = 3.7 chaotic: long free runs have local optima everywhere."""

    r: jax.Array
    dt: float = eqx.field(static=True, default=1.0)

    def step(self, t, x, u):
        TRACED.append(None)
        return self.r * x * (1 - x)


def chaotic():
    blank = record(np.zeros(40), dt=1.0)
    return record(replay(Logistic(jnp.asarray(3.7)), jnp.array([0.3]), blank).y, dt=1.0)


def test_short_horizons_first_find_what_the_long_one_misses():
    data, start = chaotic(), Logistic(jnp.asarray(3.5))
    options = dict(key=jr.key(0), progress=False)
    done = curriculum(start, FreeRun(), data, LevenbergMarquardt(), horizons=(2, 5, 15, 39), steps=10, **options)
    np.testing.assert_allclose(done.value.r, 3.7, atol=1e-9)
    at_once = curriculum(start, FreeRun(), data, LevenbergMarquardt(), horizons=(39,), steps=40, **options)
    assert abs(float(at_once.value.r) - 3.7) > 0.01


def test_another_horizon_is_not_compiled_again():
    data, start = chaotic(), Logistic(jnp.asarray(3.6))
    ridge = Regularised(FreeRun(), jnp.array(1e-6), lambda model: model.r - 3.6)
    method = optax.sgd(1e-3)
    options = dict(steps=2, key=jr.key(0), progress=False)
    curriculum(start, ridge, data, method, horizons=(3,), **options)
    before = len(TRACED)
    curriculum(start, ridge, data, method, horizons=(2, 4, 8), **options)
    assert len(TRACED) == before


def test_every_stage_has_a_checkpoint_of_its_own(tmp_path):
    data, start = chaotic(), Logistic(jnp.asarray(3.6))
    options = dict(horizons=(2, 4), steps=2, key=jr.key(0), progress=False, checkpoint=tmp_path / "fit")
    done = curriculum(start, FreeRun(), data, optax.sgd(1e-3), **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.0", "fit.1"]
    before = len(TRACED)
    again = curriculum(start, FreeRun(), data, optax.sgd(1e-3), **options)
    assert again.value.r == done.value.r and len(TRACED) == before


def test_a_stage_that_diverges_is_named():
    data, start = chaotic(), Logistic(jnp.asarray(3.6))
    options = dict(horizons=(2, 4), steps=2, key=jr.key(0), progress=False, throw=False)
    with pytest.warns(UserWarning, match="the stage with horizon 2 diverged and is left out"):
        curriculum(start, FreeRun(), data, optax.sgd(float("nan")), **options)


def test_what_is_refused():
    data, start = chaotic(), Logistic(jnp.asarray(3.6))
    options = dict(steps=2, key=jr.key(0), progress=False)
    with pytest.raises(ValueError, match=r"`horizons`: got \(4, 2\); expected increasing"):
        curriculum(start, FreeRun(), data, LevenbergMarquardt(), horizons=(4, 2), **options)
    with pytest.raises(TypeError, match="`loss`: got LeastSquares; expected a loss with a horizon"):
        loss = LeastSquares(lambda model, data: model.r)
        curriculum(start, loss, data, LevenbergMarquardt(), horizons=(2,), **options)
