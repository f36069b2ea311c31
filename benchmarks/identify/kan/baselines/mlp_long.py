"""The MLP with ten times as many steps of Adam, and the lower rate that they allow: still less work than a KAN."""

import fits
from baselines.mlp import build


def prepare(case, data):
    """The fit by Adam."""
    return fits.prepare(build(case), data, rate=0.003, adam=20_000, lm=0)
