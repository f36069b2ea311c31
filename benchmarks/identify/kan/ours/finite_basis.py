"""`nn.FiniteBasis` of `nn.KAN`s: one small network for each overlapping box."""

import fits

from sciml.nn import FiniteBasis, KAN


def prepare(case, data):
    """Both fits."""
    counts, sizes = case.FINITE_BASIS
    piece = lambda key: KAN(len(counts), 1, **sizes, key=key)
    box = {"counts": counts, "lower": case.LOWER, "upper": case.UPPER}
    return fits.prepare(lambda key: FiniteBasis(piece, **box, key=key), data, rate=case.RATE)
