"""Fits by Optimistix: least squares and minimisation of the whole loss, in compiled chunks of steps."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ..core import invalid, resolve, RESULTS, Solution, tree_allfinite, tree_size
from ..losses import AbstractLeastSquares, Samples, Sparsity, Term
from ..sources import Batch
from ._gauss_newton import LMState
from ._parameters import partition
from ._watch import AbstractWork, Progress, run, Watch


class SecondOrderStats(eqx.Module):
    """How a second-order fit went."""

    steps: Int[Array, "*batch"]
    loss: Float[Array, "*batch"]
    """The loss at the returned model."""
    losses: Float[Array, "*batch steps"]
    """The loss at the accepted point of every step; NaN after the last step."""
    matrix: Float[Array, "*batch n n"] | None
    """`JᵀJ` over the flattened trained parameters at the last step (None if the method did not form it)."""
    failed: Float[Array, "*batch"]
    """Fraction of the data's instances that failed at the returned model, as the loss reports it."""


class Task(eqx.Module):
    """What stays the same over all steps."""

    rest: Any
    """The model without the trained arrays."""
    loss: Any
    batch: Any
    method: Any
    sparsity: Sparsity | None


class Carry(eqx.Module):
    """Everything that a step changes; arrays only."""

    parameters: Any
    state: Any
    step: Int[Array, ""]
    is_done: Bool[Array, ""]
    losses: Float[Array, " steps"]


def prepare(model: Any, loss: Any, batch: Any, method: Any, trainable: Any) -> tuple[Any, Task]:
    """The parameters to train, and the rest of the task."""
    parameters, rest = partition(model, trainable)
    sparsity = loss.structure(resolve(model), batch) if isinstance(loss, AbstractLeastSquares) else None
    if not isinstance(sparsity, Sparsity) or np.size(sparsity.groups) != tree_size(parameters):
        sparsity = None  # it speaks of all parameters, and some are not trained
    return parameters, Task(rest, loss, batch, method, sparsity)


def fit_second_order(model: Any, loss: Any, batch: Any, method: Any, steps: int, trainable: Any) -> Solution:
    """All steps in one compiled call, for `ensemble`."""
    parameters, task = prepare(model, loss, batch, method, trainable)
    carry = advance(task, jnp.asarray(steps), start(task, parameters, steps))
    return finish(task, carry, carry.parameters)


class SecondOrder(AbstractWork):
    """A second-order fit as `run` wants it: start, chunks of steps, and the loss in between."""

    task: Task
    steps: int
    key: PRNGKeyArray
    period: int = eqx.field(static=True, default=10)

    def start(self, parameters: Any) -> Carry:
        """Before the first step."""
        return start(self.task, parameters, self.steps)

    def advance(self, end: int, carry: Carry) -> tuple[Carry, Progress]:
        """Steps until `end` or convergence. These methods reject what is not finite: a chunk always succeeds."""
        carry = advance(self.task, jnp.asarray(end), carry)
        done = int(carry.step)
        loss = float(carry.losses[max(done - 1, 0)])
        return carry, Progress(done, loss, bool(carry.is_done), True)

    def model(self, parameters: Any) -> Any:
        """The model with these parameters, wrappers kept."""
        return eqx.combine(parameters, self.task.rest)


def fit_watched(parameters: Any, task: Task, steps: int, key: PRNGKeyArray, watch: Watch) -> Solution:
    """See `fit`."""
    work = SecondOrder(task=task, steps=steps, key=key)
    carry, parameters, _ = run(work, parameters, steps, watch)
    return finish(task, carry, parameters)


@eqx.filter_jit
def start(task: Task, parameters: Any, steps: int) -> Carry:
    """The state of the method before the first step."""
    parameters = jtu.tree_map(jnp.asarray, parameters)
    state = eqx.filter(_Method(task, parameters).state, eqx.is_array)
    dtype = jax.eval_shape(lambda y: _value(y, task), parameters).dtype
    return Carry(parameters, state, jnp.asarray(0), jnp.asarray(False), jnp.full(steps, jnp.nan, dtype))


