"""Penalty losses, to train on a program without solved instances."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import PRNGKeyArray, Scalar, ScalarLike

from ..core import invalid, Trajectory
from ..programs import AbstractProgram, cost, violation
from ..programs._optimal_control import check_program
from ..sources import AbstractSource, Batch
from ._abstract import AbstractLoss, finite_or_nan, is_without_nan, mean_of_finite, put_sound, Report
from ._norms import AbstractNorm, L2


def _apply(model: Any, p: Any) -> Any:
    return model(p)


class Penalty(AbstractLoss):
    """The mean of `f(z, p) + Σ weight · norm(violation)` over the instances, with `z = decide(model, p)`.

    Choose it to learn a solution map, with `z = model(p)` by default, or a policy: `decide` then rolls the policy out
    and returns a `Trajectory` (differentiable predictive control).

    Args:
        program: the program to solve.
        decide: `(model, p) -> z`; default `model(p)`.
        weight: one number, or a record shaped like the inequalities (or a prefix of it): `Limits(1., 1., 50.)`.
        eq_weight: the same for the equalities.
        bound_weight: one number for the bounds.
        norm: `L1()`, `L2()` (default) or `Smooth(width)`, applied entry by entry and summed.
        lost_weight: cost of each step that a `Trajectory` lost because its state diverged.
        refuse_above: largest fraction of failed instances that a batch may have.

    An instance fails if its value is not finite or if it contains NaN. It is left out of the mean and counted.

    Gradient: through `decide`, `f` and the violations; zero for a failed instance, provided that `decide` has a finite
    derivative there. `rollout` has one, because it freezes a state before it diverges.

    Source: Drgoňa, Kiš, Tuor, Vrabie & Klaučo (2022), Differentiable predictive control, DOI
    10.1016/j.jprocont.2022.06.001, equation (5), for policies.

    Examples:
        ```python
        program = sciml.Program(lambda z, p: (z - p) ** 2, ineq=lambda z, p: z - 1.0)
        loss = sciml.losses.Penalty(program, weight=10.0)
        identity = lambda p: p  # no cost, and the third instance exceeds its limit by 1
        assert jnp.isclose(loss(identity, jnp.array([0.0, 1.0, 2.0])), 10.0 / 3)
        ```
    """

    program: AbstractProgram
    decide: Callable[[Any, Any], Any] = _apply
    weight: Any = 1.0
    eq_weight: Any = 1.0
    bound_weight: ScalarLike = 1.0
    norm: AbstractNorm = eqx.field(default_factory=L2)
    lost_weight: ScalarLike = 1.0
    refuse_above: float = eqx.field(static=True, default=0.5)

    def __check_init__(self) -> None:
        check_program(self.program)

    def init(self, model: Any, source: AbstractSource) -> None:
        """None, because this loss has no memory."""

    def evaluate(self, model: Any, batch: Batch, state: None, *, key: PRNGKeyArray) -> tuple[Scalar, None, Report]:
        """The mean over the batch, without a memory, and a report of failures."""
        value, report = mean_of_finite(self.each(model, batch.value), self.refuse_above)
        return value, None, report

    def __call__(self, model: Any, batch: Any) -> Scalar:
        """The mean over stacked instances."""
        return mean_of_finite(self.each(model, batch), self.refuse_above)[0]

    def each(self, model: Any, batch: Any) -> Any:
        """The value of each instance of a batch; NaN for failed ones."""
        clean = is_without_nan(batch)
        batch = put_sound(clean, batch)
        z = jax.vmap(lambda p: self.decide(model, p))(batch)
        values, _ = finite_or_nan(lambda _, one: (self._one(*one), ()), (), (z, batch))
        return jnp.where(clean, values, jnp.nan)

    def _one(self, z: Any, p: Any) -> Scalar:
        value = cost(self.program, z, p)
        excess = violation(self.program, z, p)
        value = value + weighted(self.weight, excess.ineq, self.norm, "weight")
        value = value + weighted(self.eq_weight, excess.eq, self.norm, "eq_weight")
        bound = sum(jtu.tree_leaves(jtu.tree_map(lambda v: jnp.sum(self.norm(v)), (excess.lower, excess.upper))))
        value = value + self.bound_weight * bound
        if isinstance(z, Trajectory):
            value = value + self.lost_weight * z.lost.astype(value.dtype)
        return value


def weighted(weights: Any, residuals: Any, norm: AbstractNorm, argument: str) -> Any:
    """`Σ weight · norm(residual)` for weights that are a prefix of the residuals' structure."""
    try:
        terms = jtu.tree_map(
            lambda w, part: sum((jnp.sum(w * norm(r)) for r in jtu.tree_leaves(part)), start=0.0), weights, residuals
        )
    except (ValueError, TypeError) as error:
        raise invalid(
            argument,
            f"the structure {jtu.tree_structure(weights)}",
            f"{jtu.tree_structure(residuals)} or a prefix of it",
            "give one weight for each constraint, or a single number for all",
        ) from error
    return sum(jtu.tree_leaves(terms), start=0.0)
