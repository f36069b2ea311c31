"""An augmented Lagrangian loss, with multipliers for each instance of the source."""

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
    """The estimates of `λ` and `ν` for every instance of the source; the leading axis is the instance."""

    ineq: Any
    eq: Any


class AugmentedLagrangian(AbstractLoss):
    """The mean of `f + (‖max(0, λ + μ g)‖² - ‖λ‖²) / (2μ) + νᵀh + μ/2 ‖h‖²`, with multipliers for every instance.

    Choose it over `Penalty` if violations must vanish without large weights. Whenever an instance is drawn, its
    multipliers are updated: `λ <- max(0, λ + rate μ g)` and `ν <- ν + rate μ h`. The source must have a fixed set of
    instances (`count`), as `Fixed` and `Minibatches` have, because each instance keeps its own multipliers.

    Args:
        program: the program to solve; put bounds on the decision into the model or the inequalities.
        decide: `(model, p) -> z`; default `model(p)`.
        mu: penalty parameter, > 0.
        rate: step size of the multipliers at each visit, in (0, 1]; small, because the model changes slowly too.
        refuse_above: largest fraction of failed instances that a batch may have.

    An instance fails if its value is not finite or if it contains NaN. It is left out and counted, and keeps its
    multipliers.

    Gradient: with respect to the model, with the multipliers held fixed; zero for a failed instance, as in `Penalty`.

    Source: Bertsekas (1982), Constrained Optimization and Lagrange Multiplier Methods, section 3.1, equation (5).

    Examples:
        ```python
        import optax

        program = sciml.Program(lambda z, p: (z - p) ** 2, ineq=lambda z, p: z - 1.0)
        ps = sciml.sources.Fixed(jnp.array([2.0, 3.0]))
        loss = sciml.losses.AugmentedLagrangian(program, decide=lambda z, p: z)
        fitted = sciml.fit(jnp.array(0.0), loss, ps, optax.adam(0.05), steps=300, key=jax.random.key(0), progress=False)
        assert jnp.isclose(fitted.value, 1.0, atol=0.01)
        ```
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
                f"{type(source).__name__}, whose instances are new at every step or have no common leading axis",
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
        """The mean over the batch, and the memory with updated multipliers of its instances."""
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
