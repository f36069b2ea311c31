"""Metrics: certificates for decisions, errors of forecasts, tests of residuals, identifiability and uncertainty."""

from ._binomial import clopper_pearson as clopper_pearson
from ._certify import Certificate as Certificate, certify as certify
from ._decisions import suboptimality as suboptimality, violations as violations
from ._forecast import (
    forecast_errors as forecast_errors,
    ForecastErrors as ForecastErrors,
    nrmse as nrmse,
    r2 as r2,
    rmse as rmse,
)
from ._identifiability import (
    Direction as Direction,
    Identifiability as Identifiability,
    identifiability as identifiability,
    sensitivities as sensitivities,
)
from ._uncertainty import covariance as covariance, sample_parameters as sample_parameters
from ._whiteness import (
    CorrelationTest as CorrelationTest,
    input_correlation as input_correlation,
    whiteness as whiteness,
)
