"""Libraries of candidate terms, for sparse identification and for liftings of Koopman models."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sciml.core import invalid

from .._parameters import parameter


class AbstractLibrary(eqx.Module):
    """Candidate terms `θ(x, u)`, a vector of functions of one state and one input, with names.

    `first + second` joins two libraries, `first * second` takes all products of their terms.
    """

    @abstractmethod
    def __call__(self, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " term"]:
        """The terms at one point."""

    @abstractmethod
    def names(self, x: Sequence[str], u: Sequence[str]) -> tuple[str, ...]:
        """The names of the terms, given those of the states and inputs."""

    def __add__(self, other: "AbstractLibrary") -> "Concatenated":
        """The terms of both."""
        return Concatenated((self, other))

    def __mul__(self, other: "AbstractLibrary") -> "Products":
        """All products of a term of one with a term of the other."""
        return Products(self, other)


class Polynomial(AbstractLibrary):
    """All monomials of the states and inputs up to a degree: `1, x0, x1, ..., x0², x0 x1, ...`.

    Evaluated by as many gathers and products as the degree, whatever the number of terms.

    Args:
        degree: the highest degree, >= 1.
        lowest: the lowest degree, 0 (with the constant term) to `degree`.
        with_inputs: whether inputs take part, where there are any.

    Raises:
        ValueError: degrees out of range.

    Examples:
        ```python
        library = sciml.systems.models.Polynomial(2)
        assert library.names(["a", "b"], []) == ("1", "a", "b", "a²", "a b", "b²")
        assert library(jnp.array([2.0, 3.0]), None).tolist() == [1.0, 2.0, 3.0, 4.0, 6.0, 9.0]
        ```
    """

    degree: int
    lowest: int = 0
    with_inputs: bool = True

    def __check_init__(self):
        """Checks the degrees."""
        if not (1 <= self.degree and 0 <= self.lowest <= self.degree):
            got = f"degree = {self.degree}, lowest = {self.lowest}"
            raise invalid("degree, lowest", got, "1 <= degree and 0 <= lowest <= degree", "raise the degree")

    def _factors(self, n: int) -> np.ndarray:
        """For each monomial its factors: 0 is the number one, `i` the variable `i - 1`. Ordered by degree."""
        rows = list(combinations_with_replacement(range(n + 1), self.degree))
        degrees = [sum(i > 0 for i in row) for row in rows]
        order = sorted(range(len(rows)), key=lambda k: (degrees[k], rows[k]))
        return np.array([rows[k] for k in order if degrees[k] >= self.lowest], np.int32).reshape(-1, self.degree)

    def __call__(self, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " term"]:
        """The monomials at one point."""
        v = _variables(x, u if self.with_inputs else None)
        padded = jnp.concatenate([jnp.ones(1, v.dtype), v])
        factors = self._factors(v.size)
        out = padded[factors[:, 0]]
        for column in factors.T[1:]:
            out = out * padded[column]
        return out

    def names(self, x: Sequence[str], u: Sequence[str]) -> tuple[str, ...]:
        """Such as `x0² x1`."""
        v = [*x, *(u if self.with_inputs else ())]

        def name(row: np.ndarray) -> str:
            powers = [(v[i - 1], int(np.sum(row == i))) for i in sorted(set(row.tolist())) if i > 0]
            return " ".join(word + _power(p) for word, p in powers) or "1"

        return tuple(name(row) for row in self._factors(len(v)))


class Fourier(AbstractLibrary):
    """Sines and cosines of each state (and input): `sin(ω v), cos(ω v)` for every frequency `ω`.

    Args:
        frequencies: angular frequencies, per unit of the variable; may be fitted.
        with_inputs: whether inputs take part, where there are any.

    Raises:
        ValueError: no frequency.
    """

    frequencies: Float[Array, " frequency"]
    with_inputs: bool = eqx.field(static=True, default=True)

    def __init__(self, frequencies: Float[Array, " frequency"] | Sequence[float], *, with_inputs: bool = True):
        """The frequencies, as an array."""
        self.frequencies, self.with_inputs = parameter(jnp.asarray(frequencies)), with_inputs
        if self.frequencies.ndim != 1 or self.frequencies.size == 0:
            raise invalid("frequencies", f"shape {self.frequencies.shape}", "(frequency,)", "write for instance [1.0]")

    def __call__(self, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " term"]:
        """All sines, frequency by frequency, then all cosines."""
        v = _variables(x, u if self.with_inputs else None)
        angles = (self.frequencies.astype(v.dtype)[:, None] * v).ravel()
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)])

    def names(self, x: Sequence[str], u: Sequence[str]) -> tuple[str, ...]:
        """Such as `sin(2 x0)`."""
        v = [*x, *(u if self.with_inputs else ())]
        words = [f"{_factor(float(w))}{name}" for w in np.asarray(self.frequencies) for name in v]
        return tuple(f"{kind}({word})" for kind in ("sin", "cos") for word in words)


class Functions(AbstractLibrary):
    """Terms of your own: one function that returns all of them.

    Args:
        function: `(x, u) -> terms`, a vector.
        labels: one name for each term.

    Examples:
        ```python
        drag = lambda x, u: jnp.stack([jnp.abs(x[0]) * x[0], u[0]])
        library = sciml.systems.models.Functions(drag, ["|v| v", "force"])
        assert library(jnp.array([-2.0]), jnp.array([3.0])).tolist() == [-4.0, 3.0]
        ```
    """

    function: Callable[[Array, Array | None], Array]
    labels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, function: Callable[[Array, Array | None], Array], labels: Sequence[str]):
        """The function and its names."""
        self.function, self.labels = function, tuple(labels)

    def __call__(self, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " term"]:
        """The terms at one point.

        Raises:
            ValueError: a function that does not return one number for each label.
        """
        terms = self.function(x, u)
        if terms.shape != (len(self.labels),):
            expected = f"({len(self.labels)},), one term for each label"
            raise invalid("function", f"terms of shape {terms.shape}", expected, "stack the terms, or name all of them")
        return terms

    def names(self, x: Sequence[str], u: Sequence[str]) -> tuple[str, ...]:
        """The labels."""
        return self.labels


class Concatenated(AbstractLibrary):
    """The terms of several libraries, one after the other; `first + second` makes it."""

    parts: tuple[AbstractLibrary, ...]

    def __call__(self, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " term"]:
        """The terms at one point."""
        return jnp.concatenate([part(x, u) for part in self.parts])

    def names(self, x: Sequence[str], u: Sequence[str]) -> tuple[str, ...]:
        """The names of all parts."""
        return tuple(name for part in self.parts for name in part.names(x, u))


class Products(AbstractLibrary):
    """All products of a term of `first` with a term of `second`; `first * second` makes it."""

    first: AbstractLibrary
    second: AbstractLibrary

    def __call__(self, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " term"]:
        """The products at one point, those of the first term of `first` first."""
        return jnp.outer(self.first(x, u), self.second(x, u)).ravel()

    def names(self, x: Sequence[str], u: Sequence[str]) -> tuple[str, ...]:
        """Such as `x0 sin(x1)`."""
        pairs = [(a, b) for a in self.first.names(x, u) for b in self.second.names(x, u)]
        return tuple(b if a == "1" else a if b == "1" else f"{a} {b}" for a, b in pairs)


def count(library: AbstractLibrary, states: int, inputs: int | None) -> int:
    """The number of terms for that many states and inputs (None: a system without input)."""
    x = jax.ShapeDtypeStruct((states,), jnp.zeros(()).dtype)
    u = None if inputs is None else jax.ShapeDtypeStruct((inputs,), x.dtype)
    return int(eqx.filter_eval_shape(library, x, u).shape[0])


def _variables(x: Array, u: Array | None) -> Array:
    return x if u is None else jnp.concatenate([x, u])


def _power(p: int) -> str:
    return "" if p == 1 else "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(p))


def _factor(w: float) -> str:
    return "" if w == 1 else f"{w:.4g} "
