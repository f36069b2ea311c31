"""A linear system of three states and two inputs without bounds: a planner should take one iteration."""

import numpy as np

N, DT = 40, 1.0
A = ((0.9, 0.3, 0.0), (-0.3, 0.9, 0.2), (0.1, 0.0, 0.8))
B = ((0.2, 0.0), (0.5, 0.3), (0.0, -0.6))
X0, SPREAD = np.zeros(3), np.ones(3)
GOAL, REST, U0 = np.array([0.5, 0.0, -0.2]), np.zeros(2), np.zeros(2)
Q, R, P = np.array([1.0, 2.0, 0.5]), np.array([0.3, 0.5]), np.full(3, 3.0)
LOWER, UPPER = None, None


def step(x, u, xp):
    """`A x + B u`, by components."""
    xs, us = xp.parts(x), xp.parts(u)
    rows = zip(A, B, strict=True)
    return xp.stack([sum(a * v for a, v in zip((*r, *s), (*xs, *us), strict=True)) for r, s in rows])
