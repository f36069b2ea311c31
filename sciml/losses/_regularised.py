"""A least-squares loss plus the squares of some parameters."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from ..core import ravel
from ..sources import Batch
from ._abstract import AbstractLeastSquares, Report
from ._samples import Samples, Term


class Regularised(AbstractLeastSquares):
    """`loss(model, batch) + ½ weight² ‖part(model)‖²`: ridge regression on a part of a model, or a prior belief.

    Choose it for a network beside physical parameters, which otherwise may absorb them, and for short records. In units
    of the loss's residuals, a parameter of size `1 / weight` costs as much as a residual of one.

    Args:
        loss: a least-squares loss.
        weight: of the parameters, an array so that another one does not recompile.
        part: `model -> pytree`, whose floating-point arrays should stay small, such as
            `lambda model: model.system.network`; or differences to values that are believed.

    Source: Hoerl & Kennard (1970), Ridge regression, DOI 10.1080/00401706.1970.10488634.

    Examples:
        ```python
        loss = sciml.losses.LeastSquares(lambda slope, data: slope * data[0] - data[1])
        ridge = sciml.losses.Regularised(loss, jnp.array(2.0), lambda slope: slope)
        data = (jnp.ones(1), jnp.ones(1))
        assert jnp.isclose(ridge(jnp.array(3.0), data), 0.5 * 2.0**2 + 0.5 * 2.0**2 * 3.0**2)
        ```
    """

    loss: AbstractLeastSquares
    weight: Scalar
    part: Callable[[Any], Any]

    def residuals(self, model: Any, batch: Any) -> Any:
        """Those of the loss, and the weighted part."""
        return self.loss.residuals(model, batch), self._pull(model)

    def structure(self, model: Any, batch: Any) -> Samples | None:
        """Samples stay samples, with one more; anything else is dense."""
        inner = self.loss.structure(model, batch)
        if not isinstance(inner, Samples):
            return None
        one = jnp.ones((), self._pull(model).dtype)
        return Samples((*inner.terms, Term(lambda model, _: self._pull(model), one[None], one)))

    def evaluate(self, model: Any, batch: Batch, state: None, *, key: PRNGKeyArray) -> tuple[Scalar, None, Report]:
        """The loss, the part's squares, and the report of the loss."""
        value, _, report = self.loss.evaluate(model, batch, state, key=key)
        return value + 0.5 * jnp.sum(self._pull(model) ** 2), None, report

    def _pull(self, model: Any) -> Float[Array, " n"]:
        flat = ravel(eqx.filter(self.part(model), eqx.is_inexact_array))[0]
        return self.weight.astype(flat.dtype) * flat
