"""`fit` with optax: closed forms, what is trained, monitors, checkpoints, errors."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import optimistix as optx
import pytest
from jaxtyping import Array

from sciml import Program
from sciml.core import RESULTS
from sciml.losses import LeastSquares, Mean
from sciml.sources import Fixed, Minibatches, Sampled
from sciml.training import (
    AbstractMonitor,
    Bounded,
    Checkpoint,
    ensemble,
    fit,
    KeepBest,
    LevenbergMarquardt,
    Log,
    Positive,
    Ranged,
    resolve,
)
from sciml.training._parameters import partition


class Line(eqx.Module):
    slope: Array
    offset: Array

    def __call__(self, x):
        return self.slope @ x + self.offset


X = np.random.default_rng(0).normal(size=(40, 2))
Y = X @ np.array([2.0, -1.0]) + 0.5 + 0.1 * np.random.default_rng(1).normal(size=40)
DATA = (jnp.asarray(X), jnp.asarray(Y))
START = Line(jnp.zeros(2), jnp.zeros(()))
CLOSED = np.linalg.lstsq(np.column_stack([X, np.ones(40)]), Y, rcond=None)[0]


def square(model, one):
    x, y = one
    return (model(x) - y) ** 2


def mean_square(model, batch):
    return jnp.mean(jax.vmap(lambda x, y: square(model, (x, y)))(*batch))


ADAM = optax.adam(0.05)


def run(model=START, loss=mean_square, source=DATA, method=ADAM, steps=60, key=None, **options):
    key = jr.key(7) if key is None else key
    return fit(model, loss, source, method, steps=steps, key=key, progress=False, **options)


def check_closed_form(model, tolerance):
    np.testing.assert_allclose(np.append(model.slope, model.offset), CLOSED, atol=tolerance)


def same_bits(a, b) -> bool:
    leaves = zip(
        jax.tree.leaves(eqx.filter(a, eqx.is_array)), jax.tree.leaves(eqx.filter(b, eqx.is_array)), strict=True
    )
    return all(np.array_equal(np.asarray(x), np.asarray(y), equal_nan=True) for x, y in leaves)


# -------------------------------------------------------------------------------------------------------------- truth


def test_adam_reaches_the_closed_form():
    done = run(method=optax.adam(optax.cosine_decay_schedule(0.1, 500)), steps=500)
    check_closed_form(done.value, 1e-6)  # the schedule's last steps are that short
    assert done.result == RESULTS.successful and done.stats.steps == 500 and done.stats.losses.shape == (500,)
    np.testing.assert_allclose(done.stats.losses[0], np.mean(Y**2), rtol=1e-12)
    assert isinstance(START.slope, jax.Array) and not START.slope.is_deleted()


def test_minibatches_of_plain_arrays_come_near():
    done = run(loss=Mean(square), source=Minibatches(DATA, 10), method=optax.adam(0.02), steps=600)
    check_closed_form(done.value, 0.05)  # noise of ten out of forty samples at a constant step
    assert np.all(done.stats.failed == 0)


def test_line_searches_of_optax_get_value_and_function():
    check_closed_form(run(method=optax.lbfgs(), steps=25).value, 1e-7)


def test_bfgs_of_optimistix_minimises_any_loss():
    done = run(method=optx.BFGS(rtol=1e-10, atol=1e-10), steps=100)
    check_closed_form(done.value, 1e-7)
    assert done.stats.matrix is None and done.stats.steps < 100


def test_float32_stays_float32():
    down = lambda tree: jax.tree.map(lambda x: x.astype(jnp.float32), tree)
    done = run(down(START), Mean(square), down(DATA), steps=200, method=optax.adam(0.1))
    assert done.value.slope.dtype == jnp.float32
    check_closed_form(done.value, 1e-3)


def test_same_key_same_bits_and_other_key_other_bits():
    first, again, other = (run(loss=Mean(square), source=Minibatches(DATA, 4), key=jr.key(k)) for k in (1, 1, 2))
    assert same_bits(first, again) and not same_bits(first, other)


def test_traced_once_over_chunks_of_different_length():
    traces = []

    def counted(model, batch):
        traces.append(1)
        return mean_square(model, batch)

    run(loss=counted, steps=230, monitor=KeepBest(lambda m: m.offset, every=70))
    assert len(traces) == 1


# --------------------------------------------------------------------------------------------------- what is trained


@pytest.mark.parametrize("mask", [lambda m: m.slope, Line(True, False)], ids=["function", "mask"])
def test_trainable_leaves_the_rest_alone(mask):
    done = run(trainable=mask, method=optax.adam(0.1), steps=300)
    assert done.value.offset == 0.0
    np.testing.assert_allclose(done.value.slope, np.linalg.lstsq(X, Y, rcond=None)[0], atol=1e-4)


def test_trainable_selects_nothing():
    expected = "`trainable`: got no floating-point array;.* expected at least one.*write parameters as"
    with pytest.raises(ValueError, match=expected):
        run(trainable=Line(False, False))
    with pytest.raises(ValueError, match=expected):
        run(Line(1.0, 2))


def test_a_python_float_is_trained_where_a_function_selects_it():
    model = Line(jnp.zeros(2), 0.0)
    done = run(model, trainable=lambda m: (m.slope, m.offset), method=optax.adam(0.1), steps=300)
    np.testing.assert_allclose(done.value.offset, CLOSED[2], atol=1e-4)
    single, _ = partition(Line(jnp.zeros(2, jnp.float32), 0.0), lambda m: m.offset)
    assert single.offset.dtype == jnp.float32  # that of the model's arrays
    alone = run(Line(jnp.asarray(CLOSED[:2]), 0.0), trainable=lambda m: m.offset, method=optx.BFGS(1e-10, 1e-10))
    np.testing.assert_allclose(alone.value.offset, CLOSED[2], atol=1e-8)
    assert run(model, steps=3).value.offset == 0.0  # a constant otherwise


@pytest.mark.parametrize(
    ("model", "trainable", "expected"),
    [
        (Line(1.0, 2), None, "got no floating-point array; `model.slope`: Python float, a constant; expected at least"),
        (2.0, None, "got no floating-point array; `model`: Python float, a constant"),
        (Line(jnp.ones(2), 2), lambda m: m.offset, "got `model.offset`, a int; expected floating-point arrays"),
        (Line(jnp.ones(2), "b"), lambda m: (m.slope, m.offset), "got `model.offset`, a str; expected floating-point"),
        (
            Line(jnp.ones(2), 2.0),
            Line(True, True),
            "True for `model.offset`, a Python float; .*select it by a function",
        ),
    ],
)
def test_what_cannot_be_trained_is_named(model, trainable, expected):
    with pytest.raises(ValueError, match=f"`trainable`: .*{expected}"):
        run(model, trainable=trainable)


def test_floats_inside_of_a_selected_part_stay_constants():
    model = {"inner": Line(jnp.zeros(2), 0.5), "outer": jnp.zeros(())}
    for trainable in (lambda m: m["inner"], {"inner": True, "outer": False}, True):
        parameters, rest = partition(model, trainable)
        assert parameters["inner"].offset is None and rest["inner"].offset == 0.5


def test_trainable_of_another_structure():
    with pytest.raises(ValueError, match="`trainable`: got the structure .*select parts by a function"):
        run(trainable=(True, False))


@pytest.mark.parametrize(
    ("wrapped", "value"),
    [
        (Positive(3.0), 3.0),
        (Bounded(0.2, -1.0, 1.0), 0.2),
        (Ranged(0.0, 1.0, 100.0, is_log=True), 10.0),
        (Ranged(0.5, 0.0, 4.0), 3.0),
    ],
)
def test_transforms_resolve_to_their_start_and_are_trained(wrapped, value):
    np.testing.assert_allclose(resolve(wrapped), value, rtol=1e-14)
    model = Line(jnp.asarray(CLOSED[:2]), wrapped)
    done = run(model, steps=30)
    assert isinstance(done.state.offset, type(wrapped)) and isinstance(done.value.offset, jax.Array)
    assert done.stats.losses[-1] < done.stats.losses[0]
    assert same_bits(resolve(done.state), done.value)


def test_transforms_keep_their_bounds():
    # The unbounded answers are 2 and -1 (slopes) and 0.5 (offset).
    model = Line(Positive(jnp.ones(2)), Bounded(0.0, -0.3, 0.3))
    done = run(model, method=optax.adam(0.2), steps=300)
    assert done.value.slope[0] > 1.5 and 0 < done.value.slope[1] < 0.05 and 0.25 < done.value.offset < 0.3


def test_transforms_refuse_bad_starts():
    with pytest.raises(ValueError, match="`value`: got .*positive numbers"):
        Positive(-1.0)
    with pytest.raises(ValueError, match="`value`: got .*strictly between 0.0 and 1.0"):
        Bounded(1.0, 0.0, 1.0)
    with pytest.raises(ValueError, match="`low, high`: got 1.0 and 0.0"):
        Bounded(0.5, 1.0, 0.0)
    with pytest.raises(ValueError, match="`low, high`"):
        Ranged(0.5, 1.0, 1.0)
    with pytest.raises(ValueError, match="`low`: got 0.0; expected a positive number"):
        Ranged(0.5, 0.0, 1.0, is_log=True)


# ------------------------------------------------------------------------------------------------------------ monitors


def offset_from_half(model):
    """Best in passing: the offset rises through 0.25 on its way to 0.5."""
    return jnp.abs(model.offset - 0.25)


def test_keep_best_returns_the_best_and_not_the_last():
    done, last = run(monitor=KeepBest(offset_from_half, every=1)), run()
    errors = [abs(float(m.offset) - 0.25) for m in (done.value, last.value)]
    assert errors[0] < 0.03 < 0.2 < errors[1]
    assert same_bits(done.stats, last.stats)


def test_patience_stops_early():
    done = run(monitor=KeepBest(offset_from_half, every=5, patience=10), steps=200)
    assert done.result == RESULTS.successful and done.stats.steps < 40
    assert done.stats.losses.shape == (int(done.stats.steps),)


def test_a_score_of_nan_never_wins():
    assert same_bits(run(monitor=KeepBest(lambda m: m.offset * jnp.nan, every=20)).value, run().value)


def test_log_writes_one_line_of_json_for_each_look(tmp_path):
    path = tmp_path / "new" / "log.jsonl"
    done = run(monitor=(Log(str(path), every=20), KeepBest(offset_from_half, every=30)))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40, 60]
    np.testing.assert_allclose(lines[0]["loss"], np.mean(done.stats.losses[:20]), rtol=1e-12)


# --------------------------------------------------------------------------------------------------------- checkpoints


class Interrupt(AbstractMonitor):
    """Ctrl-C at a step."""

    at: int
    every: int = 10

    def init(self, parameters):
        return jnp.zeros(())

    def update(self, memory, event):
        if event.step == self.at:
            raise KeyboardInterrupt
        return memory + event.loss, False

    def finish(self, memory, parameters):
        return parameters


@pytest.mark.parametrize("at", [10, 50], ids=["before the first save", "after a save"])
def test_interrupted_and_resumed_is_uninterrupted_bit_for_bit(tmp_path, at):
    def go(path, at):
        monitors = (KeepBest(offset_from_half, every=15), Interrupt(at))
        return run(
            loss=Mean(square), source=Minibatches(DATA, 7), monitor=monitors, checkpoint=Checkpoint(str(path), every=20)
        )

    whole = go(tmp_path / "whole.sciml", -1)
    with pytest.raises(KeyboardInterrupt):
        go(tmp_path / "new" / "part.sciml", at)
    assert (tmp_path / "new" / "part.sciml").exists() == (at > 20)
    resumed = go(tmp_path / "new" / "part.sciml", -1)
    assert same_bits(resumed, whole)
    # The two files hold the monitors' memories, the optimiser's state and the losses: all of it the same bytes.
    assert (tmp_path / "new" / "part.sciml").read_bytes() == (tmp_path / "whole.sciml").read_bytes()
    # A finished fit is finished.
    assert same_bits(go(tmp_path / "whole.sciml", -1), whole)


def test_a_fit_that_was_stopped_stays_stopped(tmp_path):
    options = {"steps": 200, "monitor": KeepBest(offset_from_half, every=5, patience=10), "checkpoint": tmp_path / "c"}
    assert same_bits(run(**options), run(**options))


def test_checkpoint_of_another_fit_is_refused(tmp_path):
    path = str(tmp_path / "c")
    run(steps=10, checkpoint=path)
    with pytest.raises(ValueError, match="`checkpoint`: got .*delete the file to start afresh"):
        run(steps=20, checkpoint=path)
    with pytest.raises(ValueError, match="`checkpoint`: got .*made with another `key`"):
        run(steps=10, checkpoint=path, key=jr.key(8))


def test_checkpoint_of_other_data_or_another_start_is_refused(tmp_path):
    """The shapes agree: only the values tell these fits apart."""
    path, match = str(tmp_path / "c"), "made from another start, or with other data"
    loss = LeastSquares(lambda m, b: m - b)
    options = {"loss": loss, "method": LevenbergMarquardt(), "steps": 5, "checkpoint": path}
    fives = lambda m=0.0: run(model=jnp.asarray(m), source=jnp.full(3, 5.0), **options)
    twos = run(model=jnp.asarray(0.0), source=jnp.full(3, 2.0), **options)
    assert same_bits(run(model=jnp.asarray(0.0), source=jnp.full(3, 2.0), **options), twos)
    with pytest.raises(ValueError, match=match):
        fives()
    with pytest.raises(ValueError, match=match):
        run(model=jnp.asarray(1.0), source=jnp.full(3, 2.0), **options)
    (tmp_path / "c").unlink()
    np.testing.assert_allclose(fives().value, 5.0, rtol=1e-6)
    options = {"steps": 3, "checkpoint": str(tmp_path / "adam")}
    run(**options)
    with pytest.raises(ValueError, match=match):
        run(source=(DATA[0], 2 * DATA[1]), **options)


def test_checkpoint_folder_is_checked_before_the_first_step(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="not a writable folder"):
        run(checkpoint=tmp_path / "file" / "c")


# -------------------------------------------------------------------------------------------------- failures and errors


def nan_in_the_second_chunk(model, batch):
    return jnp.where(model.offset > 0.3, jnp.nan, mean_square(model, batch))


def test_a_loss_of_nan_is_a_result_and_keeps_the_last_sound_parameters():
    slowly = {"loss": nan_in_the_second_chunk, "method": optax.adam(0.02), "monitor": Interrupt(-1)}
    done = run(**slowly, throw=False)
    assert done.result == RESULTS.diverged
    assert 0.1 < done.value.offset <= 0.3 and done.stats.steps == 20 and np.isnan(done.stats.losses[-1])
    with pytest.raises(Exception, match="became NaN or infinite"):
        run(**slowly)


def test_the_message_of_a_fit_speaks_of_the_fit():
    with pytest.raises(RuntimeError, match="^The loss became NaN or infinite at step 0; .*lower the learning rate"):
        run(loss=lambda m, b: mean_square(m, b) * jnp.nan, steps=3)
    with pytest.raises(
        RuntimeError, match="at step 0, where 100% of the batch failed .the loss refuses more than `ref"
    ):
        run(loss=Mean(lambda m, one: square(m, one) * jnp.nan), steps=3)
    with pytest.raises(RuntimeError, match="^The loss, or a parameter, became NaN or infinite; "):
        run(loss=lambda m, b: jnp.sum(jnp.sqrt(m.slope)), steps=1)


def test_a_key_must_be_one():
    with pytest.raises(TypeError, match=r"`key`: got 0; expected one key of `jax.random`"):
        getattr(fit, "__wrapped__", fit)(START, mean_square, DATA, ADAM, steps=3, key=0)


def test_a_gradient_of_nan_at_the_last_step_is_noticed():
    done = run(loss=lambda m, b: jnp.sum(jnp.sqrt(m.slope)), steps=1, method=optax.adam(0.1), throw=False)
    assert done.stats.losses[0] == 0.0 and done.result == RESULTS.diverged
    assert np.all(done.value.slope == 0.0)


def test_method_must_be_called():
    with pytest.raises(TypeError, match="`method`: got <function adam.*called, not the function"):
        run(method=optax.adam)


def test_least_squares_solver_needs_residuals():
    with pytest.raises(TypeError, match=r"`loss`: got function; expected a loss that declares residuals.*LeastSquares"):
        run(method=LevenbergMarquardt())


MISFIT = LeastSquares(lambda m, b: m.offset - b[1])
LM = LevenbergMarquardt()


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"steps": 0}, ValueError, "`steps`: got 0; expected an integer >= 1"),
        ({"steps": 1.5}, ValueError, "`steps`: got 1.5; expected an integer >= 1"),
        ({"loss": lambda m, b: None}, ValueError, "`loss`: got None; expected one real number.*`jnp.mean"),
        ({"loss": lambda m, b: m.slope}, ValueError, r"`loss`: got a value of shape \(2,\).*expected one real number"),
        ({"loss": Program(lambda z, p: z)}, TypeError, "`loss`: got a Program; expected a function.*losses.Penalty"),
        (
            {"loss": LeastSquares(lambda m, b: None), "method": LM},
            ValueError,
            "`loss`: got residuals None; expected at",
        ),
        ({"loss": LeastSquares(lambda m, b: ()), "method": LM}, ValueError, r"`loss`: got residuals \(\); expected"),
        (
            {"monitor": print},
            TypeError,
            "`monitor`: got <built-in function print>; expected `training.Abs",
        ),
        ({"checkpoint": 3}, TypeError, "`checkpoint`: got 3; expected a path, a `Checkpoint` or None"),
    ],
)
def test_bad_arguments_are_named(options, error, match):
    """Past the run-time check of types, which users do not have."""
    bare = getattr(fit, "__wrapped__", fit)
    given = {"loss": mean_square, "method": ADAM, "steps": 3, **options}
    with pytest.raises(error, match=match):
        bare(START, given.pop("loss"), DATA, given.pop("method"), key=jr.key(0), progress=False, **given)


def test_ensembles_name_what_they_do_not_take():
    starts = jax.tree.map(lambda x: jnp.stack([x, x + 1.0]), START)
    with pytest.raises(TypeError, match="`method`: got GradientTransformation.*; expected an Optimistix solver"):
        ensemble(starts, MISFIT, DATA, ADAM, steps=3)
    with pytest.raises(ValueError, match="`steps`: got 0"):
        ensemble(starts, MISFIT, DATA, LM, steps=0)
    with pytest.raises(TypeError, match="`loss`: got function; expected a loss that declares residuals"):
        ensemble(starts, mean_square, DATA, LM, steps=3)
    whole, parts = (ensemble(starts, MISFIT, data, LM, steps=9) for data in (DATA, Minibatches(DATA, 8)))
    assert same_bits(whole.value, parts.value)
    np.testing.assert_allclose(parts.value.offset, np.mean(Y), rtol=1e-6)


def test_no_data_is_no_source_without_end():
    """A loss may hold its data."""
    done = run(model=jnp.zeros(2), loss=LeastSquares(lambda m, _: m - 2.0), source=None, method=LM)
    np.testing.assert_allclose(done.value, 2.0, rtol=1e-6)


def test_a_start_that_is_not_finite_is_named():
    loss = LeastSquares(lambda m, _: jnp.log(m))
    with pytest.raises(RuntimeError, match="^The loss is NaN or infinite at the start; begin from parameters"):
        run(model=-jnp.ones(2), loss=loss, source=None, method=LM, steps=3)
    newton = optx.GaussNewton(rtol=1e-6, atol=1e-6)  # from 5, the first step leads to 5 - 5 log 5 < 0
    with pytest.raises(RuntimeError, match="^A step led to a loss.*choose a method that rejects such steps"):
        run(model=5.0 * jnp.ones(2), loss=loss, source=None, method=newton, steps=3)


def test_data_with_axes_of_its_own_reaches_the_loss_whole():
    """Points of several kinds have no common number; a loss that wants instances says so."""
    inside, edge = jnp.array([1.0, 2.0, 3.0]), jnp.array([2.0])
    done = run(jnp.zeros(()), lambda m, b: jnp.mean((m - b[0]) ** 2) + (m - b[1][0]) ** 2, (inside, edge), steps=300)
    np.testing.assert_allclose(done.value, 2.0, atol=1e-3)
    with pytest.raises(ValueError, match="`batch`.*one common leading axis"):
        run(jnp.zeros(()), Mean(lambda m, one: (m - one[0]) ** 2), (inside, edge))


def test_second_order_methods_are_given_every_instance():
    loss = LeastSquares(lambda m, b: jax.vmap(m)(b[0]) - b[1])
    whole, parts = (run(loss=loss, method=LevenbergMarquardt(), source=s) for s in (DATA, Minibatches(DATA, 8)))
    assert same_bits(whole.value, parts.value)
    check_closed_form(parts.value, 1e-9)
    fresh = Sampled(lambda key: (jr.normal(key, (2,)), jnp.zeros(())), 8)
    with pytest.raises(ValueError, match=r"`source`: got Sampled, whose.*`source.draw\(n, key=key\)`"):
        run(loss=loss, method=LevenbergMarquardt(), source=fresh)


def test_a_source_is_taken_as_it_is():
    assert same_bits(run(source=Fixed(DATA), steps=5), run(source=DATA, steps=5))


@pytest.mark.parametrize(
    "make", [lambda: KeepBest(score=len, every=0), lambda: Log("log", every=0), lambda: Checkpoint("file", every=0)]
)
def test_a_period_of_no_steps_is_refused(make):
    with pytest.raises(ValueError, match="`every`: got 0"):
        make()
