"""The Lorenz system over 10 time units, sampled at 0.01: 32 draws of noise at each level."""

from cases._common import judge as judge, metrics, records

METRICS = metrics({0.1: 30, 0.2: 24})


def instance(seed):
    return records(10, seed)
