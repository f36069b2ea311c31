"""How the identification study judges and picks models."""

from types import SimpleNamespace

import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.sources import record
from sciml.studies import _identify_models as models
from sciml.training import subspace


def found(name, size, blocks):
    return models.Candidate(name, SimpleNamespace(system=jnp.zeros(size)), np.asarray(blocks, float))


def test_a_smaller_model_is_picked_where_the_difference_is_luck():
    small, large = found("small", 3, [1.0, 1.2, 0.9, 1.0]), found("large", 9, [1.1, 0.8, 1.1, 0.95])
    assert models.pick([large, small]).name == "small"
    sure = found("sure", 9, [0.97, 1.17, 0.87, 0.97])  # a little better, in every block
    assert models.pick([sure, small]).name == "sure"
    far = found("far", 3, [4.5, 0.1, 0.1, 0.1])  # worse by one block alone, but by more than a twentieth
    assert models.pick([far, large]).name == "large"


def test_a_model_that_blows_up_is_never_picked():
    lost, fine = found("lost", 1, [np.inf] * 4), found("fine", 5, [1.0, 2.0, 1.0, 2.0])
    assert models.pick([lost, fine]).name == "fine"
    assert models.pick([lost]).name == "lost"
    assert fine.validation == pytest.approx(np.sqrt(1.5))


@pytest.fixture(scope="module")
def plan():
    rng = np.random.default_rng(0)
    u, x, y = rng.normal(size=(300, 1)), np.zeros(2), np.zeros((300, 1))
    for k in range(300):
        y[k] = x[0] + 0.3 * u[k]
        x = np.array([0.8 * x[0] + 0.3 * x[1], -0.3 * x[0] + 0.8 * x[1] + u[k, 0]])
    y += 0.05 * rng.normal(size=y.shape)
    y[210:213] = np.nan
    parts = record(y[:200], u[:200], dt=1.0), record(y[200:], u[200:], dt=1.0)
    return models.Plan(*parts, lag=10, steps=5, key=jr.key(0))


def test_linear_models_are_judged_alike_with_and_without_compilation(plan):
    model, _ = subspace(plan.train, 2, lag=plan.lag, has_feedthrough=True)
    one, other = models.linear_candidate("one", model, plan), models.candidate("other", model, plan)
    assert np.allclose(one.blocks, other.blocks, rtol=1e-9, atol=0)
    total = float(models.error(model, plan.validation)[0])
    assert one.validation == pytest.approx(total, rel=1e-9)  # the mean of the blocks is the mean
    assert one.validation < 0.1  # noise of 0.05, and some of it in the start


def test_an_enlarged_model_does_the_same(plan):
    model, _ = subspace(plan.train, 2, lag=plan.lag)
    larger = models.enlarged(model, 1)
    assert larger.system.A.shape == (3, 3) and models.enlarged(model, 0) is model
    one, other = (models.linear_candidate("one", m, plan) for m in (model, larger))
    assert other.validation == pytest.approx(one.validation, rel=1e-3)  # the damped observer is another one
