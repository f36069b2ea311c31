"""Tests of residuals: are they white, and are they independent of the input?"""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ..core import as_floats, invalid, one_at_a_time


class CorrelationTest(eqx.Module):
    """Correlations at several lags, and one test of whether all of them are zero.

    The leading axes are those of the channels: the outputs, and for a cross-correlation the inputs after them.
    """

    correlation: Float[Array, "*channel lag"]
    """Estimated correlations, between about -1 and 1; 0 at a lag without a pair of measured samples."""
    band: Float[Array, "*channel lag"]
    """Half-width of the confidence band around zero, for each lag by itself."""
    lag: Int[Array, " lag"]
    """The lags, in samples."""
    statistic: Float[Array, "*channel"]
    """The portmanteau statistic, chi-squared with `dof` degrees of freedom where the correlations are zero."""
    dof: Float[Array, "*channel"]
    """Degrees of freedom; 0 where there is nothing to test, such as for a constant input."""
    p_value: Float[Array, "*channel"]
    """Probability of a statistic at least as large if the correlations are zero; 1 where `dof` is 0."""


def whiteness(
    residual: Float[Array, "time *channel"] | Float[np.ndarray, "time *channel"],
    *,
    lags: int = 20,
    fitted: int = 0,
    is_measured: Bool[Array, "time *channel"] | Bool[np.ndarray, "time *channel"] | None = None,
    confidence: float = 0.99,
) -> CorrelationTest:
    """The autocorrelations `r_τ` of residuals and the Ljung-Box test `Q = n (n + 2) Σ_τ r_τ² / n_τ` of whiteness.

    A model that has found all of the dynamics leaves one-step residuals (innovations) that are white. Residuals of a
    free run are correlated wherever noise acts on the state or is coloured; for them use `input_correlation`. The mean
    is not subtracted: an offset shows as correlation at all lags.

    With `n` measured samples and `n_τ` pairs of samples measured `τ` apart, `r_τ = Σ e_k e_{k+τ} / Σ e_k²` has the
    variance `n_τ / (n (n + 2))` if `e` is white, for complete data `(n - τ) / (n (n + 2))`.

    Args:
        residual: `e`, shape `(time,)` or `(time, channel)`, evenly sampled.
        lags: the number of lags, `1 ... lags`, with `1 <= lags < time`; about `ln(time)` for most power, 20 to 25 as a
            rule.
        fitted: parameters of a noise model that were fitted to the same data, `0 <= fitted < lags`; subtracted from
            the degrees of freedom.
        is_measured: False for missing samples and padding, the shape of `residual`; all measured by default. What
            stands in `residual` there is not used.
        confidence: level of the band of each lag, in (0, 1).

    Raises:
        ValueError: for shapes or numbers out of range, and, outside `jit`, residuals that are not finite.

    Gradient: in both modes.

    Source: Ljung & Box (1978), On a measure of lack of fit in time series models, Biometrika 65(2),
    doi:10.1093/biomet/65.2.297; missing samples as in Stoffer & Toloi (1992), A note on the Ljung-Box-Pierce
    portmanteau statistic with missing data, Statistics & Probability Letters 13(5), doi:10.1016/0167-7152(92)90112-I.

    Examples:
        ```python
        noise = jax.random.normal(jax.random.key(0), (500,))
        assert sciml.metrics.whiteness(noise).p_value > 0.01
        assert sciml.metrics.whiteness(jnp.cumsum(noise)).p_value < 1e-6
        ```
    """
    e, mask = _residuals(residual, is_measured)
    _check_lags(lags, e.shape[0])
    if not 0 <= fitted < lags:
        fix = "count the parameters of the noise model only, and use more lags than those"
        raise invalid("fitted", fitted, f"0 <= fitted < lags = {lags}", fix)
    return _per_channel(lambda e, m: _whiteness(e, m, lags, fitted, _quantile(confidence, e.dtype)), e, mask)


