"""Moving-horizon estimation: the most probable states over a window, by nonlinear least squares."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from sciml.core import cholesky, invalid, solve_triangular, tree_where
from sciml.systems import AbstractDiscreteSystem

from ._gaussian import corrected, Gaussian, masked, symmetric, value_and_slope
from ._observers import AbstractObserver, check_discrete, example_input, noises


class Window(eqx.Module):
    """The memory of a moving-horizon estimator: the last samples, and what is known from before them."""

    t: Float[Array, ""]
    """Time of the first sample of the window."""
    arrival: Gaussian
    """The state at that time, given everything measured before it."""
    y: Float[Array, "window y"]
    u: Float[Array, "window u"] | None
    is_measured: Bool[Array, "window y"]
    last: Int[Array, ""]
    """Index of the present sample: the window fills up first, then it moves."""
    states: Float[Array, "window x"]
    """The estimated states, up to `last`."""
    noise: Float[Array, "steps x"]
    """The estimated process noise, in standard deviations."""
    failed: Int[Array, ""]
    """How often the least-squares problem was not solved to the tolerance; its best point is used all the same."""


class MovingHorizon(AbstractObserver):
    """The states over the last `horizon` steps that are most probable given the measurements in them.

        minimise over x_0, w_j:  ‖x_0 - x̄‖²_{P⁻¹} + Σ_j ‖w_j‖²_{W⁻¹} + Σ_j ‖y_j - h(x_j)‖²_{V⁻¹}
        subject to x_{j+1} = f(x_j, u_j) + w_j

    solved by Levenberg-Marquardt, warm-started by the noise of the window before. The arrival cost, `x̄` and `P`, comes
    from the extended Kalman filter: when the oldest sample leaves the window, it is updated with that measurement and
    propagated, both linearised at the state that the whole window has found for that time. Choose it over
    `ExtendedKalmanFilter` for strong nonlinearity and bad starts: it linearises again at each iteration, at the price
    of some tens of simulations of the window per sample. On a linear system both are the Kalman filter, for any
    horizon, and the states of a window that holds all samples are those of `smooth_states`.

    Source: Rao, Rawlings & Mayne (2003), Constrained state estimation for nonlinear discrete-time systems: stability
    and moving horizon approximations, doi:10.1109/TAC.2002.808470, here without constraints on states and noise; the
    linearisation at the window's own estimate as in Kühl, Diehl, Kraus, Schlöder & Bock (2011), A real-time algorithm
    for moving horizon state and parameter estimation, doi:10.1016/j.compchemeng.2010.07.012.

    Examples:
        ```python
        plant = sciml.systems.discretise(sciml.systems.zoo.VanDerPol(), sciml.systems.RK4(), dt=0.1)
        start = sciml.simulation.Gaussian(jnp.array([0.0, 0.0]), 1.0)
        observer = sciml.simulation.MovingHorizon(plant, process=1e-4, measurement=1e-2, start=start, horizon=5)
        window = observer.correct(observer.init(), jnp.array([1.0, 0.5]), jnp.zeros(1), jnp.array([True, True]))
        assert jnp.allclose(observer.estimate(window), jnp.array([1.0, 0.5]), atol=0.02)
        ```
    """

    system: AbstractDiscreteSystem
    process: Float[Array, "x x"]
    measurement: Float[Array, "y y"]
    start: Gaussian
    horizon: int = eqx.field(static=True)
    max_steps: int = eqx.field(static=True)
    tol: float = eqx.field(static=True)
    inputs: int | None = eqx.field(static=True)

    def __init__(
        self,
        system: AbstractDiscreteSystem,
        process: ArrayLike,
        measurement: ArrayLike,
        start: Gaussian,
        *,
        horizon: int,
        max_steps: int = 50,
        tol: float | None = None,
        inputs: int | None = None,
    ):
        """The model and its noises, and the length of the window.

        Args:
            system: any discrete system whose state and output are vectors.
            process: as in `KalmanFilter`; positive semidefinite.
            measurement: as in `KalmanFilter`.
            start: as in `KalmanFilter`.
            horizon: steps of the window, >= 1; it holds `horizon + 1` measurements. About as long as the slowest mode
                that the outputs take to tell.
            max_steps: most iterations per sample, >= 1.
            tol: relative and absolute tolerance of the least-squares problem, > 0; the square root of the dtype's
                precision by default.
            inputs: number of inputs, for a system with inputs whose `input_shape` is None.

        Raises:
            TypeError: a system that is not in discrete time.
            ValueError: shapes that do not fit, covariances that are none, `horizon` or `max_steps` below 1, `tol <= 0`.
        """
        check_discrete(system)
        for name, value in (("horizon", horizon), ("max_steps", max_steps)):
            if value < 1:
                raise invalid(name, value, "an integer >= 1", "give the number of steps")
        if tol is not None and not tol > 0:
            raise invalid("tol", tol, "a number > 0", "leave it out")
        self.system, self.start, self.horizon, self.max_steps = system, start, horizon, max_steps
        self.tol = float(jnp.finfo(start.mean.dtype).eps) ** 0.5 if tol is None else tol
        self.process, self.measurement = noises(system, process, measurement, start, inputs)
        self.inputs = inputs

    def init(self) -> Window:
        """A window with the start alone, at time 0."""
        x, dtype, outputs = self.start.mean, self.start.mean.dtype, self.measurement.shape[0]
        u = example_input(self.system, self.inputs, dtype)
        return Window(
            t=jnp.zeros((), dtype),
            arrival=self.start,
            y=jnp.zeros((self.horizon + 1, outputs), dtype),
            u=None if u is None else jnp.zeros((self.horizon + 1, *u.shape), dtype),
            is_measured=jnp.zeros((self.horizon + 1, outputs), bool),
            last=jnp.asarray(0),
            states=jnp.broadcast_to(x, (self.horizon + 1, x.size)),
            noise=jnp.zeros((self.horizon, x.size), dtype),
            failed=jnp.asarray(0),
        )

    def correct(self, memory: Window, y: Float[Array, " y"], u: Any, is_measured: Bool[Array, " y"]) -> Window:
        """The window with the present measurement, and its states estimated anew."""
        at = memory.last
        us = memory.u if u is None or memory.u is None else memory.u.at[at].set(u)
        window = eqx.tree_at(
            lambda w: (w.y, w.is_measured, w.u),
            memory,
            (memory.y.at[at].set(y), memory.is_measured.at[at].set(is_measured), us),
            is_leaf=lambda leaf: leaf is None,
        )
        states, noise, is_solved = self._solve(window)
        failed = memory.failed + (~is_solved).astype(memory.failed.dtype)
        return eqx.tree_at(lambda w: (w.states, w.noise, w.failed), window, (states, noise, failed))

    def predict(self, memory: Window, u: Any) -> Window:
        """The window with one more sample, not yet measured; if it is full, the oldest one moves into the arrival."""
        us = memory.u if u is None or memory.u is None else memory.u.at[memory.last].set(u)
        given = eqx.tree_at(lambda w: w.u, memory, us, is_leaf=lambda leaf: leaf is None)
        is_full = memory.last == self.horizon
        moved = tree_where(is_full, self._moved(given), given)
        last = jnp.minimum(memory.last + 1, self.horizon)
        # Inputs stay where they are until the window moves, so the last input is that of the sample before.
        before = None if moved.u is None else moved.u[last - 1]
        t = moved.t + (last - 1).astype(moved.t.dtype) * self.system.dt.astype(moved.t.dtype)
        ahead = self.system.step(t, moved.states[last - 1], before)
        return eqx.tree_at(lambda w: (w.last, w.states), moved, (last, moved.states.at[last].set(ahead)))

    def estimate(self, memory: Window) -> Float[Array, " x"]:
        """The state at the end of the window."""
        return memory.states[memory.last]

    def _moved(self, window: Window) -> Window:
        """Without the oldest sample, which the arrival takes up; the last place is free."""
        x, u = window.states[0], None if window.u is None else window.u[0]
        expected, H = value_and_slope(lambda x: self.system.output(window.t, x, u), x)
        # h(x̄) of the model linearised at x
        innovation = window.y[0] - expected - H @ (window.arrival.mean - x)
        post = corrected(window.arrival, innovation, H, self.measurement, window.is_measured[0]).posterior
        ahead, F = value_and_slope(lambda x: self.system.step(window.t, x, u), x)
        arrival = Gaussian(ahead + F @ (post.mean - x), symmetric(F @ post.cov @ F.T + self.process))
        shift = lambda leaf: jnp.concatenate([leaf[1:], jnp.zeros_like(leaf[:1])])
        return Window(
            t=window.t + self.system.dt.astype(window.t.dtype),
            arrival=arrival,
            y=shift(window.y),
            u=None if window.u is None else shift(window.u),
            is_measured=shift(window.is_measured),
            last=window.last,
            states=shift(window.states),
            noise=shift(window.noise),
            failed=window.failed,
        )

    def _solve(self, window: Window) -> tuple[Array, Array, Array]:
        """States, noise, and whether the tolerance was met."""
        start, spread = window.arrival.mean, _root(window.arrival.cov)
        kick, eye = _root(self.process), jnp.eye(self.measurement.shape[0], dtype=start.dtype)
        roots = jax.vmap(lambda m: cholesky(masked(self.measurement, m, eye)))(window.is_measured)

        # Optimistix damps in the default dtype, whatever that of the problem is.
        wide = jnp.zeros(()).dtype

        def states(unknown: tuple[Array, Array]) -> Array:
            first, noise = (part.astype(start.dtype) for part in unknown)
            return self._simulate(window, start + spread @ first, noise @ kick.T)

        def residuals(unknown: tuple[Array, Array], _: None) -> tuple[Array, Array, Array]:
            x = states(unknown)
            index = jnp.arange(self.horizon + 1)
            t = window.t + index.astype(window.t.dtype) * self.system.dt.astype(window.t.dtype)
            error = jnp.where(window.is_measured, window.y - jax.vmap(self.system.output)(t, x, window.u), 0.0)
            return *unknown, solve_triangular(roots, error[..., None])[..., 0].astype(wide)

        guess = jnp.zeros_like(start, dtype=wide), window.noise.astype(wide)
        method = optx.LevenbergMarquardt(rtol=self.tol, atol=self.tol)
        solution = optx.least_squares(residuals, method, guess, max_steps=self.max_steps, throw=False)
        is_solved = solution.result == optx.RESULTS.successful
        return states(solution.value), solution.value[1].astype(start.dtype), is_solved

    def _simulate(self, window: Window, x0: Array, noise: Float[Array, "steps x"]) -> Float[Array, "window x"]:
        """The states of the window, which stand still after the present."""

        def body(carry: tuple[Array, Array], inputs: tuple[Any, Array, Array]) -> tuple[tuple[Array, Array], Array]:
            t, x = carry
            u, w, is_past = inputs
            x = jnp.where(is_past, self.system.step(t, x, u) + w, x)
            return (t + self.system.dt.astype(t.dtype), x), x

        is_past = jnp.arange(self.horizon) < window.last
        us = None if window.u is None else window.u[:-1]
        _, xs = jax.lax.scan(body, (window.t, x0), (us, noise, is_past))
        return jnp.concatenate([x0[None], xs])


def _root(cov: Float[Array, "x x"]) -> Float[Array, "x x"]:
    """`L` with `L Lᵀ = cov`, regularised by rounding so that it exists for singular covariances too."""
    limits = jnp.finfo(cov.dtype)
    slack = 10 * cov.shape[0] * float(limits.eps) * jnp.max(jnp.diagonal(cov)) + float(limits.tiny)
    return cholesky(cov + slack * jnp.eye(cov.shape[0], dtype=cov.dtype))
