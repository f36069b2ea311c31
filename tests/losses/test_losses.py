"""Losses against values and derivatives worked out by hand or by an exact solver."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from jaxtyping import Array

from sciml.core import ravel, RESULTS, Trajectory
from sciml.losses import (
    AbstractLoss,
    AugmentedLagrangian,
    L1,
    L2,
    LeastSquares,
    Mean,
    MultipleShooting,
    Penalty,
    segments,
    Shot,
    Smooth,
    Sparsity,
)
from sciml.programs import OptimalControl, Program, transcribe
from sciml.solvers import InteriorPoint, solve
from sciml.sources import Batch, Fixed, Minibatches, record, Sampled, stack
from sciml.training import fit


class Limits(NamedTuple):
    first: Array
    second: Array


class Scaled(eqx.Module):
    """`z = gain p`."""

    gain: Array

    def __call__(self, p):
        return self.gain * p


@eqx.filter_jit
def call(loss, model, batch):
    return loss(model, batch)


@eqx.filter_jit
def evaluate(loss, model, batch, memory, key):
    return loss.evaluate(model, batch, memory, key=key)


def batch_of(p) -> Batch:
    return Batch(p, jnp.arange(p.shape[0]))


# f = sum z², violations of z0 <= 1, 2 z1 <= 1 (Limits), z0 = z1 and -1 <= z <= 3.
PROGRAM = Program(
    lambda z, p: jnp.sum(z**2),
    ineq=lambda z, p: Limits(z[0] - 1.0, 2.0 * z[1] - 1.0),
    eq=lambda z, p: z[0] - z[1],
    lower=-1.0,
    upper=3.0,
)
ONE = Scaled(jnp.asarray(1.0))
POINT = jnp.array([[4.0, -3.0]])  # violations: 3, 0; 7; lower 0, 2; upper 1, 0


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (L2(), 25 + 10 * 9 + 2 * 49 + 3 * (4 + 1)),
        (L1(), 25 + 10 * 3 + 2 * 7 + 3 * (2 + 1)),
        (Smooth(1.0), 25 + 10 * 2.5 + 2 * 6.5 + 3 * (1.5 + 0.5)),
    ],
)
def test_penalty_by_hand(norm, expected):
    loss = Penalty(PROGRAM, weight=10.0, eq_weight=2.0, bound_weight=3.0, norm=norm)
    np.testing.assert_allclose(call(loss, ONE, POINT), expected, rtol=1e-14)


def test_penalty_takes_the_mean_and_weights_as_a_record(key):
    loss = Penalty(PROGRAM, weight=Limits(jnp.asarray(10.0), 0.0), eq_weight=0.0, bound_weight=0.0)
    points = jnp.array([[4.0, -3.0], [0.0, 5.0]])
    value, memory, report = evaluate(loss, ONE, batch_of(points), None, key)
    np.testing.assert_allclose(value, (25 + 10 * 9 + 25) / 2, rtol=1e-14)
    assert memory is None and report.failed == 0


def test_penalty_refuses_weights_of_another_structure():
    with pytest.raises(ValueError, match="`weight`: got the structure .*one weight for each constraint"):
        Penalty(PROGRAM, weight=(1.0, 2.0, 3.0))(ONE, POINT)
    with pytest.raises(ValueError, match="`eq_weight`"):
        Penalty(PROGRAM, eq_weight=(1.0, 2.0))(ONE, POINT)


@pytest.mark.parametrize("loss", [Penalty, AugmentedLagrangian])
def test_what_is_no_program_for_a_loss_is_named(loss, unchecked):
    make = {"dynamics": lambda x, u, w, p: x + u, "stage": lambda x, u, w, p: u**2, "initial": lambda p: p[0]}
    problem = OptimalControl(**make, horizon=3)
    with pytest.raises(TypeError, match=r"`program`: got a OptimalControl; .*along_trajectory\(problem\)` for losses"):
        loss(problem)
    with pytest.raises(TypeError, match=r"`program`: got a function; expected a `Program`.*sciml.Program\(objective\)"):
        loss(lambda z, p: z)
    with pytest.raises(
        TypeError, match=r"`z`: got an array of shape \(2,\); expected a `Shooting`.*along_trajectory\("
    ):
        call(loss(transcribe(problem)), ONE, POINT)


def test_penalty_derivative_against_finite_differences():
    loss = Penalty(PROGRAM, weight=10.0, norm=Smooth(0.5))
    value = jax.jit(lambda gain: loss(Scaled(gain), POINT))
    slope, h = jax.grad(value)(jnp.asarray(0.9)), 1e-6
    # Central differences: error h² f'''/6 + eps f / h ~ 1e-8.
    np.testing.assert_allclose(slope, (value(jnp.asarray(0.9 + h)) - value(jnp.asarray(0.9 - h))) / (2 * h), rtol=1e-7)
    np.testing.assert_allclose(jax.jit(jax.jacfwd(value))(jnp.asarray(0.9)), slope, rtol=1e-14)


def test_penalty_charges_the_steps_that_a_trajectory_lost():
    def decide(model, p):
        x = model * jnp.ones(3)
        return Trajectory(jnp.arange(3.0), x, x[:2], None, RESULTS.successful, jnp.asarray(2))

    loss = Penalty(Program(lambda z, p: jnp.sum(z.x)), decide=decide, lost_weight=5.0)
    np.testing.assert_allclose(call(loss, jnp.asarray(2.0), jnp.zeros((4, 1))), 6.0 + 5.0 * 2)
    assert jax.jit(jax.grad(loss))(jnp.asarray(2.0), jnp.zeros((4, 1))) == 3.0


# sqrt(p): value and derivative are NaN where p < 0.
ROOTS = Program(lambda z, p: jnp.sqrt(z), ineq=lambda z, p: -z - 10.0)
TWO_BAD = jnp.array([4.0, -1.0, 9.0, 16.0, jnp.nan])
LOSSES = {
    "Penalty": Penalty(ROOTS),
    "AugmentedLagrangian": AugmentedLagrangian(ROOTS),
    "Mean": Mean(lambda model, p: jnp.sqrt(model(p))),
}


@pytest.mark.parametrize("name", LOSSES)
def test_failed_instances_are_left_out_and_counted(name, key):
    loss, batch = LOSSES[name], batch_of(TWO_BAD)
    memory = loss.init(ONE, Fixed(TWO_BAD))

    def value(model):
        out, _, report = loss.evaluate(model, batch, memory, key=key)
        return out, report.failed

    (out, failed), slope = eqx.filter_jit(eqx.filter_value_and_grad(value, has_aux=True))(ONE)
    np.testing.assert_allclose(out, (2 + 3 + 4) / 3, rtol=1e-14)
    np.testing.assert_allclose(failed, 0.4, rtol=1e-14)
    # d sqrt(gain p) / d gain = sqrt(p) / 2: the derivative at the failed instances is NaN and must not get through.
    np.testing.assert_allclose(slope.gain, (2 + 3 + 4) / 6, rtol=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_too_many_failures_refuse_the_batch(name, key):
    loss = LOSSES[name]
    bad = jnp.array([-1.0, -1.0, 4.0])
    out, _, report = evaluate(loss, ONE, batch_of(bad), loss.init(ONE, Fixed(bad)), key)
    assert jnp.isnan(out) and report.failed > 0.5
    fitted = fit(ONE, loss, Fixed(bad), optax.sgd(0.1), steps=3, key=key, throw=False, progress=False)
    assert fitted.result == RESULTS.diverged


@pytest.mark.parametrize("name", LOSSES)
def test_float32_stays_float32(name, key):
    loss, data = LOSSES[name], jnp.array([4.0, 9.0], jnp.float32)
    model = Scaled(jnp.asarray(1.0, jnp.float32))
    out, _, report = evaluate(loss, model, batch_of(data), loss.init(model, Fixed(data)), key)
    assert out.dtype == report.failed.dtype == jnp.float32
    np.testing.assert_allclose(out, 2.5, rtol=1e-6)
    assert call(loss, model, data).dtype == jnp.float32


def test_mean_refuses_any_failure_if_told_so():
    loss = Mean(lambda model, p: jnp.sqrt(model(p)), refuse_above=0.0)
    np.testing.assert_allclose(call(loss, ONE, jnp.array([4.0, 9.0])), 2.5)
    assert jnp.isnan(call(loss, ONE, jnp.array([4.0, -9.0])))


# minimise (z0 - p)² + (z1 + 1)², z0 + z1 = 1, z0 <= 1: at p = 3 both multipliers are active.
SPLIT = Program(
    lambda z, p: (z[0] - p) ** 2 + (z[1] + 1.0) ** 2,
    ineq=lambda z, p: z[0] - 1.0,
    eq=lambda z, p: z[0] + z[1] - 1.0,
)


class Table(eqx.Module):
    """One decision for each instance, `p = 3, 4, 5, 6`: a model that can represent the solution exactly."""

    rows: Array

    def __call__(self, p):
        return self.rows[jnp.round(p - 3.0).astype(int)]


def test_multipliers_converge_to_exact_ones_through_minibatches(key):
    data = jnp.arange(3.0, 7.0)
    loss, source = AugmentedLagrangian(SPLIT, mu=2.0, rate=0.3), Minibatches(data, 2)
    model, memory = Table(jnp.zeros((4, 2))), loss.init(Table(jnp.zeros((4, 2))), source)

    @jax.jit
    def step(k, carry):
        model, memory = carry
        value = lambda model: loss.evaluate(model, source.batch(k, key=key), memory, key=key)[:2]
        slope, memory = eqx.filter_grad(value, has_aux=True)(model)
        return jax.tree.map(lambda m, s: m - 0.2 * s, model, slope), memory

    model, memory = jax.lax.fori_loop(0, 1500, step, (model, memory))
    exact = jax.jit(jax.vmap(lambda p: solve(SPLIT, InteriorPoint(), jnp.zeros(2), p, throw=False)))(data)
    # The interior point stops at 1e-8 or so; the iteration converges geometrically.
    np.testing.assert_allclose(memory.ineq, exact.duals.ineq, rtol=1e-5)
    np.testing.assert_allclose(memory.eq, exact.duals.eq, rtol=1e-5)
    np.testing.assert_allclose(model.rows, exact.value, atol=1e-5)
    # Called without memory: zero multipliers, thus the plain quadratic penalty.
    quadratic = Penalty(SPLIT, weight=1.0, eq_weight=1.0)  # mu / 2 = 1
    np.testing.assert_allclose(call(loss, ONE_ROW, data), call(quadratic, ONE_ROW, data), rtol=1e-14)


ONE_ROW = Table(jnp.array([[2.0, 3.0]] * 4))


def test_augmented_lagrangian_needs_instances_that_come_back():
    source = Sampled(jr.normal, 4)
    with pytest.raises(ValueError, match="`source`: got Sampled.*`Minibatches"):
        AugmentedLagrangian(SPLIT).init(ONE_ROW, source)


def test_least_squares_by_hand_and_weights(key):
    loss = LeastSquares(lambda a, p: {"u": a * p, "v": p}, weight={"u": 2.0, "v": jnp.array([1.0, 0.0])})
    p = jnp.array([1.0, 2.0])
    value, _, report = loss.evaluate(jnp.asarray(3.0), batch_of(p), None, key=key)
    np.testing.assert_allclose(value, 0.5 * (4 * 9 * 5 + 1))
    assert report.failed == 0 and loss.structure(jnp.asarray(3.0), p) is None
    with pytest.raises(ValueError, match="`weight`.*one weight for each residual"):
        LeastSquares(lambda a, p: (p, p), weight=(1.0, 1.0, 1.0))(jnp.asarray(3.0), p)


def test_every_loss_is_tested_here():
    ours = {c.__name__ for c in AbstractLoss.__subclasses__() if c.__module__.startswith("sciml")}
    assert ours == {"Penalty", "AugmentedLagrangian", "Mean", "AbstractLeastSquares"}


# --------------------------------------------------------------------------------------------------- multiple shooting


def simulate(model, x0, piece):
    """`x+ = tanh(a x + b u)`, `y = x[0]`, two states."""
    a, b = model

    def advance(x, now):
        u, is_live = now
        return jnp.where(is_live, jnp.tanh(a @ x + b * u[0]), x), x

    end, xs = jax.lax.scan(advance, x0, (piece.u[:-1], piece.is_sample[1:]))
    return jnp.concatenate([xs, end[None]])[:, :1], end


def shooting(count: int, key, prior=None):
    keys = jr.split(key, 5)
    model = (0.5 * jr.normal(keys[0], (2, 2)), jr.normal(keys[1], (2,)))
    shot = Shot(model, jr.normal(keys[2], (count, 2)))
    u, y = jr.normal(keys[3], (3 * count, 1)), jr.normal(keys[4], (3 * count, 1))
    cut = segments(record(y, u, dt=1.0), 3)  # the last one has an interval less
    return MultipleShooting(jnp.asarray(0.7), simulate, prior), shot, cut


def compressed(loss, shot, batch):
    """The Jacobian from as many directional derivatives as `sparsity` says."""
    sparsity = loss.structure(shot, batch)
    flat, unravel = ravel(shot)
    residual = lambda z: ravel(loss.residuals(unravel(z), batch))[0]
    groups = np.asarray(sparsity.groups)
    seeds = (np.arange(sparsity.n_groups)[:, None] == groups).astype(float)
    columns = jax.vmap(lambda d: jax.jvp(residual, (flat,), (d,))[1])(jnp.asarray(seeds))
    return columns[sparsity.groups].T * sparsity.pattern.astype(float), jax.jacfwd(residual)(flat), sparsity


@pytest.mark.parametrize("segments", [4, 7])
def test_compressed_jacobian_is_the_dense_one(key, segments):
    prior = lambda model, starts: (model[1], starts[0] - 1.0, starts[-1])
    few, dense, sparsity = eqx.filter_jit(compressed)(*shooting(segments, key, prior))
    np.testing.assert_allclose(few, dense, atol=1e-14)
    assert sparsity.n_groups == 6 + 2 * 2  # six parameters, two colours of two states: whatever the segments


def test_few_segments_are_dense(key):
    loss, shot, batch = shooting(3, key)
    assert loss.structure(shot, batch) is None


def test_chain_pattern_by_hand():
    sparsity = Sparsity.chain(1, (3, 1), (1, 1, 1))
    expected = [[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [1, 1, 1, 0], [1, 0, 1, 1], [1, 1, 0, 0]]
    np.testing.assert_array_equal(sparsity.pattern, np.array(expected, bool))
    np.testing.assert_array_equal(sparsity.groups, [0, 1, 2, 1])


def test_multiple_shooting_is_half_the_mean_squared_misfit_and_gap(key):
    loss, shot, batch = shooting(2, key)
    y, ends = jax.vmap(lambda x0, piece: simulate(shot.model, x0, piece))(shot.starts, batch.pieces)
    gap = jnp.sum((ends[0] - shot.starts[1]) ** 2)
    # Six samples: three of each segment, the shared one in the second.
    misfit = jnp.concatenate([(y - batch.pieces.y)[0, :3], (y - batch.pieces.y)[1, :3]])
    expected = 0.5 * jnp.mean(misfit**2) + 0.5 * 0.7**2 * gap / 2
    np.testing.assert_allclose(call(loss, shot, batch), expected, rtol=1e-13)
    # A sample of weight zero does not count.
    data = record(jnp.arange(6.0).at[0].set(1e6), jnp.ones(6), dt=1.0)
    held_out = segments(data, 3, weight=jnp.ones((6, 1)).at[0].set(0.0))
    assert call(loss, shot, held_out) < 100.0


def test_segments_of_several_records():
    data = stack([record(np.arange(n, dtype=float), dt=0.5) for n in (8, 4)])
    cut = segments(data, 3)
    # 7 intervals: 3 + 3 + 1; 3 intervals: one segment.
    assert cut.pieces.y.shape == (4, 4, 1) and cut.pieces.length.tolist() == [4, 4, 2, 4]
    assert cut.continues.tolist() == [True, True, False]
    assert cut.pieces.y[1, 0, 0] == 3.0 and cut.pieces.t[3, 0] == 0.0
    # Every sample counts once.
    assert cut.weight[..., 0].tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 0, 0], [1, 1, 1, 1]]
    whole = segments(data)
    assert whole.pieces.y.shape == (2, 8, 1) and whole.continues.tolist() == [False]
    with pytest.raises(ValueError, match="`length`: got 0"):
        segments(data, 0)
    with pytest.raises(ValueError, match=r"`weight`: got shape \(2, 8\)"):
        segments(data, weight=jnp.ones((2, 8)))
