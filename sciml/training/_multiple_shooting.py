"""Identification from a record: multiple shooting from many starts, then single shooting from the best ones."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from ..core import batch_size, invalid, progress_bar, RESULTS, Solution
from ..losses import MultipleShooting, Segments, Shot
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
    simulate: Callable[[Any, Any, Any], tuple[Any, Any]],
    u: Any,
    y: Float[Array, "time ..."],
    *,
    x0: Float[Array, " x"],
    length: int,
    align: Callable[[Any, Any], Any] | None = None,
    prior: Callable[[Any, Any], Any] | None = None,
    weight: Float[Array, "time ..."] | None = None,
    continuity: tuple[float, ...] = (0.3, 1.0, 3.0),
    steps: int = 10,
    keep: int = 4,
    polish: int = 30,
    method: LevenbergMarquardt | None = None,
    progress: bool = True,
) -> Solution:
    """Identifies a model and its initial state from a record, by multiple shooting from many starts.

    Choose it for dynamical models with local optima. One compiled program fits all starts with rising `continuity`; a
    start that diverges does not affect the others. Single shooting then refines the `keep` starts with the best free
    run.

    Args:
        models: models with a leading axis, the start.
        simulate: `(model, x0, u) -> (y, x_end)` for a piece of the record.
        u, y: input and measured output, leading axis time.
        x0: guess of the initial state.
        length: samples per segment; must divide the record's length.
        align: `(x, y) -> x`, puts the measurement into the first guess of a segment's initial state; None keeps the
            simulated state.
        prior: `(model, starts) -> residuals`, see `MultipleShooting`.
        weight: weight of every sample; None for one.
        continuity: weights of the gaps between segments, used one after the other.
        steps: Levenberg-Marquardt steps for each weight.
        keep: number of starts to refine.
        polish: steps of single shooting.
        method: default `LevenbergMarquardt(longest=2.0)`.
        progress: show a bar.

    Raises:
        ValueError: a `length` that does not divide the record, `u` and `y` of different lengths.

    Returns:
        `Solution`: `value` is a `Shot` (model and its initial state); `stats` is `ShootingStats`; `state` the polished
        members, stacked. `RESULTS.diverged` if no start survived.

    Source: see `losses.MultipleShooting`.
    """
    method = LevenbergMarquardt(longest=2.0) if method is None else method
    weight = jnp.ones_like(y) if weight is None else weight
    batch_size({"u": u, "y": y, "weight": weight}, "u, y")
    if length < 1 or y.shape[0] % length:
        fix = "cut the record, or choose a divisor of its length"
        raise invalid("length", length, f"a divisor of the record's {y.shape[0]} samples", fix)
    keep = min(keep, batch_size(eqx.filter(models, eqx.is_array), "models"))
    pieces, whole = _cut(u, y, weight, length), _cut(u, y, weight, y.shape[0])
    with progress_bar(len(continuity) + 2, "identify", shown=progress) as bar:
        shots = _first_guess(models, simulate, x0, pieces, align)
        bar.update(1)
        for gap in continuity:
            loss = MultipleShooting(simulate, jnp.asarray(gap, y.dtype), prior)
            shots = ensemble(shots, loss, pieces, method, steps=steps).state
            bar.update(1)
        loss = MultipleShooting(simulate, jnp.ones((), y.dtype), prior)
        singles = Shot(shots.model, shots.starts[:, :1])
        screened = _screen(singles, loss, whole)
        best = pick_member(singles, jnp.argsort(screened)[:keep])
        final = ensemble(best, loss, whole, method, steps=polish)
        bar.update(1)
    winner = final.stats.order[0]
    failed = jnp.mean((~jnp.isfinite(screened)).astype(y.dtype))
    stats = ShootingStats(final.stats.losses, screened, failed, final.stats.matrix[winner])
    sound = jnp.isfinite(final.stats.losses[winner])
    result = RESULTS.where(sound, RESULTS.successful, RESULTS.diverged)
    return Solution(final.value, result, stats, state=final.state)


def _cut(u: Any, y: Any, weight: Any, length: int) -> Segments:
    cut = lambda a: a.reshape(-1, length, *a.shape[1:])
    return Segments(jax.tree.map(cut, u), cut(y), cut(weight))


@eqx.filter_jit
def _first_guess(models: Any, simulate: Any, x0: Any, pieces: Segments, align: Any) -> Shot:
    """Segment starts from each start's own free run, with the measurement put in."""

    def one(model: Any) -> Any:
        _, starts = jax.lax.scan(lambda x, u: (simulate(model, x, u)[1], x), x0, pieces.u)
        starts = jnp.where(jnp.isfinite(starts), starts, x0)
        return starts if align is None else jax.vmap(align)(starts, pieces.y[:, 0])

    return Shot(models, eqx.filter_vmap(one)(models))


@eqx.filter_jit
def _screen(shots: Shot, loss: MultipleShooting, whole: Segments) -> Any:
    values = eqx.filter_vmap(lambda shot: loss(shot, whole))(shots)
    return jnp.where(jnp.isfinite(values), values, jnp.inf)
