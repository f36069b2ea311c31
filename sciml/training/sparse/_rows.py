"""Linear equations in the coefficients, `A Ξ = b`, from records: by derivatives or in weak form."""

from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sciml.core import invalid

from ._chain import Chain
from ._smooth import smooth


class Equations(eqx.Module):
    """`A Ξ = b`, one row for each sample or window."""

    A: Float[Array, "row term"]
    b: Float[Array, "row x"]
    noise: Float[Array, " x"]
    """Estimated noise of the outputs."""


class AbstractEquations(eqx.Module):
    """How records become linear equations in the coefficients."""

    @abstractmethod
    def equations(self, library: Any, chain: Chain) -> Equations:
        """The equations of all records."""


def terms_along(library: Any, x: Array, chain: Chain) -> Array:
    """`θ(x[k], u[k])` for every sample."""
    return jax.vmap(library, in_axes=(0, None if chain.u is None else 0))(x, chain.u)


class Derivatives(AbstractEquations):
    """`dx/dt = Ξᵀ θ(x, u)` at every sample, with states and derivatives from a smoother that needs no tuning.

    The smoother maximises the likelihood of a twice integrated Wiener process in white noise; see `WeakForm` for
    noisier data.
    """

    def equations(self, library: Any, chain: Chain) -> Equations:
        """One row per sample of a record."""
        smoothed = smooth(chain)
        one = jnp.ones(1, bool)
        is_sample = jnp.concatenate([chain.is_linked, ~one]) | jnp.concatenate([~one, chain.is_linked])
        # Padding becomes rows of zeros.
        keep = lambda rows: jnp.where(is_sample[:, None], rows, 0)
        return Equations(keep(terms_along(library, smoothed.x, chain)), keep(smoothed.rate), smoothed.noise)


class WeakForm(AbstractEquations):
    """`∫ φ θ(x, u) dt Ξ = -∫ φ' x dt` over windows: no derivatives of data. `φ(s) = (1 - s²)^order` on `-1 <= s <= 1`.

    Choose it over `Derivatives` for noisy records. Integrals are trapezoidal sums, which converge fast because φ
    vanishes at the ends of the window with its first `order - 1` derivatives.

    Args:
        width: samples in a window, >= 4; about the shortest time in which the states change by their own size.
        stride: samples from one window to the next, >= 1.
        order: > 1. Higher orders weigh the middle of the window.
        is_smoothed: whether to integrate smoothed states instead of the outputs: less biased by noise where the library
            is nonlinear, and needed where samples are missing.

    Raises:
        ValueError: `width`, `stride` or `order` out of range, or `width` above the length of every record.

    Source: Messenger and Bortz (2021), Weak SINDy: Galerkin-based data-driven model selection, Multiscale Model. Simul.
    19(3), doi:10.1137/20M1343166; Reinbold, Gurevich and Grigoriev (2020), Phys. Rev. E 101,
    010203.
    """

    width: int = 40
    stride: int = 2
    order: int = 6
    is_smoothed: bool = True

    def __check_init__(self):
        """Checks the window."""
        if self.width < 4 or self.stride < 1 or self.order < 2:
            got = f"width = {self.width}, stride = {self.stride}, order = {self.order}"
            raise invalid("width, stride, order", got, "width >= 4, stride >= 1, order >= 2", "use the defaults")

    def equations(self, library: Any, chain: Chain) -> Equations:
        """One row per window inside a record."""
        linked = np.concatenate([[0], np.cumsum(np.asarray(chain.is_linked))])
        starts = np.arange(0, linked.size - self.width, self.stride)
        starts = starts[linked[starts + self.width] - linked[starts] == self.width]
        if starts.size == 0:
            raise invalid("width", self.width, "less than the samples of some record", "shorten the windows")
        smoothed = smooth(chain)
        x = smoothed.x if self.is_smoothed else chain.y
        window = jnp.asarray(starts[:, None] + np.arange(self.width + 1))
        return Equations(*_weak(terms_along(library, x, chain), x, chain.t, window, self.order), smoothed.noise)


def _weak(terms: Array, x: Array, t: Array, window: Array, order: int) -> tuple[Array, Array]:
    times = t[window]
    half = (times[:, -1:] - times[:, :1]) / 2
    s = (times - times[:, :1]) / half - 1
    bump = (1 - s**2) ** order
    slope = -2 * order * s * (1 - s**2) ** (order - 1) / half
    gaps = jnp.diff(times, axis=1) / 2
    weight = jnp.pad(gaps, ((0, 0), (0, 1))) + jnp.pad(gaps, ((0, 0), (1, 0)))
    # Per unit of ∫φ, so that rows of windows of unequal length count the same.
    weight = weight / jnp.sum(weight * bump, axis=1, keepdims=True)
    integrate = lambda kernel, values: jnp.einsum("wk,wki->wi", weight * kernel, values[window])
    return integrate(bump, terms), -integrate(slope, x)
