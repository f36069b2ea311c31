"""An ensemble of 50 models on the weak form."""

import pysindy as ps
from rivals._common import actions


def prepare(case, data):
    """Not for the case without noise."""
    if int(data["degree"]) == 1:
        return None

    def make(library, optimizer, t):
        weak = ps.WeakPDELibrary(function_library=library, spatiotemporal_grid=t, K=500)
        ensemble = ps.EnsembleOptimizer(optimizer, bagging=True, n_models=50)
        return ps.SINDy(ensemble, feature_library=weak)

    return actions(data, make)
