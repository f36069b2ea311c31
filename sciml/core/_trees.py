"""Pytrees as one flat vector, and small helpers on them."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float

from ._errors import invalid


def as_arrays(tree: Any) -> Any:
    """`tree` with every Python number converted to an array, so that new numbers do not recompile."""

    def convert(leaf: Any) -> Any:
        return jnp.asarray(leaf) if eqx.is_array_like(leaf) else leaf

    return jtu.tree_map(convert, tree)


def as_floats(tree: Any, argument: str) -> Any:
    """`tree` with every leaf a floating-point array; integers are promoted to the default float."""
    default = jnp.zeros(()).dtype

    def convert(path: Any, leaf: Any) -> Array:
        if not eqx.is_array_like(leaf):
            raise invalid(
                f"{argument}{jtu.keystr(path)}",
                f"a {type(leaf).__name__}",
                "a number or an array",
                "make every leaf of the record numeric",
            )
        array = jnp.asarray(leaf)
        # `astype` makes weak types strong: the same numbers as Python floats and as arrays share one compilation.
        return array.astype(array.dtype if jnp.issubdtype(array.dtype, jnp.floating) else default)

    return jtu.tree_map_with_path(convert, tree)


def ravel(tree: Any) -> tuple[Float[Array, " n"], Callable[[Float[Array, " n"]], Any]]:
    """The leaves of `tree` as one vector (of floats even if empty), and the inverse function."""
    flat, unravel = ravel_pytree(tree)
    if flat.size == 0:
        return jnp.zeros((0,)), lambda _: tree
    return flat, unravel


def tree_size(tree: Any) -> int:
    """The number of entries over all leaves."""
    return sum(int(leaf.size) for leaf in jtu.tree_leaves(tree))


def tree_where(pred: Bool[Array, ""], on_true: Any, on_false: Any) -> Any:
    """`jnp.where` leaf by leaf, for two trees of arrays with the same structure."""
    return jtu.tree_map(lambda a, b: jnp.where(pred, a, b), on_true, on_false)


def where_needed(needed: Bool[Array, ""], compute: Callable[[], Any], default: Any) -> Any:
    """`compute()` where it is needed, else `default`, a tree of arrays like it. Differentiable in forward mode.

    Runs as a loop of at most one iteration: under `vmap`, a batch computes it only if one of its instances needs it.
    """
    given, rest = eqx.partition(eqx.filter_closure_convert(compute), eqx.is_array)

    def once(carry: tuple[Array, Any]) -> tuple[Array, Any]:
        # All that is computed from depends on the carry: what does not, a compiler takes out of the loop, and then it
        # is computed always, and beside other work (decision 2).
        _, here = jax.lax.optimization_barrier((carry[0], given))
        return jnp.asarray(False), eqx.combine(here, rest)()

    return jax.lax.while_loop(lambda carry: carry[0], once, (jnp.asarray(needed), default))[1]


def tree_allfinite(tree: Any) -> Bool[Array, ""]:
    """Whether every floating-point entry is finite."""
    leaves = [jnp.all(jnp.isfinite(x)) for x in jtu.tree_leaves(tree) if eqx.is_inexact_array(x)]
    return jnp.all(jnp.stack(leaves)) if leaves else jnp.asarray(True)


def batch_size(tree: Any, argument: str) -> int:
    """The common length of the leading axis of all leaves of `tree`."""
    shapes = {jtu.keystr(p): jnp.shape(x) for p, x in jtu.tree_leaves_with_path(tree)}
    sizes = {s[0] for s in shapes.values() if s}
    if len(sizes) != 1 or not all(shapes.values()):
        raise invalid(
            argument, f"leaves of shapes {shapes}", "one common leading axis", "stack the instances with `jnp.stack`"
        )
    return sizes.pop()


def slice_batch(tree: Any, start: int, stop: int) -> Any:
    """Instances `start` to `stop` of a batched tree."""
    return jtu.tree_map(lambda x: x[start:stop], tree)


def stack(trees: list[Any]) -> Any:
    """A list of trees with the same structure, stacked into one tree with a leading axis."""
    return jtu.tree_map(lambda *xs: jnp.stack([jnp.asarray(x) for x in xs]), *trees)


def stop_gradient(tree: Any) -> Any:
    """`tree` with zero derivatives; leaves that are no arrays are unchanged."""
    return jtu.tree_map(lambda x: jax.lax.stop_gradient(x) if eqx.is_inexact_array(x) else x, tree)
