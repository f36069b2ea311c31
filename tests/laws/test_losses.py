"""Laws of losses over all public ones: jit = eager, traced once, a batch of models = a loop, the order of instances,
saved = loaded, float32 runs. About 10 CPU-seconds.
"""

from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jaxtyping import Array

import sciml.losses
from sciml.losses import (
    AbstractLoss,
    AbstractNorm,
    AugmentedLagrangian,
    DerivativeMatching,
    FreeRun,
    L1,
    L2,
    LeastSquares,
    Mean,
    MeanSquares,
    MultipleShooting,
    OneStep,
    Penalty,
    Regularised,
    segments,
    Shot,
    Slopes,
    Smooth,
)
from sciml.programs import Program
from sciml.sources import Batch, Fixed, record, stack
from sciml.storage import load, save
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem
from tests.laws.registries import assert_equal, cast, public


class Gain(eqx.Module):
    """`z = gain p`."""

    gain: Array

    def __call__(self, p):
        return self.gain * p


class Relaxing(AbstractContinuousSystem):
    """`dx/dt = gain (u - x)`."""

    gain: Array

    def vector_field(self, t: Any, x: Array, u: Array) -> Array:
        return self.gain * (u - x)


class Member(NamedTuple):
    loss: AbstractLoss
    model: Any
    batch: Any
    order: bool = True
    """Whether the leading axis is that of instances, in any order; segments are a chain."""


class Relaxation(AbstractDiscreteSystem):
    """`x[k+1] = x[k] + gain (u[k] - x[k])`, `y = x`."""

    gain: Array
    dt: Array

    def step(self, t: Any, x: Array, u: Array) -> Array:
        return x + self.gain * (u - x)


PROGRAM = Program(
    lambda z, p: jnp.sum((z - 2.0) ** 2),
    ineq=lambda z, p: {"sum": jnp.sum(z) - 1.0},
    eq=lambda z, p: z[0] - z[1] * p[0],
    lower=-1.0,
    upper=1.5,
)
POINTS = np.array([[1.0, 0.5], [2.0, -3.0], [0.4, 0.1]])
GAIN = Gain(jnp.asarray(0.7))
U = np.sin(np.arange(12.0)).reshape(3, 4)
RECORDS = stack([record(0.5 * one, one, dt=1.0) for one in U])
SLOPES = Slopes(
    jnp.arange(4.0), jnp.asarray(U[0][:, None]), jnp.asarray(U[1][:, None]), jnp.asarray(U[2][:, None]), jnp.ones(4)
)
RELAXATION = Relaxation(jnp.asarray(0.7), jnp.asarray(1.0))
LOSSES = {
    "Mean": Member(Mean(lambda model, p: jnp.sum((model(p) - 1.0) ** 2)), GAIN, POINTS),
    "LeastSquares": Member(LeastSquares(lambda model, ps: {"r": jax.vmap(model)(ps) - 1.0}, 0.5), GAIN, POINTS),
    "MeanSquares": Member(MeanSquares(lambda model, p: {"r": model(p) - 1.0}, 0.5), GAIN, POINTS),
    "Penalty": Member(Penalty(PROGRAM, weight={"sum": 10.0}), GAIN, POINTS),
    "AugmentedLagrangian": Member(AugmentedLagrangian(PROGRAM), GAIN, POINTS),
    "FreeRun": Member(FreeRun(horizon=jnp.arange(3)[2]), RELAXATION, RECORDS),
    "OneStep": Member(OneStep(weight=jnp.array([2.0])), RELAXATION, RECORDS),
    "Regularised": Member(Regularised(FreeRun(), jnp.array(0.3), lambda m: m.gain - 1.0), RELAXATION, RECORDS),
    "DerivativeMatching": Member(DerivativeMatching(jnp.array([2.0])), Relaxing(jnp.asarray(0.7)), SLOPES),
    "MultipleShooting": Member(
        MultipleShooting(jnp.asarray(2.0)), Shot(RELAXATION, jnp.full((6, 1), 0.1)), segments(RECORDS, 2), order=False
    ),
}
NORMS = [L1(), L2(), Smooth(0.5)]
each = pytest.mark.parametrize("name", LOSSES)


def test_every_public_loss_is_under_these_laws():
    assert public(sciml.losses, of=AbstractLoss) == {type(m.loss) for m in LOSSES.values()}, "add it to `LOSSES`"
    assert public(sciml.losses, of=AbstractNorm) == {type(norm) for norm in NORMS}, "add it to `NORMS`"


def given(name: str, dtype: Any = jnp.float64) -> tuple[Any, Any, Batch, Any]:
    """Loss, model, batch and memory."""
    member = cast(LOSSES[name], dtype)
    count = jax.tree.leaves(member.batch)[0].shape[0]
    state = member.loss.init(member.model, Fixed(member.batch))
    return member.loss, member.model, Batch(member.batch, jnp.arange(count)), state


