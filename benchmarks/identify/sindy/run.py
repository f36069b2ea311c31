"""Sparse identification: which method finds exactly the terms of a chaotic system from noisy records.

python benchmarks/identify/sindy/run.py --rivals-python PATH
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from harness import examples  # noqa: E402

if __name__ == "__main__":
    words = {
        "pysindy_stlsq": "pysindy STLSQ",
        "pysindy_weak": "pysindy weak",
        "pysindy_weak_ensemble": "pysindy weak ensemble",
    }
    examples.main(__file__, __doc__, actions={"identify": "all records"}, names=words, budget=1.0, patience=1800.0)
