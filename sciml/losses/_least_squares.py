"""Losses that declare structure: a mean over instances, a sum of squares."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, Scalar

from ..core import invalid
from ..sources import AbstractSource, Batch
from ._abstract import AbstractLeastSquares, AbstractLoss, finite_or_nan, mean_of_finite, Report


class Mean(AbstractLoss):
    """The mean of `per_instance(model, one)` over a batch: the only place where the batch axis is named.

    Args:
        per_instance: `(model, one instance) -> scalar`.
        refuse_above: largest fraction of failed instances (value not finite) that a batch may have. They are left out
            of the mean and counted, at the price of a second evaluation; 0 saves that price and refuses any failure.

    Gradient: zero for a failed instance.
    """

    per_instance: Callable[[Any, Any], Any]
    refuse_above: float = eqx.field(static=True, default=0.5)

    def init(self, model: Any, source: AbstractSource) -> None:
        """No memory."""

    def evaluate(self, model: Any, batch: Batch, state: None, *, key: PRNGKeyArray) -> tuple[Scalar, None, Report]:
        """The mean over the batch."""
        value, report = mean_of_finite(self._each(model, batch.value), self.refuse_above)
        return value, None, report

    def __call__(self, model: Any, batch: Any) -> Scalar:
        """The mean over stacked instances."""
        return mean_of_finite(self._each(model, batch), self.refuse_above)[0]

    def _each(self, model: Any, batch: Any) -> Any:
        value = lambda model, one: jnp.asarray(self.per_instance(model, one)).reshape(())
        if self.refuse_above <= 0:
            return jax.vmap(lambda one: value(model, one))(batch)
        return finite_or_nan(lambda model, one: (value(model, one), ()), model, batch)[0]


class LeastSquares(AbstractLeastSquares):
    """`½ ‖weight · residuals(model, batch)‖²`: for `fit` with a Gauss-Newton method, or with any other.

    Args:
        function: `(model, batch) -> pytree of residuals`. Batch axes are the function's own business.
        weight: one number, or a record shaped like the residuals (or a prefix of it); squares are weighted by its
            square.

    Examples:
        ```python
        loss = sciml.losses.LeastSquares(lambda slope, data: slope * data[0] - data[1])
        xs = jnp.array([1.0, 2.0])
        assert jnp.isclose(loss(jnp.array(3.0), (xs, 2 * xs)), 2.5)  # half of 1 + 4
        ```
    """

    function: Callable[[Any, Any], Any]
    weight: Any = 1.0

    def residuals(self, model: Any, batch: Any) -> Any:
        """The weighted residuals."""
        out = self.function(model, batch)
        try:
            return jax.tree.map(lambda w, part: jax.tree.map(lambda r: w * r, part), self.weight, out)
        except (ValueError, TypeError) as error:
            expected = f"{jax.tree.structure(out)} or a prefix of it, with shapes and dtypes that broadcast"
            fix = "give one weight for each residual, or a single number for all"
            raise invalid("weight", f"the structure {jax.tree.structure(self.weight)}", expected, fix) from error

    def structure(self, model: Any, batch: Any) -> None:
        """Dense."""
