"""Residuals that fall into samples, each with a Jacobian of its own."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Scalar

from ..core import batch_size, invalid
from ._abstract import AbstractLeastSquares


class Term(eqx.Module):
    """Residuals of one kind: `scale * function(model, sample)` for every sample."""

    function: Callable[[Any, Any], Any]
    data: Any
    """The samples, stacked along a leading axis."""
    scale: Scalar


class Samples(eqx.Module):
    """The structure of residuals that each touch a single sample.

    A method then differentiates the residuals of one sample at a time, which costs the number of samples times a small
    derivative; without this structure each row of the Jacobian costs an evaluation of all samples.
    """

    terms: tuple[Term, ...]


class MeanSquares(AbstractLeastSquares):
    """`½ Σ_k w_k² mean_i ‖f_k(model, sample_i)‖²`: mean squared residuals over samples, one mean for each term.

    Choose it for collocation (physics-informed networks) and regression, where a residual belongs to one point, one
    window or one trajectory. `LeastSquares` is for residuals that mix all data.

    Args:
        functions: `(model, one sample) -> pytree of residuals`, or a record of such functions, one for each term
            (equation, boundary, initial values, measurements).
        weight: `w`, one number or a record like `functions`.

    A batch is the stacked samples, or a record of them like `functions`; each term has its own number of samples.

    Raises:
        ValueError: a batch or weights of another structure than `functions`, or samples without a common leading axis.

    Gradient: with respect to the model and to the weights.
    """

    functions: Any
    weight: Any = 1.0

    def residuals(self, model: Any, batch: Any) -> Any:
        """The residuals of every term, scaled so that the loss is half their sum of squares."""
        each = [
            jtu.tree_map(
                lambda r, t=term: t.scale.astype(r.dtype) * r,
                jax.vmap(lambda s, t=term: t.function(model, s))(term.data),
            )
            for term in self._terms(batch)
        ]
        return jtu.tree_unflatten(self._treedef(), each)

    def structure(self, model: Any, batch: Any) -> Samples:
        """One term for each function."""
        return Samples(self._terms(batch))

    def _treedef(self) -> Any:
        return jtu.tree_structure(self.functions, is_leaf=callable)

    def _terms(self, batch: Any) -> tuple[Term, ...]:
        functions, treedef = jtu.tree_flatten(self.functions, is_leaf=callable)
        if not functions or not all(map(callable, functions)):
            fix = "write `MeanSquares(residual)`, or a NamedTuple of residual functions"
            raise invalid("functions", self.functions, "a function, or a record of functions", fix)
        try:
            data = treedef.flatten_up_to(batch)
        except (ValueError, TypeError) as error:
            fix = "give the samples of each term under the term's name"
            raise invalid("batch", f"the structure {jtu.tree_structure(batch)}", treedef, fix) from error
        try:
            is_one = jtu.treedef_is_leaf(jtu.tree_structure(self.weight))
            weights = [self.weight] * len(functions) if is_one else treedef.flatten_up_to(self.weight)
            scalars = [jnp.asarray(weight).reshape(()) for weight in weights]
        except (ValueError, TypeError) as error:
            got, expected = jtu.tree_structure(self.weight), f"one number, or {treedef} of numbers"
            raise invalid("weight", f"the structure {got}", expected, "give one weight for each term") from error
        sizes = [batch_size(samples, "batch") for samples in data]
        scales = [weight / size**0.5 for weight, size in zip(scalars, sizes, strict=True)]
        return tuple(Term(*parts) for parts in zip(functions, data, scales, strict=True))
