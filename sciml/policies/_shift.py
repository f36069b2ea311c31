"""Plans and their multipliers one step later."""

from typing import Any

import jax.numpy as jnp
import jax.tree_util as jtu

from sciml.programs import Duals, Elastic, Shooting


def one_step_later(value: Shooting | Elastic, duals: Duals) -> tuple[Shooting | Elastic, Duals]:
    """The part of a plan that is still ahead, and its multipliers; the last stage is repeated.

    What belongs to the end of the horizon (terminal limits and their slacks) stays where it is.
    Source: Diehl, Bock & Schlöder (2005), A real-time iteration scheme, section 4 (shift initialisation).
    """
    defects, end = duals.eq
    ineq, eq = _stages_first(duals.ineq), (_later(defects), end)
    return _decision(value), Duals(ineq, eq, _decision(duals.lower), _decision(duals.upper))


def _decision(z: Shooting | Elastic) -> Shooting | Elastic:
    if isinstance(z, Shooting):
        return Shooting(_later(z.x), _later(z.u))
    return Elastic(_decision(z.z), _stages_first(z.ineq), z.above, z.below)


def _stages_first(ineq: tuple[Any, ...]) -> tuple[Any, ...]:
    """Entries of path limits one stage later, those of terminal limits as they are; a problem may have neither."""
    return (_later(ineq[0]), *ineq[1:])[: len(ineq)] if ineq else ineq


def _later(tree: Any) -> Any:
    """Every leaf without its first entry, the last one twice."""
    return jtu.tree_map(lambda v: jnp.concatenate([v[1:], v[-1:]]), tree)