def evaluate(loss: AbstractLoss, model: Any, batch: Batch, state: Any) -> Any:
    """Value, memory and report; and the derivative of the value."""

    def value(model: Any) -> tuple[Any, Any]:
        value, *rest = loss.evaluate(model, batch, state, key=jr.key(0))
        return value, (value, *rest)

    return eqx.filter_grad(value, has_aux=True)(model)


@cache
def compiled(name: str) -> Any:
    """Raises where it is traced a second time."""
    return eqx.filter_jit(eqx.debug.assert_max_traces(evaluate, max_traces=1))


@each
def test_compiled_equals_eager(name: str):
    slope, (value, state, report) = compiled(name)(*given(name))
    loss, model, batch, memory = given(name)
    eager = loss.evaluate(model, batch, memory, key=jr.key(0))
    assert_equal((value, state, report), eager, rtol=1e-13, atol=1e-14)
    assert value.shape == () and bool(jnp.isfinite(value)) and float(report.failed) == 0.0
    # Central differences: their error is the third derivative times 1e-10, and rounding 1e-16 / 1e-5.
    moved = lambda h: float(loss(eqx.tree_at(gain_of, model, gain_of(model) + h), batch.value))
    if name != "AugmentedLagrangian":  # whose value with multipliers is not that of a fresh start
        assert float(gain_of(slope)) == pytest.approx((moved(1e-5) - moved(-1e-5)) / 2e-5, rel=1e-6, abs=1e-8)


def gain_of(model: Any) -> Array:
    return model.model.gain if isinstance(model, Shot) else model.gain


@each
def test_other_numbers_are_not_traced_again(name: str):
    loss, model, batch, state = given(name)
    first = compiled(name)(loss, model, batch, state)[1][0]
    other = jax.tree.map(lambda leaf: 1.1 * leaf, model)
    assert float(compiled(name)(loss, other, batch, state)[1][0]) != float(first)  # raises if it is traced again


@pytest.mark.parametrize("name", [name for name, member in LOSSES.items() if member.order])
def test_order_of_instances_does_not_matter(name: str):
    loss, model, batch, state = given(name)
    turned = jax.tree.map(lambda leaf: leaf[::-1], batch)
    one, other = compiled(name)(loss, model, batch, state), compiled(name)(loss, model, turned, state)
    assert_equal(one, other, rtol=1e-13, atol=1e-14)


@each
def test_a_batch_of_models_equals_a_loop(name: str):
    """As an ensemble is trained: one compiled function over stacked models."""
    loss, model, batch, state = given(name)
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, 1.1 * leaf]), model)
    together = eqx.filter_jit(jax.vmap(lambda m: loss.evaluate(m, batch, state, key=jr.key(0))[0]))(stacked)
    for i in range(2):
        alone = compiled(name)(loss, jax.tree.map(lambda leaf, i=i: leaf[i], stacked), batch, state)[1][0]
        np.testing.assert_allclose(together[i], alone, rtol=1e-13)


@each
def test_a_saved_loss_is_the_same(name: str, tmp_path):
    loss, model, batch, state = given(name)
    save(tmp_path / "loss.sciml", (eqx.filter(loss, eqx.is_array), state))
    like = jax.tree.map(jnp.zeros_like, (eqx.filter(loss, eqx.is_array), state))
    arrays, memory = load(tmp_path / "loss.sciml", like)
    again = eqx.combine(arrays, eqx.filter(loss, eqx.is_array, inverse=True))
    assert eqx.tree_equal(compiled(name)(again, model, batch, memory), compiled(name)(loss, model, batch, state))


@each
def test_float32_runs(name: str):
    """1e-5: a few tens of roundings of 6e-8."""
    single = eqx.filter_jit(lambda *args: evaluate(*args))(*given(name, jnp.float32))
    assert single[1][0].dtype == jnp.float32 and gain_of(single[0]).dtype == jnp.float32
    assert_equal(single, compiled(name)(*given(name)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS, ids=lambda norm: type(norm).__name__)
def test_a_norm_is_a_norm_of_violations(norm: AbstractNorm):
    """Zero at zero, growing, entry by entry, and of the dtype that it is given."""
    v = jnp.array([0.0, 1e-3, 0.4, 3.0])
    out = eqx.filter_jit(norm)(v)
    assert out.shape == v.shape and float(out[0]) == 0.0 and bool(jnp.all(jnp.diff(out) > 0))
    np.testing.assert_allclose(out, [norm(one) for one in v], rtol=1e-14)
    assert norm(v.astype(jnp.float32)).dtype == jnp.float32
