"""STLSQ on smoothed finite differences; on plain ones where there is no noise."""

import pysindy as ps
from rivals._common import actions


def prepare(case, data):
    """Smoothed derivatives, as pysindy's guide has them for noisy data."""
    is_clean = int(data["degree"]) == 1
    slopes = ps.FiniteDifference(order=4) if is_clean else ps.SmoothedFiniteDifference()
    return actions(data, lambda lib, opt, t: ps.SINDy(opt, feature_library=lib, differentiation_method=slopes))
