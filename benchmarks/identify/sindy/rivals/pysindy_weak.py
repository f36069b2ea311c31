"""The weak form with 500 domains of the default size."""

import pysindy as ps
from rivals._common import actions


def prepare(case, data):
    """Not for the case without noise."""
    if int(data["degree"]) == 1:
        return None

    def make(library, optimizer, t):
        weak = ps.WeakPDELibrary(function_library=library, spatiotemporal_grid=t, K=500)
        return ps.SINDy(optimizer, feature_library=weak)

    return actions(data, make)
