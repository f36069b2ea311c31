"""Planning by samples: the cross-entropy method, and model predictive path integral control."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, Scalar, ScalarLike

from sciml.core import invalid, RESULTS
from sciml.programs import OptimalControl

from ._horizon import Horizon, Inputs
from ._plan import AbstractPlanner, Outcome


class SamplingState(eqx.Module):
    """A normal distribution of inputs, and the best inputs so far."""

    mean: Float[Array, "horizon u"]
    spread: Float[Array, "horizon u"]
    """Standard deviations."""
    best: Float[Array, "horizon u"]
    cost: Scalar
    """That of the best; infinite where none was finite."""
    key: PRNGKeyArray
    updates: Int[Array, ""]
    limit: Int[Array, ""]


class AbstractSampler(AbstractPlanner):
    """Planners that draw inputs about a mean, roll all of them out, and move the mean."""

    samples: eqx.AbstractVar[int]
    spread: eqx.AbstractVar[Any]
    smoothing: eqx.AbstractVar[Any]

    @property
    def most_steps(self) -> int:
        """The number of updates where `plan` is given none."""
        return 50

    @property
    def needs_key(self) -> bool:
        """Yes."""
        return True

    def check(self, problem: OptimalControl) -> None:
        """Raises where the width of the distribution is neither given nor follows from the bounds."""
        if self.spread is None and (problem.u_lower is None or problem.u_upper is None):
            fix = f"`{type(self).__name__}(spread=...)`, one number or one for each entry of an input"
            raise invalid("spread", None, "a standard deviation, since inputs have no bounds on both sides", fix)

    def init(self, horizon: Horizon, u: Inputs, limit: int, key: PRNGKeyArray | None) -> SamplingState:
        """The distribution about the given inputs."""
        assert key is not None
        width = horizon.upper - horizon.lower
        spread = jnp.where(jnp.isfinite(width), width / 4, 1.0) if self.spread is None else self.spread
        spread = jnp.broadcast_to(jnp.asarray(spread, u.dtype), u.shape)
        cost = horizon.cost(u)
        return SamplingState(u, spread, u, cost, key, jnp.zeros((), int), jnp.asarray(limit))

    def step(self, horizon: Horizon, state: SamplingState) -> SamplingState:
        """Sample, roll out, move."""
        key = jr.fold_in(state.key, state.updates)
        noise = smooth_noise(key, self.samples, state.mean, self.smoothing)
        # The mean and the best so far are candidates too.
        us = state.mean + state.spread * noise.at[0].set(0.0)
        us = jax.vmap(horizon.clip)(us).at[1].set(state.best)
        costs = jax.vmap(horizon.cost)(us)
        first = jnp.argmin(costs)
        better = costs[first] < state.cost
        best, cost = jnp.where(better, us[first], state.best), jnp.minimum(costs[first], state.cost)
        mean, spread = self.moved(state, us, costs)
        is_fine = jnp.any(costs < jnp.inf)
        mean, spread = jnp.where(is_fine, mean, state.mean), jnp.where(is_fine, spread, state.spread / 2)
        return SamplingState(horizon.clip(mean), spread, best, cost, state.key, state.updates + 1, state.limit)

    @abstractmethod
    def moved(self, state: SamplingState, us: Array, costs: Array) -> tuple[Inputs, Inputs]:
        """Mean and standard deviations after an update; `costs` are infinite where a run is not finite."""

    def done(self, state: SamplingState) -> Bool[Array, ""]:
        """Whether the number of updates is reached."""
        return state.updates >= state.limit

    def finish(self, horizon: Horizon, state: SamplingState) -> Outcome:
        """The mean, or the best sample where that costs less."""
        last = horizon.cost(state.mean)
        u = jnp.where(last < state.cost, state.mean, state.best)
        residual = horizon.residual(u, jax.grad(horizon.plain_cost)(u))
        found = jnp.minimum(last, state.cost) < jnp.inf
        result = RESULTS.where(found, RESULTS.successful, RESULTS.nonfinite_step)
        return Outcome(u, result, state.updates, residual)


class CEM(AbstractSampler):
    """The cross-entropy method: move mean and standard deviations of the inputs to those of the best samples.

    Choose it where derivatives do not exist, mislead, or end in a poor local minimum; on smooth problems `ILQR` is
    faster by orders of magnitude, and can start from what this finds. It takes `max_steps` updates (50 unless given) of
    `samples` runs each, all runs of an update at once. A success says that the plan is finite and within its bounds,
    and no worse than `u0`; how near it is to a local minimum, `stats.residual` says.

    Args:
        samples: runs per update.
        elites: number of best samples that are fitted, at least 2.
        spread: standard deviations of the first samples: one number or one for each entry of an input, in its unit;
            default a quarter of the range of each input.
        least: smallest standard deviation, likewise: keeps the search alive, and bounds its accuracy.
        momentum: share of the old mean and standard deviation that is kept, in [0, 1).
        smoothing: correlation of the samples of neighbouring steps, in [0, 1).

    Gradient: none, see `plan`.

    Source: Rubinstein & Kroese (2004), The Cross-Entropy Method, section 5; Kobilarov (2012), Cross-entropy motion
    planning, DOI 10.1177/0278364912444543, with diagonal covariances. Deviations: mean and best sample compete in each
    update (Pinneri et al. 2020, Sample-efficient cross-entropy method for real-time planning, section 3).

    Examples:
        ```python
        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: 0.9 * x + u,
            stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
            initial=lambda p: p,
            horizon=5,
            u_lower=-0.5,
            u_upper=0.5,
        )
        planner = sciml.policies.CEM(samples=100, elites=10)
        plan = sciml.policies.plan(problem, planner, jnp.zeros((5, 1)), jnp.ones(1), key=jax.random.key(0))
        assert jnp.all(jnp.abs(plan.value.u) <= 0.5) and plan.value.u[0, 0] < -0.49
        ```
    """

    samples: int = eqx.field(static=True, default=256)
    elites: int = eqx.field(static=True, default=32)
    spread: ArrayLike | None = None
    least: ArrayLike = 0.0
    momentum: ScalarLike = 0.1
    smoothing: ScalarLike = 0.0

    def __check_init__(self) -> None:
        if not 2 <= self.elites < self.samples:
            got = f"{self.elites} elites of {self.samples} samples"
            raise invalid("elites", got, "2 <= elites < samples", "take about a tenth of the samples")

    def moved(self, state: SamplingState, us: Array, costs: Array) -> tuple[Inputs, Inputs]:
        """Those of the elites, partly."""
        values, order = jax.lax.top_k(-costs, self.elites)
        # Elites whose run is not finite have no weight.
        weight = (values > -jnp.inf).astype(us.dtype)
        weight = (weight / jnp.maximum(jnp.sum(weight), 1.0))[:, None, None]
        elites = us[order]
        mean = jnp.sum(weight * elites, axis=0)
        spread = jnp.sqrt(jnp.sum(weight * (elites - mean) ** 2, axis=0))
        keep = jnp.asarray(self.momentum, us.dtype)
        mix = lambda old, new: keep * old + (1 - keep) * new
        return mix(state.mean, mean), jnp.maximum(mix(state.spread, spread), jnp.asarray(self.least, us.dtype))


class MPPI(AbstractSampler):
    """Model predictive path integral control: the mean of the samples, weighted by `exp(-cost / temperature)`.

    Choose it where `CEM` would serve and every sample should count, as in closed loop with one update per step
    (`max_steps=1`). What a success says is as in `CEM`.

    Args:
        samples: runs per update.
        temperature: of the weights, as a part of the standard deviation of the costs of the finite samples, > 0.
            Smaller: nearer to the best sample alone.
        spread: standard deviations of the samples: one number or one for each entry of an input, in its unit; default
            a quarter of the range of each input.
        cooling: factor on the standard deviations after each update, in (0, 1]; 1 keeps exploring.
        smoothing: correlation of the samples of neighbouring steps, in [0, 1): smoother inputs.

    Gradient: none, see `plan`.

    Source: Williams et al. (2017), Information theoretic MPC for model-based reinforcement learning, algorithm 2, DOI
    10.1109/ICRA.2017.7989202. Deviations: samples are about the present plan, whose control cost is that of the problem
    (in the source, `γ = 0`); the temperature follows the scale of the costs; noise is smoothed instead of inputs, so
    that these stay within their bounds; the standard deviations may shrink.

    Examples:
        ```python
        problem = sciml.programs.OptimalControl(
            dynamics=lambda x, u, w, p: 0.9 * x + u,
            stage=lambda x, u, w, p: x @ x + 0.1 * u @ u,
            initial=lambda p: p,
            horizon=5,
            u_lower=-0.5,
            u_upper=0.5,
        )
        planner = sciml.policies.MPPI(samples=100)
        plan = sciml.policies.plan(problem, planner, jnp.zeros((5, 1)), jnp.ones(1), key=jax.random.key(0))
        assert jnp.all(jnp.abs(plan.value.u) <= 0.5) and plan.value.u[0, 0] < -0.4
        ```
    """

    samples: int = eqx.field(static=True, default=256)
    temperature: ScalarLike = 0.1
    spread: ArrayLike | None = None
    cooling: ScalarLike = 0.95
    smoothing: ScalarLike = 0.0

    def __check_init__(self) -> None:
        if self.samples < 2:
            raise invalid("samples", self.samples, "at least 2", "take some hundreds")

    def moved(self, state: SamplingState, us: Array, costs: Array) -> tuple[Inputs, Inputs]:
        """The weighted mean."""
        is_fine = costs < jnp.inf
        count = jnp.maximum(jnp.sum(is_fine), 1).astype(us.dtype)
        guarded = jnp.where(is_fine, costs, 0.0)
        mean = jnp.sum(guarded) / count
        deviation = jnp.sqrt(jnp.sum(jnp.where(is_fine, (guarded - mean) ** 2, 0.0)) / count)
        above = jnp.where(is_fine, costs - jnp.min(costs), jnp.inf)
        scale = jnp.asarray(self.temperature, us.dtype) * deviation
        weight = jnp.exp(-above / jnp.where(scale > 0, scale, 1.0))
        weight = jnp.where(is_fine, weight, 0.0)
        weight = weight / jnp.maximum(jnp.sum(weight), jnp.finfo(us.dtype).tiny)
        return jnp.tensordot(weight, us, 1), jnp.asarray(self.cooling, us.dtype) * state.spread


def smooth_noise(key: PRNGKeyArray, samples: Any, like: Inputs, smoothing: Any) -> Array:
    """Standard normal noise `(samples, N, u)` for inputs `like`, steps `i` and `j` correlated by `smoothing**|i - j|`.

    ε_0 = ξ_0,   ε_k = β ε_{k-1} + √(1 - β²) ξ_k
    """
    dtype = like.dtype
    white = jr.normal(key, (samples, *like.shape), dtype)
    if isinstance(smoothing, (int, float)) and smoothing == 0:
        return white
    steps = jnp.arange(like.shape[0])
    beta = jnp.asarray(smoothing, dtype)
    apart = jnp.maximum(steps[:, None] - steps[None, :], 0).astype(dtype)
    scale = jnp.where(steps == 0, 1.0, jnp.sqrt(1 - beta**2)).astype(dtype)
    filter_ = jnp.tril(beta**apart) * scale
    return jnp.einsum("ij,sju->siu", filter_, white)
