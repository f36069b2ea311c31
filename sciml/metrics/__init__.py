"""Metrics: certificates for decisions, errors of forecasts, uncertainty of estimates."""

from ._binomial import clopper_pearson as clopper_pearson
from ._certify import Certificate as Certificate, certify as certify
from ._decisions import suboptimality as suboptimality, violations as violations
from ._forecast import free_run as free_run, FreeRun as FreeRun, nrmse as nrmse, r2 as r2, rmse as rmse
from ._uncertainty import covariance as covariance, sample_parameters as sample_parameters
