"""Penalty with multipliers that learn, one set for each instance of the source."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PRNGKeyArray, Scalar, ScalarLike

from ..core import invalid, stop_gradient
from ..programs import AbstractProgram, constraints, cost
from ..programs._optimal_control import check_program
from ..sources import AbstractSource, Batch
from ._abstract import AbstractLoss, finite_or_nan, is_without_nan, mean_of_finite, put_sound, Report
from ._penalty import _apply


class Multipliers(eqx.Module):
    """Estimates `λ` and `ν` for every instance of the source, leading axis: instance."""

    ineq: Any
    eq: Any


class AugmentedLagrangian(AbstractLoss):
    """The mean of `f + (‖max(0, λ + μ g)‖² - ‖λ‖²) / (2μ) + νᵀh + μ/2 ‖h‖²`, with multipliers for every instance.

    Whenever an instance is drawn, its multipliers move by `λ <- max(0, λ + rate μ g)` and `ν <- ν + rate μ h`.
    Choose it over `Penalty` where violations must vanish without huge weights. The source must know its instances
    (`count`), such as `Fixed` or `Minibatches`: multipliers follow the instances through minibatches by their index.

    Args:
        program: what the decision is to solve; bounds on the decision belong into the model or the inequalities.
        decide: `(model, p) -> z`; default `model(p)`.
        mu: penalty parameter, > 0.
        rate: how far multipliers move at each visit, in (0, 1]; small, since the model moves slowly too.
        refuse_above: largest fraction of failed instances that a batch may have.

    An instance fails if its value is not finite or if it holds a NaN: it is left out and counted, its multipliers stay.

    Gradient: with respect to the model, multipliers held fixed; of failed instances as in `Penalty`.

    Source: Bertsekas (1982), Constrained Optimization and Lagrange Multiplier Methods, section 3.1, equation (5).
    """

    program: AbstractProgram
    decide: Callable[[Any, Any], Any] = _apply
    mu: ScalarLike = 10.0
    rate: ScalarLike = 0.1
    refuse_above: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        check_program(self.program)

    def init(self, model: Any, source: AbstractSource) -> Multipliers:
        """Zero multipliers for every instance."""
        if source.count is None:
            raise invalid(
                "source",
                f"{type(source).__name__}, whose instances are new at every step",
                "a source with a `count`",
                "draw a fixed set of instances and wrap it: `Minibatches(instances, size)`",
            )
        batch = jax.eval_shape(lambda: source.batch(0, key=jax.random.key(0)).value)
        one = jtu.tree_map(lambda s: jax.ShapeDtypeStruct(s.shape[1:], s.dtype), batch)
        g, h = eqx.filter_eval_shape(lambda m, p: constraints(self.program, self.decide(m, p), p), model, one)
        zeros = lambda tree: jtu.tree_map(lambda s: jnp.zeros((source.count, *s.shape), s.dtype), tree)
        return Multipliers(zeros(g), zeros(h))

    def evaluate(
        self, model: Any, batch: Batch, state: Multipliers, *, key: PRNGKeyArray
    ) -> tuple[Scalar, Multipliers, Report]:
        """The mean over the batch, and multipliers moved for its instances."""
        mine = jtu.tree_map(lambda m: m[batch.index], state)
        values, (g, h) = self._each(model, batch.value, mine)
        value, report = mean_of_finite(values, self.refuse_above)
        step = self.rate * self.mu
        fine = jnp.isfinite(values)
        move = lambda m, new: jnp.where(fine.reshape(-1, *[1] * (new.ndim - 1)), new, m)
        ineq = jtu.tree_map(lambda m, v: move(m, jnp.maximum(0.0, m + step * v)), mine.ineq, g)
        eq = jtu.tree_map(lambda m, v: move(m, m + step * v), mine.eq, h)
        state = jtu.tree_map(lambda m, new: m.at[batch.index].set(stop_gradient(new)), state, Multipliers(ineq, eq))
        return value, state, report

    def __call__(self, model: Any, batch: Any) -> Scalar:
        """The mean over stacked instances with zero multipliers: objective plus quadratic penalties."""
        g, h = eqx.filter_eval_shape(jax.vmap(lambda p: constraints(self.program, self.decide(model, p), p)), batch)
        zeros = lambda tree: jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), tree)
        values, _ = self._each(model, batch, Multipliers(zeros(g), zeros(h)))
        return mean_of_finite(values, self.refuse_above)[0]

    def _each(self, model: Any, batch: Any, multipliers: Multipliers) -> tuple[Any, tuple[Any, Any]]:
        """The value of every instance (NaN for those that failed), and its constraints."""
        clean = is_without_nan(batch)
        batch = put_sound(clean, batch)
        z = jax.vmap(lambda p: self.decide(model, p))(batch)
        values, aux = finite_or_nan(lambda _, one: self._one(*one), (), (z, batch, multipliers))
        return jnp.where(clean, values, jnp.nan), aux

    def _one(self, z: Any, p: Any, multipliers: Multipliers) -> tuple[Scalar, tuple[Any, Any]]:
        g, h = constraints(self.program, z, p)
        value = cost(self.program, z, p)
        ineq = jtu.tree_map(lambda m, v: self._inequality(m, v), multipliers.ineq, g)
        eq = jtu.tree_map(lambda m, v: jnp.sum(m * v + 0.5 * self.mu * v**2), multipliers.eq, h)
        return sum(jtu.tree_leaves((ineq, eq)), start=value), (g, h)

    def _inequality(self, multiplier: Float[Array, "*shape"], g: Float[Array, "*shape"]) -> Scalar:
        return jnp.sum(jnp.maximum(0.0, multiplier + self.mu * g) ** 2 - multiplier**2) / (2 * self.mu)
