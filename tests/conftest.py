"""One thread for the linear algebra of each process: matrices are small here, and tests may run side by side."""

import os

import pytest

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")


@pytest.fixture
def closed():
    """Afterwards no figure is open; a file of tests that draw asks for it by `pytestmark`."""
    yield
    import matplotlib.pyplot as plt
    plt.close("all")