def input_correlation(
    residual: Float[Array, "time *channel"] | Float[np.ndarray, "time *channel"],
    u: Float[Array, "times *input"] | Float[np.ndarray, "times *input"],
    *,
    lags: int = 20,
    is_measured: Bool[Array, "time *channel"] | Bool[np.ndarray, "time *channel"] | None = None,
    confidence: float = 0.99,
) -> CorrelationTest:
    """The correlations of `e_k` with past inputs `u_{k-τ}`, and a chi-squared test of whether all are zero.

    Dynamics from the input that the model has missed leave such correlations, also in a free run and also where the
    noise is coloured: the test allows for coloured inputs and residuals, at
    the price of a level that is somewhat below the nominal one. With `c_τ = Σ_k e_k u_{k-τ}` and its
    covariance `P` below, the statistic is `cᵀ P⁺ c`, with the rank of `P` as degrees of freedom:

        P_{τσ} = Σ_k w_k R_e(k) R_u(k + τ - σ),   R_e(k) = Σ_j e_j e_{j+k},   R_u(k) = Σ_j u_j u_{j+k} / n

    with the triangular window `w` over `4 lags` samples to each side, which keeps `P` positive semidefinite. The mean
    of each input is subtracted. The data must come from an open loop; in feedback the input follows the noise.

    Args:
        residual: `e`, shape `(time,)` or `(time, channel)`, evenly sampled.
        u: inputs at the same times, finite, shape `(time,)` or `(time, input)`.
        lags: the largest lag; the lags are `0 ... lags`, with `1 <= lags < time`.
        is_measured: as in `whiteness`.
        confidence: level of the band of each lag, in (0, 1).

    Returns:
        Correlations `(channel, input, lag)`, without the axes that `residual` and `u` do not have.

    Raises:
        ValueError: as `whiteness`, and for inputs of another length.

    Gradient: of `correlation` in both modes; of the rest almost everywhere (the rank of `P` is piecewise constant).

    Source: Ljung (1999), System Identification, 2nd edition, section 16.6; Box, Jenkins, Reinsel & Ljung (2015), Time
    Series Analysis, chapter 12, for the variance of a cross-correlation (Bartlett's formula).

    Examples:
        ```python
        noise, u = jax.random.normal(jax.random.key(0), (2, 500))
        assert sciml.metrics.input_correlation(noise, u).p_value > 0.01
        missed = noise + 0.5 * jnp.roll(u, 3)
        assert sciml.metrics.input_correlation(missed, u).p_value < 1e-6
        ```
    """
    e, mask = _residuals(residual, is_measured)
    _check_lags(lags, e.shape[0])
    inputs = as_floats(u, "u").astype(e.dtype)
    if inputs.shape[0] != e.shape[0]:
        fix = "give one input per residual"
        raise invalid("u", f"{inputs.shape[0]} samples", f"{e.shape[0]}, as many as residuals", fix)
    every = jnp.ones(inputs.shape, bool)
    _check_finite(inputs, every, "u")
    z = _quantile(confidence, e.dtype)
    per_input = lambda e, m: _per_channel(lambda v, _: _cross(e, m, v, lags, z), inputs, every)
    return _per_channel(per_input, e, mask)


@partial(jax.jit, static_argnums=(2, 3))
def _whiteness(e: Array, mask: Array, lags: int, fitted: int, z: Array) -> CorrelationTest:
    lag = jnp.arange(1, lags + 1)
    weight = mask.astype(e.dtype)
    n = jnp.sum(weight)
    pairs = _lagged_products(weight, weight, lags)[1:]
    power = jnp.sum(e * e)
    r = _lagged_products(e, e, lags)[1:] / jnp.where(power > 0, power, 1.0)
    variance = pairs / (n * (n + 2.0))
    is_seen = (pairs > 0.5) & (power > 0)
    statistic = jnp.sum(jnp.where(is_seen, r**2 / jnp.where(is_seen, variance, 1.0), 0.0))
    dof = jnp.maximum(jnp.sum(is_seen).astype(e.dtype) - fitted, 0.0)
    return CorrelationTest(r, z * jnp.sqrt(variance), lag, statistic, dof, _tail(statistic, dof))


