"""Input signals in continuous time from samples; a plain function `u(t)` is an input too."""

from abc import abstractmethod
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ._times import samples, time_grid


class AbstractInput(eqx.Module):
    """An input signal `u(t)` that declares its discontinuities."""

    @abstractmethod
    def __call__(self, t: Any) -> Any:
        """The input at time `t`."""

    @abstractmethod
    def jumps(self) -> Float[Array, " jumps"] | None:
        """Increasing times at which the signal is discontinuous (adaptive integration steps to them), or None."""


class ZeroOrderHold(AbstractInput):
    """A zero-order hold: `u(t) = us[k]` for `ts[k] <= t < ts[k+1]`, as from a digital-to-analogue converter.

    Before `ts[0]` it holds the first sample, and from `ts[-1]` on the last one.
    """

    ts: Float[Array, " time"]
    us: Any

    def __init__(self, ts: ArrayLike, us: Any):
        """Samples `us` (a record of arrays, leading axis time) at strictly increasing times `ts`.

        Raises:
            ValueError: `ts` is not one-dimensional and increasing, or `us` has another length.
        """
        self.ts = time_grid(ts)
        self.us = samples(self.ts, us)

    def __call__(self, t: Any) -> Any:
        """The last sample at or before time `t`."""
        k = jnp.searchsorted(self.ts, jnp.asarray(t, self.ts.dtype), side="right") - 1
        k = jnp.clip(k, 0, self.ts.shape[0] - 1)
        return jax.tree.map(lambda a: a[k], self.us)

    def jumps(self) -> Float[Array, " jumps"]:
        """All sample times but the first."""
        return self.ts[1:]


class Linear(AbstractInput):
    """Linear interpolation between samples; beyond the ends, the first and last piece are extrapolated."""

    ts: Float[Array, " time"]
    us: Any

    def __init__(self, ts: ArrayLike, us: Any):
        """Samples `us` (a record of arrays, leading axis time) at strictly increasing times `ts`.

        Raises:
            ValueError: `ts` is not one-dimensional and increasing, or `us` has another length.
        """
        self.ts = time_grid(ts)
        self.us = samples(self.ts, us)

    def __call__(self, t: Any) -> Any:
        """The interpolated input at time `t`."""
        return diffrax.LinearInterpolation(self.ts, self.us).evaluate(jnp.asarray(t, self.ts.dtype))

    def jumps(self) -> None:
        """None, because the signal is continuous."""
        return None


class Cubic(AbstractInput):
    """Cubic Hermite interpolation with backward differences as slopes: continuously differentiable and causal.

    On each piece, `u(t)` depends only on samples up to its end, so that it works online with a delay of one sample.

    Source: Morrill et al. (2022), On the choice of interpolation scheme for neural CDEs, TMLR, section 3.4;
    `diffrax.backward_hermite_coefficients`.
    """

    ts: Float[Array, " time"]
    us: Any
    coefficients: Any

    def __init__(self, ts: ArrayLike, us: Any):
        """Samples `us` (a record of arrays, leading axis time) at strictly increasing times `ts`.

        Raises:
            ValueError: `ts` is not one-dimensional and increasing, or `us` has another length.
        """
        self.ts = time_grid(ts)
        self.us = samples(self.ts, us)
        self.coefficients = diffrax.backward_hermite_coefficients(self.ts, self.us)

    def __call__(self, t: Any) -> Any:
        """The interpolated input at time `t`."""
        return diffrax.CubicInterpolation(self.ts, self.coefficients).evaluate(jnp.asarray(t, self.ts.dtype))

    def jumps(self) -> None:
        """None, because the signal is continuous."""
        return None
