"""Tests of the library on its own source.

The arrays of the tests are tiny, and the tests run side by side: one thread each is several times as fast.
"""

import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # before NumPy and scikit-learn are imported
