"""Observers: the Kalman filter, its steady state, and the extended Kalman filter."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float

from sciml.core import checked, cholesky, invalid, is_successful, solve_cholesky, wrong_type
from sciml.systems import AbstractContinuousSystem, AbstractDiscreteSystem, dare, LinearDiscrete

from ._gaussian import as_covariance, corrected, Correction, Gaussian, symmetric, value_and_slope


class AbstractObserver(eqx.Module):
    """An estimate of the state from inputs and outputs, sample by sample: `correct` by `y[k]`, `predict` to `t[k+1]`.

    Memories hold arrays only and keep their shapes, so that an observer runs inside `rollout` and `vmap`.
    """

    @abstractmethod
    def init(self) -> Any:
        """The memory before the first measurement."""

    @abstractmethod
    def correct(self, memory: Any, y: Any, u: Any, is_measured: Any) -> Any:
        """The memory after the measurement `y` at the present time; `u` is the present input, None if unknown yet."""

    @abstractmethod
    def predict(self, memory: Any, u: Any) -> Any:
        """The memory one sampling time later, under the input `u`."""

    @abstractmethod
    def estimate(self, memory: Any) -> Any:
        """The estimated state at the present time."""


class Belief(eqx.Module):
    """The memory of a filter: the time, and the distribution of the state at it."""

    t: Float[Array, ""]
    state: Gaussian


class AbstractGaussianFilter(AbstractObserver):
    """A filter that keeps mean and covariance, from a linear model of each step and output.

    The model is `x[k+1] = step(t, x, u) + w`, `y[k] = output(t, x, u) + v`, with independent white noises `w` and `v`
    of zero mean and the covariances `process` and `measurement`, and `x[0]` distributed as `start`.
    """

    process: eqx.AbstractVar[Float[Array, "x x"]]
    measurement: eqx.AbstractVar[Float[Array, "y y"]]
    start: eqx.AbstractVar[Gaussian]
    system: eqx.AbstractVar[Any]

    @abstractmethod
    def linear_step(self, t: Array, x: Float[Array, " x"], u: Any) -> tuple[Float[Array, " x"], Float[Array, "x x"]]:
        """The next state without noise, and its derivative by `x`."""

    @abstractmethod
    def linear_output(self, t: Array, x: Float[Array, " x"], u: Any) -> tuple[Float[Array, " y"], Float[Array, "y x"]]:
        """The output without noise, and its derivative by `x`."""

    def init(self) -> Belief:
        """The belief before the first measurement, at time 0."""
        return Belief(jnp.zeros((), self.start.mean.dtype), self.start)

    def correction(self, memory: Belief, y: Float[Array, " y"], u: Any, is_measured: Bool[Array, " y"]) -> Correction:
        """The update by a measurement, with innovation, gain and log-likelihood."""
        expected, slope = self.linear_output(memory.t, memory.state.mean, u)
        return corrected(memory.state, y - expected, slope, self.measurement, is_measured)

    def correct(self, memory: Belief, y: Float[Array, " y"], u: Any, is_measured: Bool[Array, " y"]) -> Belief:
        """The belief after a measurement; entries of `y` that are not measured may hold any finite number."""
        return Belief(memory.t, self.correction(memory, y, u, is_measured).posterior)

    def predict(self, memory: Belief, u: Any) -> Belief:
        """The belief one sampling time later: `x⁻ = f(x)`, `P⁻ = F P Fᵀ + process`."""
        mean, slope = self.linear_step(memory.t, memory.state.mean, u)
        cov = symmetric(slope @ memory.state.cov @ slope.T + self.process)
        return Belief(memory.t + self.system.dt.astype(memory.t.dtype), Gaussian(mean, cov))

    def estimate(self, memory: Belief) -> Float[Array, " x"]:
        """The mean."""
        return memory.state.mean


class KalmanFilter(AbstractGaussianFilter):
    """The Kalman filter of a linear system: the state's exact distribution given all measurements so far.

    It is also the best linear estimate where the noise is not normal. Use it with `filter_states` and `smooth_states`
    on records, in `policies.OutputFeedback` in closed loop, and through `log_likelihood` to fit model and noise.

    Source: Kalman (1960), A new approach to linear filtering and prediction problems, doi:10.1115/1.3662552; the update
    in Joseph's form, which float32 stands as well.

    Examples:
        ```python
        walk = sciml.systems.LinearDiscrete(A=jnp.eye(1), B=jnp.zeros((1, 1)))
        start = sciml.simulation.Gaussian(jnp.array([0.0]), 1e6)
        observer = sciml.simulation.KalmanFilter(walk, process=0.0, measurement=1.0, start=start)
        data = sciml.sources.record(y=[1.0, 2.0, float("nan"), 3.0], dt=1.0)
        run = sciml.simulation.filter_states(observer, data)
        assert jnp.isclose(run.filtered.mean[-1, 0], 2.0, atol=1e-3)  # the mean of what was measured
        ```
    """

    system: LinearDiscrete
    process: Float[Array, "x x"]
    measurement: Float[Array, "y y"]
    start: Gaussian

    def __init__(self, system: LinearDiscrete, process: ArrayLike, measurement: ArrayLike, start: Gaussian):
        """A linear system in discrete time, the covariances of its noises, and the belief at the first sample.

        Args:
            system: `LinearDiscrete`, for instance from `discretise(system, Exact(), dt=...)`.
            process: covariance of the noise added to the state in each step: one variance for all states, one for
                each, or a positive semidefinite matrix.
            measurement: covariance of the measurement noise, likewise, positive definite.
            start: distribution of the state at the first sample, before its measurement.

        Raises:
            TypeError: a system that is not a `LinearDiscrete`.
            ValueError: shapes that do not fit, or (outside `jit`) covariances that are none.
        """
        if not isinstance(system, LinearDiscrete):
            fix = "use `ExtendedKalmanFilter`, or sample a linear system by `discretise(system, Exact(), dt=...)`"
            raise wrong_type("system", f"a {type(system).__name__}", "a LinearDiscrete", fix)
        self.system, self.start = system, start
        self.process, self.measurement = noises(system, process, measurement, start)

    def linear_step(self, t: Array, x: Float[Array, " x"], u: Any) -> tuple[Float[Array, " x"], Float[Array, "x x"]]:
        """`A x + B u`, and `A`."""
        return self.system.step(t, x, u), self.system.A

    def linear_output(self, t: Array, x: Float[Array, " x"], u: Any) -> tuple[Float[Array, " y"], Float[Array, "y x"]]:
        """`C x + D u`, and `C`."""
        return self.system.output(t, x, u), self.system.C


class ExtendedKalmanFilter(AbstractGaussianFilter):
    """The extended Kalman filter: the Kalman filter of the model linearised at each estimate.

    Choose it for any discrete system with smooth equations whose state is known well enough for a linear model; sample
    a continuous one by `discretise`. Where the linear model is poor, for instance from a bad start, choose
    `MovingHorizon`. On a linear system it is the Kalman filter.

    Source: Jazwinski (1970), Stochastic Processes and Filtering Theory, theorem 8.1; the update in Joseph's form.

    Examples:
        ```python
        plant = sciml.systems.discretise(sciml.systems.zoo.TwoTank(), sciml.systems.RK4(), dt=1.0)
        start = sciml.simulation.Gaussian(jnp.array([0.5, 0.5]), 0.1)
        observer = sciml.simulation.ExtendedKalmanFilter(plant, process=1e-6, measurement=1e-4, start=start)
        belief = observer.correct(observer.init(), jnp.array([0.4, 0.6]), None, jnp.array([True, False]))
        assert abs(observer.estimate(belief)[0] - 0.4) < 1e-3
        ```
    """

    system: AbstractDiscreteSystem
    process: Float[Array, "x x"]
    measurement: Float[Array, "y y"]
    start: Gaussian

    def __init__(
        self,
        system: AbstractDiscreteSystem,
        process: ArrayLike,
        measurement: ArrayLike,
        start: Gaussian,
        *,
        inputs: int | None = None,
    ):
        """A system in discrete time, the covariances of its noises, and the belief at the first sample.

        Args:
            system: any discrete system whose state and output are vectors.
            process: as in `KalmanFilter`; it also has to cover errors of the model.
            measurement: as in `KalmanFilter`.
            start: as in `KalmanFilter`.
            inputs: number of inputs, for a system with inputs whose `input_shape` is None.

        Raises:
            TypeError: a system that is not in discrete time.
            ValueError: shapes that do not fit, or (outside `jit`) covariances that are none.
        """
        check_discrete(system)
        self.system, self.start = system, start
        self.process, self.measurement = noises(system, process, measurement, start, inputs)

    def linear_step(self, t: Array, x: Float[Array, " x"], u: Any) -> tuple[Float[Array, " x"], Float[Array, "x x"]]:
        """`f(t, x, u)`, and its Jacobian by forward mode."""
        return value_and_slope(lambda x: self.system.step(t, x, u), x)

    def linear_output(self, t: Array, x: Float[Array, " x"], u: Any) -> tuple[Float[Array, " y"], Float[Array, "y x"]]:
        """`h(t, x, u)`, and its Jacobian by forward mode."""
        return value_and_slope(lambda x: self.system.output(t, x, u), x)


class SteadyKalmanFilter(AbstractObserver):
    """The Kalman filter with the constant gain to which it converges: `x⁺ = x + K (y - C x)`; made by `steady_state`.

    Choose it where an estimate has to cost little: it carries no covariance. A missing output contributes nothing,
    and the gain of the others is not adapted.
    """

    system: LinearDiscrete
    gain: Float[Array, "x y"]
    """`K`, applied to the innovation."""
    start: Gaussian
    """Mean of the state at the first sample, and the covariance of every prediction, `P`."""

    def init(self) -> Belief:
        """The start, at time 0."""
        return Belief(jnp.zeros((), self.start.mean.dtype), self.start)

    def correct(self, memory: Belief, y: Float[Array, " y"], u: Any, is_measured: Bool[Array, " y"]) -> Belief:
        """The mean after a measurement; the covariance in the memory stays that of predictions."""
        error = jnp.where(is_measured, y - self.system.output(memory.t, memory.state.mean, u), 0.0)
        return Belief(memory.t, Gaussian(memory.state.mean + self.gain @ error, memory.state.cov))

    def predict(self, memory: Belief, u: Any) -> Belief:
        """The mean one sampling time later."""
        mean = self.system.step(memory.t, memory.state.mean, u)
        return Belief(memory.t + self.system.dt.astype(memory.t.dtype), Gaussian(mean, memory.state.cov))

    def estimate(self, memory: Belief) -> Float[Array, " x"]:
        """The mean."""
        return memory.state.mean


def steady_state(observer: KalmanFilter) -> SteadyKalmanFilter:
    """The limit of a Kalman filter: the stabilising solution of the Riccati equation, and its gain.

        P = A P Aᵀ - A P Cᵀ (C P Cᵀ + V)⁻¹ C P Aᵀ + W,   K = P Cᵀ (C P Cᵀ + V)⁻¹

    with `W` the process and `V` the measurement covariance. It exists if `(A, C)` is detectable and the noise reaches
    all states that neither decay nor grow.

    Args:
        observer: the Kalman filter of a system whose matrices do not change.

    Raises:
        ValueError: outside `jit`, a filter without steady state.
        RuntimeError: the same under `jit`.

    Gradient: that of the limit, in both modes: see `systems.dare`.

    Source: Anderson & Moore (1979), Optimal Filtering, chapters 4 and 6; the equation is solved by `systems.dare`.
    """
    A, C, V = observer.system.A, observer.system.C, observer.measurement
    solution = dare(A.T, C.T, observer.process, V, throw=False)
    if not isinstance(solution.value, Tracer) and not bool(is_successful(solution.result)):
        fix = "let every state that does not decay be seen in the outputs, and give it process noise"
        raise invalid("observer", "a filter without steady state", "a detectable system", fix)
    P = checked(solution.value, solution.result)
    gain = solve_cholesky(cholesky(C @ P @ C.T + V), C @ P).T
    return SteadyKalmanFilter(observer.system, gain, Gaussian(observer.start.mean, P))


def check_discrete(system: Any) -> None:
    """Raise unless the system is in discrete time."""
    if isinstance(system, AbstractDiscreteSystem):
        return
    is_continuous = isinstance(system, AbstractContinuousSystem)
    got = f"{type(system).__name__}, in continuous time" if is_continuous else repr(system)
    fix = "sample it: `systems.discretise(system, RK4(), dt=...)`"
    raise wrong_type("system", got, "a system in discrete time", fix)


def example_input(system: AbstractDiscreteSystem, inputs: int | None, dtype: Any) -> Array | None:
    """An input of the right shape, or None."""
    shape = system.input_shape() if inputs is None else (inputs,)
    return None if shape is None else jnp.zeros(shape, dtype)


def noises(
    system: Any, process: Any, measurement: Any, start: Gaussian, inputs: int | None = None
) -> tuple[Array, Array]:
    """Both covariances as matrices, checked against the system."""
    x, dtype = start.mean, start.mean.dtype
    u, t = example_input(system, inputs, dtype), jnp.zeros((), dtype)
    try:
        after, y = eqx.filter_eval_shape(lambda s, x: (s.step(t, x, u), s.output(t, x, u)), system, x)
    except (TypeError, ValueError, IndexError) as error:
        fix = "give `start` one entry per state, and `inputs=` if the system does not tell the number of its inputs"
        expected = f"a state that {type(system).__name__} takes"
        raise invalid("start", f"a mean of shape {x.shape}, on which it raises: {error}", expected, fix) from error
    if after.shape != x.shape or x.ndim != 1 or getattr(y, "ndim", 0) != 1:
        got = f"a state {after} and an output {y} after a mean of shape {x.shape}"
        raise invalid("system", got, "vectors, and as many states as in `start`", "let `output` return a vector")
    V = as_covariance(measurement, y.shape[0], "measurement", dtype)
    if not isinstance(V, Tracer) and not bool(jnp.all(jnp.isfinite(cholesky(V)))):
        fix = "give every output a noise, however small"
        raise invalid("measurement", f"variances {jnp.diagonal(V)}", "a positive definite covariance", fix)
    return as_covariance(process, x.size, "process", dtype), V
