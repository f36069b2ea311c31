"""Random keys at the public door."""

from typing import Any

import jax
import jax.numpy as jnp

from ._errors import wrong_type


def check_key(key: Any, argument: str = "key") -> None:
    """Raises unless `key` is one key of `jax.random`, of the new or the old kind."""
    dtype, shape = getattr(key, "dtype", None), getattr(key, "shape", None)
    typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    if not ((typed and shape == ()) or (dtype == jnp.uint32 and shape == (2,))):
        got = repr(key) if dtype is None else f"an array of shape {shape} and dtype {dtype}"
        fix = f"make one: `jax.random.key({key})`" if type(key) is int else "make one: `jax.random.key(0)`"
        raise wrong_type(argument, got, "one key of `jax.random`", fix)
