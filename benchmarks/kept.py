"""Results that are kept: files written whole or not at all, the machine, and the page that shows them."""

import json
import os
import platform
import re
from pathlib import Path
from typing import Any

from .table import table

RESULTS = Path(__file__).parent / "results"


def written(page: str, results: Path) -> str:
    """The page with the table of each part that was kept, between <!-- part --> and <!-- end -->."""

    def fill(found: re.Match) -> str:
        kept = results / f"{found[1]}.json"
        if not kept.exists():
            return found[0]
        return f"<!-- {found[1]} -->\n\n```text\n{table(json.loads(kept.read_text()))}\n```\n\n<!-- end -->"

    return re.sub(r"<!-- (\w+) -->.*?<!-- end -->", fill, page, flags=re.DOTALL)


def keep(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    os.replace(part, path)


def machine() -> dict[str, Any]:
    known = Path("/proc/cpuinfo")
    models = re.findall(r"^model name\s*:\s*(.*)", known.read_text() if known.exists() else "", re.MULTILINE)
    return {
        "processor": models[0] if models else platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
    }
