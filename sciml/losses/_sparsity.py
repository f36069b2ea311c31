"""Jacobians of sparse residuals from few directional derivatives."""

import equinox as eqx
import numpy as np
from jaxtyping import ArrayLike, Bool, Int


class Sparsity(eqx.Module):
    """The sparsity of a Jacobian: groups of columns that share no row, and the nonzero rows of each column.

    One directional derivative per group, along the sum of its unit vectors, gives the entries of all its columns
    (Curtis, Powell & Reid 1974, On the estimation of sparse Jacobian matrices, DOI 10.1093/imamat/13.1.117).
    """

    groups: Int[ArrayLike, " column"]
    """The group of each column, 0 ... n_groups - 1."""
    pattern: Bool[ArrayLike, "row column"]
    """Where the Jacobian may be nonzero."""
    n_groups: int = eqx.field(static=True)
    """How many directional derivatives give the whole Jacobian."""

    @staticmethod
    def chain(shared: int, blocks: tuple[int, ...], rows: tuple[int, int, int]) -> "Sparsity":
        """The sparsity of shared columns and a chain of blocks, where each block affects itself and its predecessor.

        Args:
            shared: number of shared columns, which come first.
            blocks: (number of blocks, entries per block).
            rows: residuals per block, per link between neighbours, and at the end, where only the shared parameters and
                the first block have an effect.
        """
        count, size = blocks
        per_block, per_link, tail = rows
        n, m = shared + count * size, count * per_block + (count - 1) * per_link + tail
        pattern = np.zeros((m, n), bool)
        pattern[:, :shared] = True
        for block in range(count):
            columns = slice(shared + block * size, shared + (block + 1) * size)
            pattern[block * per_block : (block + 1) * per_block, columns] = True
            start = count * per_block
            pattern[start + max(block - 1, 0) * per_link : start + min(block + 1, count - 1) * per_link, columns] = True
        pattern[m - tail :, shared : shared + size] = True
        # Block k meets k-1 and k+1 in the links: neighbours differ modulo 2; the tail sees one block only.
        colour = shared + (np.arange(count)[:, None] % 2) * size + np.arange(size)
        return Sparsity(np.concatenate([np.arange(shared), colour.ravel()]), pattern, shared + min(count, 2) * size)
