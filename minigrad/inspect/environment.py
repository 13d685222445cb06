"""`MINIGRAD_TRACE=1 python script.py`: a recording of a whole script as it is, told or written when it ends.

What the main thread runs is recorded, up to a number of operations; then the script goes on at full speed.
Processes that the script starts are not recorded: they would all write to the same place.
"""

import atexit
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..core import LOCAL, Primitive
from .recorder import PassNote, Recorder
from .recording import Recording

__all__ = ["start"]

# How many operations are noted: about 30 MB; how many passes are listed in a table.
LIMIT = 20_000
ROWS = 50

WRITERS: dict[str, Callable[[Recording, Path], str]] = {
    ".trace.json": Recording.to_chrome,
    ".json": Recording.to_json,
    ".html": Recording.to_html,
    ".dot": Recording.to_dot,
}


def start(value: str) -> None:
    """Records from now on; at exit prints a table to stderr ('1'), or writes the file that `value` names.

    The file's ending says what it will be: .html, a report; .json, for `python -m minigrad report`;
    .trace.json, for Perfetto and chrome://tracing; .dot, for Graphviz. Raises ValueError for anything else.
    """
    write = path = None
    if value != "1":
        write = next((WRITERS[end] for end in WRITERS if value.endswith(end)), None)
        path = Path(value).absolute()  # the script may change its folder
        if write is None:
            *ends, last = sorted(WRITERS)
            names = f"{', '.join(ends)} or {last}"
            raise ValueError(
                f"MINIGRAD_TRACE={value}: use 1 for a table, or a file's name that ends in {names}"
            )
        if not path.parent.is_dir():
            raise ValueError(f"MINIGRAD_TRACE={value}: there is no folder {path.parent}; make it first")
    recorder = Bounded()
    LOCAL.recorder = recorder
    recording = Recording().__enter__()
    process = os.getpid()

    def end() -> None:
        if os.getpid() != process:  # a fork, which took over what is to be done at exit
            return
        recording.update()
        lines = []
        if write is None or path is None:
            table = recording.table()
            hidden = len(table.rows) - ROWS
            table.rows = table.rows[:ROWS]
            lines.append(str(table))
            if hidden > 0:
                way = "MINIGRAD_TRACE=file.json, then python -m minigrad report file.json"
                lines.append(f"and {hidden} more passes: {way}")
        else:
            try:
                write(recording, path)
                lines.append(f"minigrad: {recording.title} in {path}")
            except OSError as e:
                lines.append(f"minigrad: the recording is lost: {e}")
        if recorder.full:
            lines.append(
                f"recorded the first {recorder.count:,} operations; what came later was not looked at"
            )
        print(*lines, sep="\n", file=sys.stderr)

    atexit.register(end)


class Bounded(Recorder):
    """Looks at nothing more, once it has noted enough, as soon as it is in the midst of nothing.

    While another recording or a check inside needs it, it goes on.
    """

    full = False

    def run(self, prim: Primitive, function: Callable, args: Sequence[Any], params: dict[str, Any]) -> Any:
        out = super().run(prim, function, args, params)
        if self.count >= LIMIT:
            self.rest()
        return out

    @contextmanager
    def running(self, kind: str, *args: Any, **more: Any) -> Iterator[PassNote]:
        with super().running(kind, *args, **more) as note:
            yield note
        if kind != "primal":  # what that one recorded is still to come
            self.rest()

    def recorded(self, *args: Any) -> PassNote | None:
        note = super().recorded(*args)
        self.rest()
        return note

    def call(self, layer: Any, *args: Any) -> Any:
        y = super().call(layer, *args)
        self.rest()
        return y

    def rest(self) -> None:
        idle = self.open is None and self.layer is None and self.readers == 1 and self.check is None
        if self.count >= LIMIT and idle:
            self.full = True
            LOCAL.recorder = None
