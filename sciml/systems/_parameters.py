"""Conversion and checks of the parameters of a system."""

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from sciml.core import invalid


def parameter(value: ArrayLike) -> Float[Array, "..."]:
    """`value` as a floating-point array; integers and Python numbers get the default float dtype."""
    dtype = getattr(value, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jnp.floating):
        return jnp.asarray(value)
    return jnp.asarray(value, dtype=jnp.zeros(()).dtype)


def positive_scalar(value: ArrayLike, argument: str, fix: str) -> Float[Array, ""]:
    """`value` as a scalar array, checked to be finite and positive where it is concrete."""
    array = parameter(value)
    if array.shape != ():
        raise invalid(argument, f"an array of shape {array.shape}", "a scalar", fix)
    if not isinstance(array, jax.core.Tracer) and not (0 < float(array) < float("inf")):
        raise invalid(argument, float(array), "a finite number > 0", fix)
    return array


def like(value: Array, x: object) -> Array:
    """A time or a step size cast to the dtype of the state `x`, so that it never promotes the state."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(x) if eqx.is_inexact_array(leaf)]
    return jnp.asarray(value).astype(jnp.result_type(*dtypes)) if dtypes else jnp.asarray(value)