@partial(jax.jit, static_argnums=3)
def _cross(e: Array, mask: Array, u: Array, lags: int, z: Array) -> CorrelationTest:
    lag = jnp.arange(lags + 1)
    weight = mask.astype(e.dtype)
    u = u - jnp.mean(u)
    # c_τ = Σ_k e_k u_{k-τ} = Σ_j u_j e_{j+τ}
    c = _lagged_products(u, e, lags)
    reach = min(4 * lags, e.shape[0] - 1)
    of_e, of_u = _lagged_products(e, e, reach), _lagged_products(u, u, reach + lags) / u.shape[0]
    k = jnp.arange(-reach, reach + 1)
    taper = 1.0 - jnp.abs(k).astype(e.dtype) / (reach + 1.0)
    shifts = jnp.abs(k[:, None, None] + lag[:, None] - lag)
    covariance = jnp.einsum("k,kij->ij", taper * of_e[jnp.abs(k)], of_u[shifts])
    scale = jnp.sqrt(jnp.sum(e * e) * jnp.sum(u * u) * jnp.sum(weight) / weight.size)
    safe = jnp.where(scale > 0, scale, 1.0)
    variance = jnp.maximum(jnp.diagonal(covariance), 0.0)
    whole = jnp.sqrt(jnp.where(variance > 0, variance, 1.0))
    deviation = jnp.where(variance > 0, whole, 0.0)
    values, vectors = one_at_a_time(jnp.linalg.eigh)(covariance / whole[:, None] / whole)
    # Directions in which the input hardly excites: the triangular window leaves noise of about n eps in them.
    is_excited = values > 1e-6 * jnp.maximum(values[-1], 0.0)
    projected = vectors.T @ (c / whole)
    statistic = jnp.sum(jnp.where(is_excited, projected**2 / jnp.where(is_excited, values, 1.0), 0.0))
    dof = jnp.sum(is_excited & (scale > 0)).astype(e.dtype)
    return CorrelationTest(c / safe, z * deviation / safe, lag, statistic, dof, _tail(statistic, dof))


def _tail(statistic: Array, dof: Array) -> Array:
    """`P(X >= statistic)` for chi-squared with `dof` degrees of freedom; 1 for none."""
    half = 0.5 * jnp.where(dof > 0, dof, 1.0)
    return jnp.where(dof > 0, jax.scipy.special.gammaincc(half, 0.5 * statistic), jnp.ones_like(statistic))


def _lagged_products(a: Array, b: Array, lags: int) -> Float[Array, " lag"]:
    """`Σ_k a_k b_{k+τ}` for `τ = 0 ... lags`, zero beyond the end."""
    padded = jnp.concatenate([b, jnp.zeros(lags, b.dtype)])
    return jax.lax.map(lambda tau: a @ jax.lax.dynamic_slice_in_dim(padded, tau, a.shape[0]), jnp.arange(lags + 1))


def _per_channel(test: Callable[[Array, Array], CorrelationTest], signal: Array, mask: Array) -> CorrelationTest:
    """`test(signal, mask)` of a single channel, or of each column; the lags stay as they are."""
    if signal.ndim == 1:
        return test(signal, mask)
    each = jax.vmap(test, in_axes=1)(signal, mask)
    return eqx.tree_at(lambda t: t.lag, each, each.lag[0])


def _quantile(confidence: float, dtype: np.dtype) -> Float[Array, ""]:
    """`z` with `P(|X| <= z) = confidence` for a standard normal `X`."""
    if not 0.0 < confidence < 1.0:
        raise invalid("confidence", confidence, "a number in (0, 1)", "write 99 % as 0.99")
    return jax.scipy.special.ndtri(jnp.asarray(0.5 + 0.5 * confidence, dtype))


def _residuals(residual: ArrayLike, is_measured: object) -> tuple[Array, Array]:
    """The residuals with zero where nothing was measured, and the mask."""
    e = as_floats(residual, "residual")
    if e.ndim not in (1, 2):
        raise invalid("residual", f"shape {e.shape}", "(time,) or (time, channel)", "`vmap` over records")
    mask = jnp.ones(e.shape, bool) if is_measured is None else jnp.asarray(is_measured)
    if mask.shape != e.shape:
        fix = "give one boolean per residual"
        raise invalid("is_measured", f"shape {mask.shape}", f"the shape of `residual`, {e.shape}", fix)
    _check_finite(e, mask, "residual")
    return jnp.where(mask, e, 0.0), mask


def _check_finite(values: Array, mask: Array, argument: str) -> None:
    is_sound = jnp.all(jnp.isfinite(values) | ~mask)
    if not isinstance(is_sound, Tracer) and not bool(is_sound):
        got = "entries that are NaN or infinite"
        raise invalid(argument, got, "finite numbers", "mark missing samples in `is_measured`; cut a run that diverged")


def _check_lags(lags: int, time: int) -> None:
    if not 1 <= lags < time:
        raise invalid("lags", lags, f"1 <= lags < {time}, the number of samples", "test fewer lags, or use more data")
