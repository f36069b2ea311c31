"""One input, networks of about 900 parameters."""

from cases._common import judge as judge, METRICS as METRICS, one_input as instance  # noqa: F401

LOWER, UPPER, RATE = (0.0,), (2.0,), 0.01
KAN = {"width": 50, "depth": 1}
KAN_FINE = {"width": 5, "depth": 1, "grid": 86}
FINITE_BASIS = ((10,), {"width": 5, "depth": 1})
MLP = {"width_size": 20, "depth": 3}
