"""A sparse combination of library terms as a system in continuous time."""

from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from sciml.core import invalid

from .._abstract import AbstractContinuousSystem
from .._parameters import parameter
from ._libraries import AbstractLibrary, count


class SINDy(AbstractContinuousSystem):
    """`dx/dt = Ξᵀ θ(x, u)`: library terms `θ` with a matrix `Ξ` of coefficients, most of them zero; `y = x`.

    `training.sparse.sindy` identifies it from records. `print(model)` shows the equations.

    Args:
        library: the candidate terms.
        coefficients: `Ξ`, shape `(term, state)`.
        inputs: number of inputs; None for a system without input.
        names: names of the states, followed by those of the inputs; `x0, x1, ..., u0, ...` by default.

    Raises:
        ValueError: coefficients that do not fit the library, or another number of names.

    Examples:
        ```python
        from sciml.systems.models import Polynomial, SINDy

        decay = SINDy(Polynomial(1), jnp.array([[0.0], [-0.5]]), names=["level"])
        assert str(decay) == "d level/dt = -0.5 level"
        ```

    Source: Brunton, Proctor and Kutz (2016), Discovering governing equations from data by sparse identification of
    nonlinear dynamical systems, PNAS 113(15), doi:10.1073/pnas.1517384113; with inputs Brunton, Proctor
    and Kutz (2016), IFAC-PapersOnLine 49(18), doi:10.1016/j.ifacol.2016.10.249.
    """

    library: AbstractLibrary
    coefficients: Float[Array, "term x"]
    inputs: int | None = eqx.field(static=True)
    names: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        library: AbstractLibrary,
        coefficients: ArrayLike,
        *,
        inputs: int | None = None,
        names: Sequence[str] | None = None,
    ):
        """The library and the coefficients, checked to fit."""
        self.library, self.coefficients, self.inputs = library, parameter(coefficients), inputs
        if self.coefficients.ndim != 2:
            raise invalid(
                "coefficients", f"shape {self.coefficients.shape}", "(term, state)", "give a column per state"
            )
        states = self.coefficients.shape[1]
        terms = count(library, states, inputs)
        if self.coefficients.shape[0] != terms:
            expected = f"({terms}, {states}): the library has {terms} terms"
            raise invalid("coefficients", f"shape {self.coefficients.shape}", expected, "give a row for each term")
        default = [f"x{i}" for i in range(states)] + [f"u{i}" for i in range(inputs or 0)]
        self.names = tuple(default if names is None else names)
        if len(self.names) != len(default):
            expected = f"{len(default)}: the states, then the inputs"
            raise invalid("names", f"{len(self.names)} names", expected, "name every state and input")

    def vector_field(self, t: ArrayLike, x: Float[Array, " x"], u: Float[Array, " u"] | None) -> Float[Array, " x"]:
        """The state derivative `Ξᵀ θ(x, u)`."""
        return self.library(x, u) @ self.coefficients

    def input_shape(self) -> tuple[int, ...] | None:
        """One entry per input."""
        return None if self.inputs is None else (self.inputs,)

    @property
    def terms(self) -> tuple[str, ...]:
        """The names of the library's terms."""
        states = self.coefficients.shape[1]
        return self.library.names(self.names[:states], self.names[states:])

    def __str__(self) -> str:
        """One equation per line, coefficients to four digits, terms with coefficient zero left out."""
        lines = []
        for name, column in zip(self.names, np.asarray(self.coefficients).T, strict=False):
            parts = [(float(c), term) for c, term in zip(column, self.terms, strict=True) if c != 0]
            text = "".join(f" {'-' if c < 0 else '+'} {_product(abs(c), term)}" for c, term in parts)
            text = (
                text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" - ") else text.removeprefix(" + ")
            )
            lines.append(f"d {name}/dt = {text or '0'}")
        return "\n".join(lines)


def _product(c: float, term: str) -> str:
    return f"{c:.4g}" if term == "1" else f"{c:.4g} {term}"
