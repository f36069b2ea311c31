"""Functions of one and two inputs from noisy samples: Kolmogorov-Arnold networks, finite-basis ones, and MLPs.

python benchmarks/identify/kan/run.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import examples  # noqa: E402

if __name__ == "__main__":
    actions = {"adam": "a fit by Adam", "lm": "a fit by Levenberg-Marquardt"}
    words = {"finite_basis": "finite-basis KAN", "kan": "KAN", "kan_fine": "KAN, finer grid", "mlp": "MLP"}
    words |= {"mlp_long": "MLP, 20,000 steps"}
    examples.main(__file__, __doc__, actions=actions, names=words, budget=0.0, patience=900.0)
