"""What laws need of any registry: which public classes it has to hold, and how two results are compared."""

from types import ModuleType
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np


def public(*packages: ModuleType, of: type) -> set[type]:
    """The public final classes of packages that subclass `of`; abstract ones say so by their name."""
    named = {v for package in packages for k, v in vars(package).items() if not k.startswith("_")}
    found = {v for v in named if isinstance(v, type) and issubclass(v, of)}
    return {v for v in found if not v.__name__.startswith("Abstract")}


def cast(tree: Any, dtype: Any) -> Any:
    """Every inexact array in `dtype`."""
    return jax.tree.map(lambda x: jnp.asarray(x, dtype) if eqx.is_inexact_array_like(x) else x, tree)


def assert_equal(one: Any, other: Any, *, rtol: float, atol: float = 0.0) -> None:
    """The same structure, shapes and, up to rounding, numbers."""
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert np.shape(a) == np.shape(b)
        np.testing.assert_allclose(np.asarray(a, float), np.asarray(b, float), rtol=rtol, atol=atol)
