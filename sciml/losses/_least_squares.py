"""Losses that declare structure: a mean over instances, a sum of squares."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from ..core import invalid, ravel
from ..sources import AbstractSource, Batch
from ._abstract import AbstractLoss, finite_or_nan, mean_of_finite, Report
from ._sparsity import Sparsity


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


class AbstractLeastSquares(AbstractLoss):
    """A loss that is a sum of squares, so that Gauss-Newton methods can use its residuals."""

    @abstractmethod
    def residuals(self, model: Any, batch: Any) -> Any:
        """The residuals, any pytree of arrays; the loss is half the sum of their squares."""

    @abstractmethod
    def sparsity(self, model: Any, batch: Any) -> Sparsity | None:
        """Which parameters touch which residuals, if that is known to be sparse; None for dense."""

    def init(self, model: Any, source: AbstractSource) -> None:
        """No memory."""

    def evaluate(self, model: Any, batch: Batch, state: None, *, key: PRNGKeyArray) -> tuple[Scalar, None, Report]:
        """Half the sum of squares."""
        value = self(model, batch.value)
        return value, None, Report(jnp.zeros_like(value))

    def __call__(self, model: Any, batch: Any) -> Scalar:
        """Half the sum of squares."""
        return 0.5 * jnp.sum(ravel(self.residuals(model, batch))[0] ** 2)


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

    def sparsity(self, model: Any, batch: Any) -> None:
        """Dense."""


class Segments(eqx.Module):
    """A record cut into segments for multiple shooting, leading axes: segment, time."""

    u: Any
    y: Float[Array, "segment time ..."]
    weight: Float[Array, "segment time ..."]
    """Zero where a sample is not to count (held out, saturated)."""


class Shot(eqx.Module):
    """What multiple shooting fits: a model, and the state at the start of each segment."""

    model: Any
    starts: Float[Array, "*batch segment x"]


class MultipleShooting(AbstractLeastSquares):
    """Misfit of short simulations from free initial states, plus the gaps between one segment's end and the next start.

    Short segments keep the problem close to linear and their simulations stable; a rising `continuity` closes the gaps.
    With one segment it is single shooting.

    Args:
        simulate: `(model, x0, u) -> (y, x_end)` for one segment.
        continuity: weight of the gaps, an array so that raising it does not recompile.
        prior: `(model, starts) -> pytree of residuals`, what is believed beforehand about the model and the first
            start, `starts[0]` (no derivative reaches the others); None for nothing.

    Residuals are scaled so that the loss is half the mean squared misfit over weighted samples, plus half the weighted
    mean squared gap.

    Source: Bock (1981), Numerical treatment of inverse problems in chemical reaction kinetics, DOI
    10.1007/978-3-642-68220-9_8; Forgione & Piga (2021), Continuous-time system identification with neural networks, DOI
    10.1016/j.ejcon.2021.01.008, for the relation to truncated simulation error.
    """

    simulate: Callable[[Any, Any, Any], tuple[Any, Any]]
    continuity: Float[Array, ""]
    prior: Callable[[Any, Any], Any] | None = None

    def residuals(self, model: Shot, batch: Segments) -> Any:
        """Misfit, gaps and prior."""
        y, ends = jax.vmap(lambda x0, u: self.simulate(model.model, x0, u))(model.starts, batch.u)
        misfit = (y - batch.y) * jnp.sqrt(batch.weight / jnp.sum(batch.weight))
        gaps = self.continuity * (ends[:-1] - model.starts[1:]) / model.starts.shape[0] ** 0.5
        # `sparsity` promises that the prior touches the first start only.
        starts = jnp.concatenate([model.starts[:1], jax.lax.stop_gradient(model.starts[1:])])
        return misfit, gaps, () if self.prior is None else self.prior(model.model, starts)

    def sparsity(self, model: Shot, batch: Segments) -> Sparsity | None:
        """Starts touch their own segment's misfit and two gaps: three passes serve all of them."""
        if model.starts.shape[0] < 4:
            return None
        shared = ravel(eqx.filter(model.model, eqx.is_inexact_array))[0].size
        return Sparsity.chain(shared, model.starts.shape, self._rows(model, batch))

    def _rows(self, model: Shot, batch: Segments) -> tuple[int, int, int]:
        """Residuals per segment, per gap, and of the prior."""
        misfit, gaps, prior = jax.eval_shape(self.residuals, model, batch)
        size = sum(leaf.size for leaf in jax.tree.leaves(prior))
        return misfit.size // misfit.shape[0], gaps.size // max(gaps.shape[0], 1), size
