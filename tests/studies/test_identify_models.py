"""How the identification study judges and picks models."""

from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from sciml.sources import cut, record
from sciml.studies import _identify_findings as findings, _identify_fits as fits, _identify_models as models
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


def test_the_basis_of_the_state_is_all_that_a_rich_record_leaves_free(plan):
    model, _ = subspace(plan.train, 2, lag=plan.lag, has_feedthrough=True)
    report = findings.determined(models.linear_candidate("linear-2-direct", model, plan), plan.train)
    # A transfer function of order n has 2 n + 1 coefficients, and A, B, C, D have n² more entries.
    assert (report["determined"], report["entries"], report["basis"]) == (5, 9, 4)
    assert report["finding"].startswith("5 of 9 combinations") and report["finding"].endswith("the record none")


def test_an_order_that_is_too_high_is_reported(plan):
    model, _ = subspace(plan.train, 2, lag=plan.lag, has_feedthrough=True)
    system = model.system
    grown = eqx.tree_at(
        lambda m: (m.system.A, m.system.B, m.system.C, m.start.W),
        model,
        (
            jnp.zeros((3, 3)).at[:2, :2].set(system.A).at[2, 2].set(0.5),
            jnp.zeros((3, 1)).at[:2].set(system.B),
            jnp.zeros((1, 3)).at[:, :2].set(system.C),
            jnp.zeros((3, model.start.W.shape[1])).at[:2].set(model.start.W),
        ),
    )
    report = findings.determined(models.linear_candidate("linear-3-direct", grown, plan), plan.train)
    assert report["entries"] - report["determined"] > report["basis"] == 9
    assert "more" in report["finding"]


def test_a_fit_keeps_what_the_validation_part_prefers(plan, monkeypatch):
    monkeypatch.setattr(fits, "SEEDS", 2)
    model, _ = subspace(plan.train, 2, lag=plan.lag, has_feedthrough=True)
    curved = fits.nonlinear("hammerstein-wiener", model, plan)
    assert curved is not None
    assert curved.validation <= models.candidate("line", model, plan).validation
    report = findings.determined(curved, plan.train)
    assert report["entries"] == 9 and report["determined"] <= 5


def test_a_network_is_not_fitted_to_a_record_that_is_too_short_for_it(plan):
    model, _ = subspace(plan.train, 2, lag=plan.lag)
    short = cut(plan.train, length=30)
    assert fits.nonlinear("state-space", model, plan._replace(train=jax.tree.map(lambda leaf: leaf[0], short))) is None
