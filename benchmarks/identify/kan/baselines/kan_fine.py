"""`nn.KAN` narrow, with as many intervals as the number of parameters allows."""

import fits

from sciml.nn import KAN


def prepare(case, data):
    """Both fits."""
    box = {"lower": case.LOWER, "upper": case.UPPER}
    return fits.prepare(lambda key: KAN(len(case.LOWER), 1, **case.KAN_FINE, **box, key=key), data, rate=case.RATE)
