"""Multiple shooting: short simulations from free states, and the gaps between them."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..core import invalid, ravel
from ..simulation import replay
from ..sources import Record, stack, unstack
from ._abstract import AbstractLeastSquares
from ._sparsity import Sparsity


class Segments(eqx.Module):
    """Records cut into segments that share their end points, one after the other; made by `segments`."""

    pieces: Record
    """The segments, stacked; a short one is padded."""
    weight: Float[Array, "segment time output"]
    """Of every sample; zero where nothing was measured, at an end that the next segment begins with, and where a sample
    is held out."""
    continues: Bool[Array, " link"]
    """Whether segment `k + 1` goes on where segment `k` ends: False where a record ends."""


def segments(data: Record, length: int | None = None, *, weight: Float[Array, "..."] | None = None) -> Segments:
    """Cuts one or several records into segments of `length` intervals for multiple shooting. Not for use inside `jit`.

    Args:
        data: one record, or several of any lengths.
        length: intervals of a segment, >= 1; the last segment of a record may be shorter. None for whole records
            (single shooting).
        weight: of every sample, like `data.y`; None for one. Samples that were not measured never count.

    Raises:
        ValueError: `length < 1`, or weights of another shape.
    """
    if length is not None and length < 1:
        raise invalid("length", length, "an integer >= 1", "a segment of some tens of intervals is a good start")
    weight = jnp.ones_like(data.y) if weight is None else weight
    if weight.shape != data.y.shape:
        raise invalid("weight", f"shape {weight.shape}", f"{data.y.shape}, that of `y`", "give one weight per sample")
    weighted = Record(data.t, data.u, weight, data.is_measured, data.length)
    parts: list[Record] = []
    weights: list[np.ndarray] = []
    continues: list[bool] = []
    for one, its in zip(unstack(data), unstack(weighted), strict=True):
        last = one.t.shape[0] - 1
        starts = range(0, last, last if length is None else length)
        for start in starts:
            stop = min(start + starts.step, last)
            cut: Any = lambda leaf, a=start, b=stop: None if leaf is None else leaf[a : b + 1]
            parts.append(
                Record(cut(one.t), cut(one.u), cut(one.y), cut(one.is_measured), jnp.asarray(stop + 1 - start))
            )
            is_last = stop == last
            counts = np.where(cut(one.is_measured), cut(its.y), 0)
            weights.append(counts if is_last else np.concatenate([counts[:-1], 0 * counts[-1:]]))
            continues.append(not is_last)
    pieces = stack(parts)
    padded = [np.pad(w, ((0, pieces.t.shape[1] - len(w)), (0, 0))) for w in weights]
    return Segments(pieces, jnp.asarray(np.stack(padded)), jnp.asarray(np.array(continues[:-1], bool)))


class Shot(eqx.Module):
    """What multiple shooting fits: a model, and the state at the start of each segment."""

    model: Any
    starts: Float[Array, "*batch segment x"]


def replayed(model: Any, x0: Any, piece: Record) -> tuple[Any, Any]:
    """Outputs and end state of one segment, by `simulation.replay` with RK4: the default of multiple shooting."""
    run = replay(model, x0, piece)
    return run.y, jax.tree.map(lambda x: x[-1], run.x)


class MultipleShooting(AbstractLeastSquares):
    """Misfit of short simulations from free initial states, plus the gaps between one segment's end and the next start.

    Short segments keep the problem close to linear and their simulations stable; a rising `continuity` closes the gaps.
    With one segment for each record it is single shooting, with the initial states as unknowns.

    Args:
        continuity: weight of the gaps, an array so that raising it does not recompile.
        simulate: `(model, x0, piece) -> (y, x_end)` for one segment, a `Record`; outputs at all of its samples, and the
            state at its last one (padding keeps the state). `replayed` for a system.
        prior: `(model, starts) -> pytree of residuals`, what is believed beforehand about the model and the first
            start, `starts[0]` (no derivative reaches the others); None for nothing.

    Residuals are scaled so that the loss is half the mean squared misfit over weighted samples, plus half the weighted
    mean squared gap.

    Source: Bock (1981), Numerical treatment of inverse problems in chemical reaction kinetics, DOI
    10.1007/978-3-642-68220-9_8; Forgione & Piga (2021), Continuous-time system identification with neural networks, DOI
    10.1016/j.ejcon.2021.01.008, for the relation to truncated simulation error.
    """

    continuity: Float[Array, ""]
    simulate: Callable[[Any, Any, Any], tuple[Any, Any]] = replayed
    prior: Callable[[Any, Any], Any] | None = None

    def residuals(self, model: Shot, batch: Segments) -> Any:
        """Misfit, gaps and prior."""
        y, ends = jax.vmap(lambda x0, piece: self.simulate(model.model, x0, piece))(model.starts, batch.pieces)
        misfit = (y - batch.pieces.y) * jnp.sqrt(batch.weight / jnp.sum(batch.weight))
        gaps = self.continuity * (ends[:-1] - model.starts[1:]) / model.starts.shape[0] ** 0.5
        gaps = jnp.where(batch.continues[:, None], gaps, 0)
        # `structure` promises that the prior touches the first start only.
        starts = jnp.concatenate([model.starts[:1], jax.lax.stop_gradient(model.starts[1:])])
        return misfit, gaps, () if self.prior is None else self.prior(model.model, starts)

    def structure(self, model: Shot, batch: Segments) -> Sparsity | None:
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