@eqx.filter_jit
def advance(task: Task, end: Int[Array, ""], carry: Carry) -> Carry:
    """Steps until `end`, which is data, or until the method is done."""
    method = _Method(task, carry.parameters)
    fixed = eqx.filter(method.state, eqx.is_array, inverse=True)
    static = method.fn, None, method.options

    def body(carry: Carry) -> Carry:
        state = eqx.combine(carry.state, fixed)
        fn, args, options = static
        y, state, _ = task.method.step(fn, carry.parameters, args, options, state, frozenset())
        done, result = task.method.terminate(fn, y, args, options, state, frozenset())
        keep = lambda new, old: jtu.tree_map(lambda a, b: a.astype(b.dtype), new, old)
        loss = _loss_in(state)
        loss = _value(y, task) if loss is None else loss
        losses = carry.losses.at[carry.step].set(loss.astype(carry.losses.dtype))
        new = keep(eqx.filter(state, eqx.is_array), carry.state)
        ends = done | (result != optx.RESULTS.successful)
        return Carry(keep(y, carry.parameters), new, carry.step + 1, ends, losses)

    return jax.lax.while_loop(lambda c: (c.step < end) & ~c.is_done, body, carry)


@eqx.filter_jit
def finish(task: Task, carry: Carry, parameters: Any) -> Solution:
    """The outcome at `parameters`, the last ones or those that a monitor kept."""
    method = _Method(task, carry.parameters)
    state = eqx.combine(carry.state, eqx.filter(method.state, eqx.is_array, inverse=True))
    _, _, stats = task.method.postprocess(
        method.fn, carry.parameters, None, None, method.options, state, frozenset(), optx.RESULTS.successful
    )
    final, failed = _judged(parameters, task)
    sound = jnp.isfinite(final) & tree_allfinite(parameters)
    # Reaching `steps` is what was asked for, not a failure.
    result = RESULTS.where(sound, RESULTS.successful, RESULTS.diverged)
    trained = eqx.combine(parameters, task.rest)
    stats = SecondOrderStats(carry.step, final, carry.losses, stats.get("matrix"), failed)
    return Solution(resolve(trained), result, stats, state=trained)


class _Method:
    """The method's own function, options and first state; rebuilt in every trace, since functions are no arrays."""

    def __init__(self, task: Task, parameters: Any):
        if isinstance(task.method, optx.AbstractLeastSquaresSolver):
            residuals = lambda y, _: (task.loss.residuals(resolve(eqx.combine(y, task.rest)), task.batch), None)
            self.fn = residuals
            self.options = {"structure": _structure(task, parameters)}
        else:
            self.fn = lambda y, _: (_value(y, task), None)
            self.options = {}
        out = jax.eval_shape(lambda y: self.fn(y, None)[0], parameters)
        if not tree_size(out):
            fix = "return them, as in `lambda model, batch: model(batch.x) - batch.y`"
            raise invalid("loss", f"residuals {out}", "at least one residual", fix)
        self.state = task.method.init(self.fn, parameters, None, self.options, out, None, frozenset())


def _structure(task: Task, parameters: Any) -> Samples | Sparsity | None:
    """The structure of the residuals as functions of the trained parameters."""
    if task.sparsity is not None:
        return task.sparsity
    structure = task.loss.structure(resolve(eqx.combine(parameters, task.rest)), task.batch)
    if not isinstance(structure, Samples):
        return None
    model = lambda y: resolve(eqx.combine(y, task.rest))
    of_parameters = lambda term: lambda y, sample: term.function(model(y), sample)
    return Samples(tuple(Term(of_parameters(term), term.data, term.scale) for term in structure.terms))


def _loss_in(state: Any) -> Any:
    """The cost that the method knows already, if it is one whose state is known."""
    if isinstance(state, LMState):
        return state.system.cost
    known = getattr(state, "f_info", None)
    return known.as_min() if isinstance(known, optx.FunctionInfo) else None


def _judged(parameters: Any, task: Task) -> tuple[Any, Any]:
    """The loss, and the fraction of failed instances."""
    if not isinstance(task.loss, AbstractLeastSquares):
        value = _value(parameters, task)
        return value, jnp.zeros_like(value)
    # All instances, in order; losses of least squares draw nothing.
    leaves = [leaf for leaf in jtu.tree_leaves(task.batch) if eqx.is_array(leaf) and leaf.ndim]
    batch = Batch(task.batch, jnp.arange(leaves[0].shape[0] if leaves else 1))
    value, _, report = task.loss.evaluate(resolve(eqx.combine(parameters, task.rest)), batch, None, key=jr.key(0))
    return jnp.asarray(value), report.failed


def _value(parameters: Any, task: Task) -> Any:
    return jnp.asarray(task.loss(resolve(eqx.combine(parameters, task.rest)), task.batch))
