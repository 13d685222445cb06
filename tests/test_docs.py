"""The code in README.md and docs/ runs, and prints what stands beside it."""

import contextlib
import io
import re
from pathlib import Path

import numpy as np
import pytest

import minigrad as mg

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", *sorted(str(p.relative_to(ROOT)) for p in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_the_code_of_a_page_runs_and_prints_what_it_says(page):
    text = (ROOT / page).read_text()
    names: dict = {"np": np, "mg": mg}
    printed = ""
    for block in re.finditer(r"```(\w*)\n(.*?)```", text, flags=re.DOTALL):
        language, code = block.groups()
        if language == "python":
            out = io.StringIO()
            # On the lines where it stands, so that recordings find the source.
            lines = "\n" * text.count("\n", 0, block.start(2))
            with contextlib.redirect_stdout(out):
                exec(compile(lines + code, str(ROOT / page), "exec"), names)
            printed = out.getvalue()
        elif language == "text" and printed:
            assert steady(printed) == steady(code)
            printed = ""


def steady(text: str) -> str:
    """`text` without line numbers and the times in tables of passes; where there are any, without widths."""
    text, numbers = re.subn(r"\.(py|md):\d+", r".\1:1", text.rstrip())
    if "× primal" not in text:
        return re.sub("[ ─]+|--+", " ", text) if numbers else text
    lines = []
    for line in text.splitlines():
        words = line.split()
        timed = words[:1] == ["total"] or words[1:2] == ["loss"]
        cut = 2 if words[1:2] in (["primal"], ["jvp"], ["vjp"]) and words[0].isdigit() else timed
        lines.append(" ".join(words[: len(words) - cut]))
    return "\n".join(line for line in lines if line.strip("─ "))


def test_steady_hides_times_alone():
    table = " #  pass   ops  MFLOP  ms  × primal\n────\n 0  jvp  7  0.5  {}  {}\n    total  7  0.5  {}"
    assert steady(table.format(1.5, 2, 3)) == steady(table.format(10, 0.25, 4))
    assert steady(table.format(1, 2, 3)) != steady(table.format(1, 2, 3).replace("0.5", "0.6"))


@pytest.mark.parametrize("page", PAGES)
def test_links_to_files_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text()):
        if "://" not in target:
            assert ((ROOT / page).parent / target).exists(), target
