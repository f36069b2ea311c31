"""Checks and constants that several networks share."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sciml.core import invalid


def at_least(argument: str, got: int, least: int) -> None:
    """Raises unless a size is at least `least`."""
    if got < least:
        raise invalid(argument, got, f"an integer >= {least}", "give the number of entries, units or layers")


def number(value: Any, like: Array) -> Float[Array, ""]:
    """A stored Python float in the dtype of `like`, without derivative even if a tree map made an array of it."""
    return jax.lax.stop_gradient(jnp.asarray(value, dtype=like.dtype))
