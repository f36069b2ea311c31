"""Identification from a record: multiple shooting from many starts, then single shooting from the best ones."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ..core import batch_size, progress_bar, RESULTS, Solution
from ..losses import MultipleShooting, replayed, Segments, segments, Shot
from ..sources import Record
from ._ensemble import ensemble, pick_member
from ._gauss_newton import LevenbergMarquardt


class ShootingStats(eqx.Module):
    """Statistics of an identification."""

    losses: Float[Array, " kept"]
    """Final single-shooting loss (half the mean squared misfit, prior included) of the starts that were polished."""
    screened: Float[Array, " start"]
    """Single-shooting loss of every start after multiple shooting; infinite where its simulation failed."""
    failed: Scalar
    """Fraction of starts whose simulation over the whole record is not finite."""
    matrix: Float[Array, "n n"]
    """`JᵀJ` at the answer, over the model's parameters followed by the initial state, prior included."""


def multiple_shooting(
    models: Any,
    data: Record,
    *,
    x0: Float[Array, "*record x"],
    length: int,
    simulate: Callable[[Any, Any, Any], tuple[Any, Any]] = replayed,
    align: Callable[[Any, Any], Any] | None = None,
    prior: Callable[[Any, Any], Any] | None = None,
    weight: Float[Array, "*record time output"] | None = None,
    continuity: tuple[float, ...] = (0.3, 1.0, 3.0),
    steps: int = 10,
    keep: int = 4,
    polish: int = 30,
    method: LevenbergMarquardt | None = None,
    progress: bool = True,
) -> Solution:
    """Identifies a model and its initial states from records, by multiple shooting from many starts.

    Choose it for dynamical models with local optima. One compiled program fits all starts with rising `continuity`; a
    start that diverges does not affect the others. Single shooting then refines the `keep` starts with the best free
    run.

    Args:
        models: models with a leading axis, the start.
        data: one record, or several of any lengths.
        x0: guess of the initial state, one for all records or one for each.
        length: intervals per segment; the last segment of a record may be shorter.
        simulate: `(model, x0, piece) -> (y, x_end)`, see `losses.MultipleShooting`; by default the models are systems.
        align: `(x, y) -> x`, puts the measurement into the first guess of a segment's initial state, where all
            channels were measured; None keeps the simulated state.
        prior: `(model, starts) -> residuals`, see `MultipleShooting`.
        weight: weight of every sample, like `data.y`; None for one.
        continuity: weights of the gaps between segments, used one after the other.
        steps: Levenberg-Marquardt steps for each weight.
        keep: number of starts to refine.
        polish: steps of single shooting.
        method: default `LevenbergMarquardt(longest=2.0)`.
        progress: show a bar.

    Raises:
        ValueError: `length < 1`, weights of another shape than the outputs.

    Returns:
        `Solution`: `value` is a `Shot` (model, and the initial state of each record); `stats` is `ShootingStats`;
        `state` the polished members, stacked. `RESULTS.diverged` if no start survived.

    Source: see `losses.MultipleShooting`.
    """
    method = LevenbergMarquardt(longest=2.0) if method is None else method
    keep = min(keep, batch_size(eqx.filter(models, eqx.is_array), "models"))
    pieces, whole = segments(data, length, weight=weight), segments(data, weight=weight)
    dtype = data.y.dtype
    # Where each record begins among the segments, and its first guess.
    begins = jnp.concatenate([jnp.ones(1, bool), ~pieces.continues])
    guesses = jnp.broadcast_to(x0, (whole.weight.shape[0], x0.shape[-1]))[jnp.cumsum(begins) - 1]
    with progress_bar(len(continuity) + 2, "identify", shown=progress) as bar:
        shots = _first_guess(models, simulate, guesses, begins, pieces, align)
        bar.update(1)
        for gap in continuity:
            loss = MultipleShooting(jnp.asarray(gap, dtype), simulate, prior)
            shots = ensemble(shots, loss, pieces, method, steps=steps).state
            bar.update(1)
        loss = MultipleShooting(jnp.ones((), dtype), simulate, prior)
        singles = Shot(shots.model, shots.starts[:, begins])
        screened = _screen(singles, loss, whole)
        best = pick_member(singles, jnp.argsort(screened)[:keep])
        final = ensemble(best, loss, whole, method, steps=polish)
        bar.update(1)
    winner = final.stats.order[0]
    failed = jnp.mean((~jnp.isfinite(screened)).astype(dtype))
    stats = ShootingStats(final.stats.losses, screened, failed, final.stats.matrix[winner])
    sound = jnp.isfinite(final.stats.losses[winner])
    result = RESULTS.where(sound, RESULTS.successful, RESULTS.diverged)
    return Solution(final.value, result, stats, state=final.state)


@eqx.filter_jit
def _first_guess(models: Any, simulate: Any, guesses: Any, begins: Any, pieces: Segments, align: Any) -> Shot:
    """Segment starts from each start's own free run, with the measurement put in."""

    def one(model: Any) -> Any:
        starts = _run_through(model, simulate, guesses, begins, pieces)
        if align is None:
            return starts
        # Where a channel is missing there is nothing to align to: `y` would be the 0 in its place.
        is_known = jnp.all(pieces.pieces.is_measured[:, 0], axis=1)
        return jnp.where(is_known[:, None], jax.vmap(align)(starts, pieces.pieces.y[:, 0]), starts)

    return Shot(models, eqx.filter_vmap(one)(models))


def _run_through(model: Any, simulate: Any, guesses: Any, begins: Any, pieces: Segments) -> Any:
    """The state at the start of every segment, of one free run for each record."""

    def advance(x: Any, segment: Any) -> Any:
        guess, is_first, piece = segment
        x = jnp.where(is_first, guess, x)
        return simulate(model, x, piece)[1], x

    _, starts = jax.lax.scan(advance, guesses[0], (guesses, begins, pieces.pieces))
    return jnp.where(jnp.isfinite(starts), starts, guesses)


@eqx.filter_jit
def _screen(shots: Shot, loss: MultipleShooting, whole: Segments) -> Any:
    values = eqx.filter_vmap(lambda shot: loss(shot, whole))(shots)
    return jnp.where(jnp.isfinite(values), values, jnp.inf)
