"""What every test and example may rely on: NumPy under its usual name, and one hypothesis profile."""

import os
import re

import hypothesis
import numpy as np
import pytest
from hypothesis import Phase

# The drawn cases are the same in every run; HYPOTHESIS_PROFILE=intense draws ten times as many, and new ones.
PHASES = [Phase.explicit, Phase.generate, Phase.shrink]
hypothesis.settings.register_profile(
    "fixed", deadline=None, derandomize=True, max_examples=20, database=None, phases=PHASES
)
hypothesis.settings.register_profile("intense", deadline=None, max_examples=200)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


@pytest.fixture(autouse=True)
def _numpy_in_examples(doctest_namespace: dict) -> None:
    doctest_namespace["np"] = np


# ----- How many generated cases ran: a property of each test's report, summed up at the end -----

GENERATED = "generated cases"  # what hypothesis counts; a test that runs cases inside may record more


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    found = re.findall(r"(\d+) passing", getattr(item, "hypothesis_statistics", ""))
    item.user_properties.append((GENERATED, sum(map(int, found))))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reports = [
        r for some in terminalreporter.stats.values() for r in some if isinstance(r, pytest.TestReport)
    ]
    counts = [
        n for r in reports if r.when == "teardown" for name, n in r.user_properties if name == GENERATED
    ]
    if sum(counts):
        terminalreporter.write_line(f"{sum(counts)} {GENERATED}")
