"""One Levenberg-Marquardt step in each regime, against JAX written by hand with the same Jacobian in chunks.

python benchmarks/training/least_squares/run.py
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import examples  # noqa: E402

if __name__ == "__main__":
    words = {"levenberg_marquardt": "Levenberg-Marquardt", "hand_written": "hand-written JAX"}
    examples.main(__file__, __doc__, actions={"step": "a step"}, names=words, ratio=1 / 1.1, patience=900.0)
