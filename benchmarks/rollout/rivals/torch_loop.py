"""The same step as a plain PyTorch loop: append to a list, stack once."""

import problem
import torch


class Policy(torch.nn.Module):
    """Bounded MLP."""

    def __init__(self, instance):
        super().__init__()
        self.layers = torch.nn.ModuleList()
        for layer in range(3):
            weight = torch.from_numpy(instance[f"W{layer}"]).clone()
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0])
            linear.weight.data, linear.bias.data = weight, torch.from_numpy(instance[f"b{layer}"]).clone()
            self.layers.append(linear)

    def forward(self, x):
        """Input at state `x`."""
        gelu = torch.nn.functional.gelu
        a = gelu(self.layers[1](gelu(self.layers[0](x))))
        return problem.LOWER + (problem.UPPER - problem.LOWER) * torch.sigmoid(self.layers[2](a))


def _field(x, u):
    p, v = x[:, :1], x[:, 1:]
    return torch.cat([v, problem.MU * (1 - p**2) * v - p + u], dim=1)


def _advance(x, u):
    h = problem.DT
    k1 = _field(x, u)
    k2 = _field(x + h / 2 * k1, u)
    k3 = _field(x + h / 2 * k2, u)
    k4 = _field(x + h * k3, u)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def descend(parameters, cost):
    """A function that does one clipped AdamW step on `cost()` and returns cost and gradient norm."""
    parameters = list(parameters)
    optimiser = torch.optim.AdamW(
        parameters,
        lr=problem.LEARNING_RATE,
        betas=(problem.BETA1, problem.BETA2),
        eps=problem.EPSILON,
        weight_decay=problem.WEIGHT_DECAY,
    )

    def step():
        optimiser.zero_grad()
        value = cost()
        value.backward()
        size = torch.nn.utils.clip_grad_norm_(parameters, problem.CLIP)
        optimiser.step()
        return value.item(), size.item()

    return step


def prepare(instance, horizon):
    """One gradient step as a function, and no compilation."""
    torch.set_num_threads(1)
    policy, x0 = Policy(instance), torch.from_numpy(instance["x0"])

    def cost():
        x, states, inputs = x0, [x0], []
        for _ in range(horizon):
            u = policy(x)
            x = _advance(x, u)
            states.append(x)
            inputs.append(u)
        mean_square = torch.stack(states, dim=1).square().mean()
        return mean_square + problem.INPUT_WEIGHT * torch.stack(inputs, dim=1).square().mean()

    return descend(policy.parameters(), cost), 0.0
