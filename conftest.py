"""What every test and example may rely on: NumPy under its usual name, and one hypothesis profile."""

import os
import re
from collections import Counter

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


# ----- How many generated cases ran: hypothesis's own count, test by test, summed up at the end -----

GENERATED: Counter[str] = Counter()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    found = re.findall(r"(\d+) passing", getattr(item, "hypothesis_statistics", ""))
    GENERATED[item.nodeid.partition("::")[0]] += sum(map(int, found))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if GENERATED.total():
        terminalreporter.write_line(f"{GENERATED.total()} generated cases")
