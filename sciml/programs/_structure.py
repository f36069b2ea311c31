"""What is known about which entries of a decision meet in which functions, for cheap exact derivatives."""

import equinox as eqx
from jaxtyping import ArrayLike, Bool, Int


class Structure(eqx.Module):
    """Zeros of the constraints' Jacobians and of the Lagrangian's Hessian, and a colouring that exploits them.

    Entries of one group never meet in a row of a Jacobian or of the Hessian, so that one directional derivative along
    the sum of a group's unit vectors holds the entries of all its columns.

    Source: Curtis, Powell & Reid (1974), On the estimation of sparse Jacobian matrices, DOI 10.1093/imamat/13.1.117.
    """

    groups: Int[ArrayLike, " n"]
    """The group of each entry of the flattened decision."""
    ineq: Bool[ArrayLike, "g n"]
    eq: Bool[ArrayLike, "h n"]
    hessian: Bool[ArrayLike, "n n"]
    n_groups: int = eqx.field(static=True)
