"""Stochastic first-order fits: compiled chunks of steps."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..core import invalid, resolve, RESULTS, Solution, tree_allfinite
from ..losses import AbstractLoss
from ..sources import AbstractSource
from ._watch import AbstractWork, copy, Progress, run, Watch


class FitStats(eqx.Module):
    """How a fit went."""

    steps: Int[Array, ""]
    """Steps taken."""
    losses: Float[Array, " steps"]
    """The loss at every step, before the step."""
    failed: Float[Array, " steps"]
    """Fraction of failed instances at every step."""


class Job(eqx.Module):
    """What stays the same over all steps."""

    rest: Any
    """The model without the trained arrays."""
    loss: Any
    source: AbstractSource
    method: optax.GradientTransformation
    key: PRNGKeyArray


class _Carry(eqx.Module):
    """Everything that a step changes."""

    parameters: Any
    optimiser: Any
    memory: Any
    step: Int[Array, ""]
    losses: Float[Array, " steps"]
    failed: Float[Array, " steps"]


class FirstOrder(AbstractWork):
    """A first-order fit as `run` wants it."""

    job: Job
    steps: int
    key: PRNGKeyArray
    period: int = eqx.field(static=True, default=100)

    def start(self, parameters: Any) -> _Carry:
        """Before the first step."""
        job = self.job
        with jax.numpy_dtype_promotion("standard"):
            optimiser = job.method.init(parameters)
        memory = (
            job.loss.init(resolve(self.model(parameters)), job.source) if isinstance(job.loss, AbstractLoss) else None
        )
        carry = _Carry(parameters, optimiser, memory, jnp.zeros((), int), jnp.zeros(self.steps), jnp.zeros(self.steps))
        # Copies: the compiled chunk is given the buffers for good, and optimisers may use one of them twice.
        return copy(carry)

    def advance(self, end: int, carry: _Carry) -> tuple[_Carry, Progress]:
        """Steps until `end`; where loss or parameters are not finite, the parameters before them."""
        start, before = int(carry.step), copy(carry.parameters)
        # The end as an array: a Python number would recompile.
        carry, finite = _run(self.job, jnp.asarray(end), carry)
        recent = float(jnp.mean(carry.losses[start:end]))
        is_sound = math.isfinite(recent) and bool(finite)
        if not is_sound:
            carry = eqx.tree_at(lambda c: c.parameters, carry, before)
        return carry, Progress(int(carry.step), recent, False, is_sound)

    def model(self, parameters: Any) -> Any:
        """The model with these parameters, wrappers kept."""
        return eqx.combine(parameters, self.job.rest)


def fit_first_order(parameters: Any, job: Job, steps: int, watch: Watch) -> Solution:
    """See `fit`."""
    carry, parameters, sound = run(FirstOrder(job=job, steps=steps, key=job.key), parameters, steps, watch)
    trained, done = eqx.combine(parameters, job.rest), int(carry.step)
    stats = FitStats(carry.step, carry.losses[:done], carry.failed[:done])
    return Solution(resolve(trained), RESULTS.successful if sound else RESULTS.diverged, stats, state=trained)


@eqx.filter_jit(donate="all-except-first")
def _run(job: Job, end: Any, carry: _Carry) -> tuple[_Carry, Any]:
    """Steps until `end`, which is data: chunks of any length share one compilation; are the parameters finite?"""
    loss, key = job.loss, job.key
    method = optax.with_extra_args_support(job.method)

    def value(parameters: Any, memory: Any, batch: Any, key: Any) -> tuple[Any, tuple[Any, Any]]:
        model = resolve(eqx.combine(parameters, job.rest))
        if isinstance(loss, AbstractLoss):
            out, memory, report = loss.evaluate(model, batch, memory, key=key)
            return out, (memory, report.failed)
        out = _scalar(loss(model, batch.value))
        return out, (memory, jnp.zeros_like(out))

    def body(carry: _Carry) -> _Carry:
        batch = job.source.batch(carry.step, key=jax.random.fold_in(key, 0))
        once = jax.random.fold_in(jax.random.fold_in(key, 1), carry.step)
        grad = eqx.filter_value_and_grad(value, has_aux=True)
        (out, (memory, failed)), slope = grad(carry.parameters, carry.memory, batch, once)
        with jax.numpy_dtype_promotion("standard"):
            again = lambda parameters: value(parameters, carry.memory, batch, once)[0]
            extra = {"value": out, "grad": slope, "value_fn": again}  # for line searches; others ignore it
            update, optimiser = method.update(slope, carry.optimiser, carry.parameters, **extra)
            parameters = eqx.apply_updates(carry.parameters, update)
        parameters = jtu.tree_map(lambda new, old: new.astype(old.dtype), parameters, carry.parameters)
        at = carry.step
        losses = carry.losses.at[at].set(out.astype(carry.losses.dtype))
        failed = carry.failed.at[at].set(failed.astype(carry.failed.dtype))
        return _Carry(parameters, optimiser, memory, at + 1, losses, failed)

    carry = jax.lax.while_loop(lambda c: c.step < end, body, carry)
    return carry, tree_allfinite(carry.parameters)


def _scalar(value: Any) -> Array:
    """The value of a loss that is a plain function."""
    if not eqx.is_array_like(value) or jnp.shape(value) or not jnp.issubdtype(jnp.result_type(value), jnp.floating):
        got = f"a value of shape {value.shape} and dtype {value.dtype}" if eqx.is_array(value) else repr(value)
        fix = "return for instance `jnp.mean(errors**2)`; `losses.Mean` takes the mean of a loss of one instance"
        raise invalid("loss", got, "one real number", fix)
    return jnp.asarray(value)
