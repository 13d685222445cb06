"""What every test and example may rely on: NumPy under its usual name, and one hypothesis profile."""

import os

import hypothesis
import numpy as np
import pytest

# The drawn cases are the same in every run; HYPOTHESIS_PROFILE=intense draws ten times as many, and new ones.
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True, max_examples=20, database=None)
hypothesis.settings.register_profile("intense", deadline=None, max_examples=200)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(autouse=True)
def _numpy_in_examples(doctest_namespace: dict) -> None:
    doctest_namespace["np"] = np
