"""A table of what a program takes and returns."""

from typing import Any

import jax
import jax.tree_util as jtu

from ..core import as_floats
from ._program import AbstractProgram, bounds, constraints, cost


def describe(program: AbstractProgram, z: Any, p: Any = None) -> str:
    """Prints and returns a table of the name, shape and dtype of every leaf that a program takes or returns.

    Use it to check that a program means what you think. The functions are traced, not evaluated.

    Args:
        program: the program.
        z: a decision; only its structure matters.
        p: an instance; only its structure matters.

    Examples:
        ```python
        program = sciml.Program(lambda z, p: z["x"] ** 2, ineq=lambda z, p: {"above": p - z["x"]})
        assert "above" in sciml.describe(program, {"x": 1.0}, 0.5)
        ```
    """
    z, p = as_floats(z, "z"), p
    shapes = jax.eval_shape(lambda z, p: (bounds(program, z, p), cost(program, z, p), constraints(program, z, p)), z, p)
    (lower, upper), objective, (ineq, eq) = shapes
    blocks = {"z": z, "p": p, "lower": lower, "upper": upper, "objective": objective, "ineq": ineq, "eq": eq}
    rows = [("leaf", "shape", "dtype")]
    for name, block in blocks.items():
        for path, leaf in jtu.tree_leaves_with_path(block):
            shape, dtype = getattr(leaf, "shape", ()), getattr(leaf, "dtype", type(leaf).__name__)
            rows.append((name + jtu.keystr(path), str(tuple(shape)), str(dtype)))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    table = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    print(table)
    return table
