"""Estimation of the states of a record: filtered, smoothed, or by any observer."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sciml.core import cholesky, invalid, RESULTS, solve_cholesky, tree_allfinite, tree_where, wrong_type
from sciml.sources import Record

from ._gaussian import Correction, Gaussian, symmetric
from ._observers import AbstractGaussianFilter, AbstractObserver, Belief
from ._replay import check_times


class Filtered(eqx.Module):
    """The states of a record as a filter sees them, with leading axis time.

    Gradient: all but `result` carry derivatives, of a run that did not diverge.
    """

    t: Float[Array, "*batch time"]
    predicted: Gaussian
    """Given the measurements before each sample."""
    filtered: Gaussian
    """Given the measurements up to each sample."""
    innovation: Float[Array, "*batch time y"]
    """Measured minus predicted outputs; 0 where nothing was measured."""
    innovation_cov: Float[Array, "*batch time y y"]
    """Their covariance, with a row of the identity where nothing was measured. Innovations that are divided by its root
    are white for a correct model (`metrics.whiteness`)."""
    log_likelihood: Float[Array, "*batch"]
    """`log p(y)`, of the measured samples alone; minus infinity if the filter diverged."""
    result: RESULTS
    """`successful`, or `diverged` if a belief became NaN or infinite: the last sound one is kept from there on."""


class Smoothed(eqx.Module):
    """The states of a record given all of its measurements, with leading axis time."""

    t: Float[Array, "*batch time"]
    state: Gaussian
    result: RESULTS
    """As of the filter before it."""


class Estimated(eqx.Module):
    """The states of a record as an observer estimates them, with leading axis time."""

    t: Float[Array, "*batch time"]
    x: Float[Array, "*batch time x"]
    """Each from the measurements up to its time; past the end of the record, the last one."""
    result: RESULTS
    """`successful`, or `diverged` if the memory became NaN or infinite: the last sound estimate is kept from there."""


class _Passed(eqx.Module):
    """One sample of the forward pass."""

    prior: Gaussian
    correction: Correction
    slope: Array
    """`F`, from this sample to the next; the identity past the end of the record."""
    is_sound: Array


def filter_states(observer: AbstractGaussianFilter, record: Record) -> Filtered:
    """The distribution of every state given the past, and the likelihood of the record in innovations form.

    With `e` the innovations and `S` their covariances, the log-likelihood is exact for a linear system,

        log p(y) = -½ Σ_k (eᵀ S⁻¹ e + log det S + y log 2π),

    over what was measured; a fit of `-log_likelihood` estimates parameters, noise covariances and the start together.
    It is one `lax.scan`; `vmap` over stacked records or observers makes the batch. Samples lie `observer.system.dt`
    apart.

    Args:
        observer: `KalmanFilter` or `ExtendedKalmanFilter`. Its dtype is the dtype of the run.
        record: one record; missing samples and padding are predicted through.

    Raises:
        ValueError: several records without `vmap`, or outputs or inputs that the system does not have; (outside `jit`)
            samples that do not lie `observer.system.dt` apart.

    Gradient: in both modes; of a run that diverged, none that is of use (the value is minus infinity).

    Source: Schweppe (1965), Evaluation of likelihood functions for Gaussian signals, IEEE Transactions on Information
    Theory 11(1), doi:10.1109/TIT.1965.1053737.

    Examples:
        ```python
        walk = sciml.systems.LinearDiscrete(A=jnp.eye(1), B=jnp.zeros((1, 1)))
        data = sciml.sources.record(y=jnp.sin(jnp.arange(50.0)), dt=1.0)

        def loss(log_noise):
            noise, start = jnp.exp(log_noise), sciml.simulation.Gaussian(jnp.array([0.0]), 1.0)
            return -sciml.simulation.filter_states(
                sciml.simulation.KalmanFilter(walk, noise[0], noise[1], start), data
            ).log_likelihood

        assert jnp.all(jnp.isfinite(jax.grad(loss)(jnp.zeros(2))))
        ```
    """
    ts, passed = _forward(observer, _checked(observer, record))
    lost = ~jnp.all(passed.is_sound)
    total = jnp.sum(passed.correction.log_likelihood)
    return Filtered(
        t=ts,
        predicted=passed.prior,
        filtered=passed.correction.posterior,
        innovation=passed.correction.innovation,
        innovation_cov=passed.correction.innovation_cov,
        log_likelihood=jnp.where(lost, -jnp.inf, total),
        result=RESULTS.where(lost, RESULTS.diverged, RESULTS.successful),
    )


def smooth_states(observer: AbstractGaussianFilter, record: Record) -> Smoothed:
    """The distribution of every state given all measurements, past and future; exact for a linear system.

    It equals the Rauch-Tung-Striebel smoother but inverts no covariance of a prediction, so that states without process
    noise are no special case. Backwards from `λ = 0`, `Λ = 0`:

        λ ← Cᵀ λ - Hᵀ S⁻¹ e,   Λ ← Cᵀ Λ C + Hᵀ S⁻¹ H,   C = I - K H;   then   λ ← Fᵀ λ,   Λ ← Fᵀ Λ F
        x_s = x⁺ - P⁺ λ,   P_s = P⁺ - P⁺ Λ P⁺     (before the step of the same sample)

    Arguments, errors and gradient are those of `filter_states`.

    Source: Bierman (1973), Fixed interval smoothing with discrete measurements, International Journal of Control 18(1),
    doi:10.1080/00207177308932487 (modified Bryson-Frazier form).
    """
    ts, passed = _forward(observer, _checked(observer, record))
    state = _backward(passed)
    lost = ~jnp.all(passed.is_sound)
    return Smoothed(ts, state, RESULTS.where(lost, RESULTS.diverged, RESULTS.successful))


def estimate_states(observer: AbstractObserver, record: Record) -> Estimated:
    """The estimates of any observer at the times of a record, each from the measurements up to its time.

    Args:
        observer: any observer; `filter_states` tells more for filters with covariances.
        record: as in `filter_states`.

    Raises:
        ValueError: several records without `vmap`; (outside `jit`) samples that do not lie `observer.system.dt` apart.

    Gradient: as far as the observer's.
    """
    estimate = eqx.filter_eval_shape(lambda: observer.estimate(observer.init()))
    record = _cast(record, estimate.dtype)
    check_times(getattr(observer, "system", None), record)
    return _estimates(observer, record)


@eqx.filter_jit
def _estimates(observer: AbstractObserver, record: Record) -> Estimated:

    goes_on = _goes_on(record)

    def body(carry: tuple[Any, Array, Array], inputs: tuple[_Sample, Array]) -> tuple[Any, Array]:
        memory, x, alive = carry
        sample, goes_on = inputs
        corrected = observer.correct(memory, sample.y, sample.u, sample.is_measured)
        following = observer.predict(corrected, sample.u)
        alive = alive & tree_allfinite((corrected, following))
        x = jnp.where(alive, observer.estimate(corrected), x)
        following = tree_where(goes_on, following, corrected)
        return (tree_where(alive, following, memory), x, alive), x

    memory = observer.init()
    # Past the end nothing is measured: a correction there leaves the estimate as it is.
    (_, _, alive), xs = jax.lax.scan(
        body, (memory, observer.estimate(memory), jnp.asarray(True)), (_samples(record), goes_on)
    )
    return Estimated(record.t, xs, RESULTS.where(alive, RESULTS.successful, RESULTS.diverged))


def _checked(observer: AbstractGaussianFilter, record: Record) -> Record:
    """The record in the dtype of the filter."""
    if not isinstance(observer, AbstractGaussianFilter):
        fix = "use `estimate_states` for other observers"
        raise wrong_type("observer", type(observer).__name__, "a KalmanFilter or an ExtendedKalmanFilter", fix)
    record = _cast(record, observer.start.mean.dtype)
    check_times(observer.system, record)
    outputs, shape = observer.measurement.shape[0], observer.system.input_shape()
    if record.y.shape[1] != outputs:
        got, fix = f"{record.y.shape[1]} outputs", "let the system's `output` return what was measured"
        raise invalid("record", got, f"{outputs}, as many as of the system", fix)
    if record.u is not None and shape is not None and record.u.shape[1:] != shape:
        fix = "select the inputs that the system has, in its order"
        raise invalid("record", f"inputs of shape {record.u.shape[1:]}", f"{shape}, as of the system", fix)
    return record


def _cast(record: Record, dtype: Any) -> Record:
    """One record with its numbers in `dtype`."""
    if record.t.ndim != 1:
        fix = "`jax.vmap(lambda r: filter_states(observer, r))(records)`"
        raise invalid("record", f"{record.t.shape[0]} stacked records", "one record", fix)
    cast = lambda leaf: leaf.astype(dtype) if eqx.is_inexact_array(leaf) else leaf
    return jax.tree.map(cast, record)


class _Sample(eqx.Module):
    """One time of a record."""

    t: Array
    u: Array | None
    y: Array
    is_measured: Array


def _samples(record: Record) -> _Sample:
    return _Sample(record.t, record.u, record.y, record.is_measured)


def _goes_on(record: Record) -> Array:
    """Whether there is a next sample to predict: the padding keeps the last belief."""
    return jnp.concatenate([record.is_sample[1:], jnp.zeros(1, bool)])


@eqx.filter_jit
def _forward(observer: AbstractGaussianFilter, record: Record) -> tuple[Array, _Passed]:
    goes_on = _goes_on(record)
    eye = jnp.eye(observer.start.mean.size, dtype=observer.start.mean.dtype)

    def body(carry: tuple[Gaussian, Array], inputs: tuple[_Sample, Array]) -> tuple[tuple[Gaussian, Array], _Passed]:
        prior, alive = carry
        sample, goes_on = inputs
        correction = observer.correction(Belief(sample.t, prior), sample.y, sample.u, sample.is_measured)
        posterior = correction.posterior
        mean, slope = observer.linear_step(sample.t, posterior.mean, sample.u)
        following = Gaussian(mean, symmetric(slope @ posterior.cov @ slope.T + observer.process))
        alive = alive & tree_allfinite((correction, following))
        quiet = _nothing(prior, correction)
        kept = tree_where(alive, correction, quiet)
        onward = tree_where(alive & goes_on, following, kept.posterior)
        passed = _Passed(prior, kept, jnp.where(alive & goes_on, slope, eye), alive)
        return (onward, alive), passed

    start = (observer.start, jnp.asarray(True))
    return record.t, jax.lax.scan(body, start, (_samples(record), goes_on))[1]


def _nothing(prior: Gaussian, like: Correction) -> Correction:
    """A correction that corrects nothing, for a filter that has diverged."""
    zero = jax.tree.map(jnp.zeros_like, like)
    eye = jnp.eye(like.innovation.size, dtype=like.innovation.dtype)
    return eqx.tree_at(lambda c: (c.posterior, c.innovation_cov), zero, (prior, eye))


@eqx.filter_jit
def _backward(passed: _Passed) -> Gaussian:
    size = passed.prior.mean.shape[-1]
    eye = jnp.eye(size, dtype=passed.prior.mean.dtype)

    def body(carry: tuple[Array, Array], one: _Passed) -> tuple[tuple[Array, Array], Gaussian]:
        first, second = carry
        first, second = one.slope.T @ first, one.slope.T @ second @ one.slope
        c, post = one.correction, one.correction.posterior
        smoothed = Gaussian(post.mean - post.cov @ first, symmetric(post.cov - post.cov @ second @ post.cov))
        rest = eye - c.gain @ c.slope
        right = jnp.concatenate([c.slope, c.innovation[:, None]], axis=1)
        weighted = solve_cholesky(cholesky(c.innovation_cov), right)
        first = rest.T @ first - c.slope.T @ weighted[:, -1]
        second = symmetric(rest.T @ second @ rest + c.slope.T @ weighted[:, :-1])
        return (first, second), smoothed

    return jax.lax.scan(body, (jnp.zeros_like(eye[0]), jnp.zeros_like(eye)), passed, reverse=True)[1]
