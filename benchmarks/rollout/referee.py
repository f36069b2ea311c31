"""The outside referee: cost, gradient and updates in float64 NumPy, with the adjoint written by hand."""

import numpy as np
import problem
from scipy.special import erf

Weights = list[np.ndarray]  # W0, b0, W1, b1, W2, b2


def _policy(weights: Weights, x: np.ndarray) -> tuple[np.ndarray, tuple]:
    w0, b0, w1, b1, w2, b2 = weights
    z0 = x @ w0.T + b0
    a0 = _gelu(z0)
    z1 = a0 @ w1.T + b1
    a1 = _gelu(z1)
    s = 1 / (1 + np.exp(-(a1 @ w2.T + b2)))
    return problem.LOWER + (problem.UPPER - problem.LOWER) * s, (x, z0, a0, z1, a1, s)


def _gelu(z: np.ndarray) -> np.ndarray:
    return 0.5 * z * (1 + erf(z / np.sqrt(2)))


def _gelu_slope(z: np.ndarray) -> np.ndarray:
    return 0.5 * (1 + erf(z / np.sqrt(2))) + z * np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)


def _policy_adjoint(weights: Weights, saved: tuple, u_bar: np.ndarray) -> tuple[Weights, np.ndarray]:
    w0, _, w1, _, w2, _ = weights
    x, z0, a0, z1, a1, s = saved
    z2_bar = u_bar * (problem.UPPER - problem.LOWER) * s * (1 - s)
    z1_bar = (z2_bar @ w2) * _gelu_slope(z1)
    z0_bar = (z1_bar @ w1) * _gelu_slope(z0)
    grads = [z0_bar.T @ x, z0_bar.sum(0), z1_bar.T @ a0, z1_bar.sum(0), z2_bar.T @ a1, z2_bar.sum(0)]
    return grads, z0_bar @ w0


def _field(x: np.ndarray, u: np.ndarray) -> np.ndarray:
    p, v = x[:, :1], x[:, 1:]
    return np.concatenate([v, problem.MU * (1 - p**2) * v - p + u], axis=1)


def _field_adjoint(x: np.ndarray, k_bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, v = x[:, :1], x[:, 1:]
    k0, k1 = k_bar[:, :1], k_bar[:, 1:]
    p_bar = k1 * (-2 * problem.MU * p * v - 1)
    return np.concatenate([p_bar, k0 + k1 * problem.MU * (1 - p**2)], axis=1), k1


def _stages(x: np.ndarray, u: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    h, points, total = problem.DT, [x], np.zeros_like(x)
    for ahead, weight in ((h / 2, h / 6), (h / 2, h / 3), (h, h / 3), (0.0, h / 6)):
        k = _field(points[-1], u)
        total = total + weight * k
        points.append(x + ahead * k)
    return points[:4], x + total


def _step_adjoint(x: np.ndarray, u: np.ndarray, y_bar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    h = problem.DT
    points, _ = _stages(x, u)
    x_bar, u_bar, carry = y_bar.copy(), np.zeros_like(u), np.zeros_like(x)
    factors = ((0.0, h / 6), (h, h / 3), (h / 2, h / 3), (h / 2, h / 6))
    for point, (ahead, weight) in zip(reversed(points), factors, strict=True):
        p_bar, du = _field_adjoint(point, weight * y_bar + ahead * carry)
        x_bar, u_bar, carry = x_bar + p_bar, u_bar + du, p_bar
    return x_bar, u_bar


def _lanes(weights: Weights, x0: np.ndarray, horizon: int, batch: int) -> tuple[float, Weights]:
    """These lanes' part of the cost of all `batch` lanes, and its gradient."""
    x_scale = 1 / (batch * (horizon + 1) * problem.STATES)
    u_scale = problem.INPUT_WEIGHT / (batch * horizon * problem.INPUTS)
    xs, us = [x0], []
    for _ in range(horizon):
        us.append(_policy(weights, xs[-1])[0])
        xs.append(_stages(xs[-1], us[-1])[1])
    cost = x_scale * sum(np.sum(x**2) for x in xs) + u_scale * sum(np.sum(u**2) for u in us)
    grads = [np.zeros_like(w) for w in weights]
    x_bar = 2 * x_scale * xs[-1]
    for x, u in zip(reversed(xs[:-1]), reversed(us), strict=True):
        x_bar, u_bar = _step_adjoint(x, u, x_bar)
        step, through = _policy_adjoint(weights, _policy(weights, x)[1], u_bar + 2 * u_scale * u)
        grads = [g + d for g, d in zip(grads, step, strict=True)]
        x_bar = x_bar + through + 2 * x_scale * x
    return float(cost), grads


def cost_and_gradient(weights: Weights, x0: np.ndarray, horizon: int) -> tuple[float, Weights]:
    """Cost and its gradient; the lanes are taken 100 at a time to bound the memory."""
    cost, grads = 0.0, [np.zeros_like(w) for w in weights]
    for start in range(0, len(x0), 100):
        part, step = _lanes(weights, x0[start : start + 100], horizon, len(x0))
        cost, grads = cost + part, [g + d for g, d in zip(grads, step, strict=True)]
    return cost, grads


def norm(grads: Weights) -> float:
    """Global Euclidean norm."""
    return float(np.sqrt(sum(np.sum(g**2) for g in grads)))


def judge(instance: dict[str, np.ndarray], horizon: int, updates: int = problem.UPDATES_COMPARED) -> dict[str, float]:
    """Cost and gradient norm at the given weights, and the cost after `updates` clipped AdamW steps.

    Source: Loshchilov and Hutter (2019), "Decoupled weight decay regularization", algorithm 2, ICLR.
    """
    weights = [instance[f"{kind}{layer}"].astype(np.float64) for layer in range(3) for kind in "Wb"]
    x0 = instance["x0"].astype(np.float64)
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    report: dict[str, float] = {}
    for t in range(1, updates + 2):
        cost, grads = cost_and_gradient(weights, x0, horizon)
        size = norm(grads)
        report.setdefault("cost", cost)
        report.setdefault("gradient_norm", size)
        report["cost_after"] = cost
        scale = min(1.0, problem.CLIP / size)
        for i, gradient in enumerate(grads):
            g = gradient * scale
            first[i] = problem.BETA1 * first[i] + (1 - problem.BETA1) * g
            second[i] = problem.BETA2 * second[i] + (1 - problem.BETA2) * g**2
            m = first[i] / (1 - problem.BETA1**t)
            v = second[i] / (1 - problem.BETA2**t)
            decay = problem.WEIGHT_DECAY * weights[i]
            weights[i] = weights[i] - problem.LEARNING_RATE * (m / (np.sqrt(v) + problem.EPSILON) + decay)
    return report
