"""Recordings in the Trace Event Format and in DOT, scripts recorded by MINIGRAD_TRACE, the command line."""

import copy
import html
import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

import minigrad as mg
from minigrad import nn
from minigrad.core import recorded_by
from minigrad.inspect import Recording, environment
from minigrad.inspect.table import table
from minigrad.optim import SGD, CurveBall

ROOT = Path(__file__).parents[1]
HOSTILE = 'a"b\\n\\c\n<d>&amp;{e}|\x00</script>é]; }'


@pytest.fixture(scope="module")
def step() -> Recording:
    """A CurveBall step of a network with layers in layers, then an SGD step."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((4, 8, 8, 1)), np.arange(4)
    model = nn.resnet(8, 4, 1, dtype=np.float64)
    optimizers = CurveBall(model), SGD(model, 0.1)
    with mg.trace() as t:
        for opt in optimizers:
            opt.step(lambda m: m(x), nn.SoftmaxCrossEntropy(y))
    return t


@pytest.fixture(scope="module")
def nested() -> Recording:
    with mg.trace() as t:
        mg.jvp(mg.grad(lambda x: np.sum(np.sin(x) ** 3)), (np.ones(3),), (np.ones(3),))
        mg.hessian(lambda x: np.sum(x**3))(np.ones(2))
    assert any(p.children for p in t)
    return t


@pytest.fixture(scope="module")
def small() -> Recording:
    with mg.trace() as t:
        mg.grad(lambda x: np.sum(np.sin(x) * x))(np.ones(3))
    return t


# ----- Trace Event Format -----

NUMBER, WORD = (int, float), str
# By phase: what an event of it must have, and may have.
REQUIRED = {
    "X": {"name": WORD, "ts": NUMBER, "dur": NUMBER, "pid": int, "tid": int},
    "M": {"name": WORD, "pid": int, "args": dict},
    "C": {"name": WORD, "ts": NUMBER, "pid": int, "args": dict},
    "s": {"name": WORD, "cat": WORD, "id": (int, str), "ts": NUMBER, "pid": int, "tid": int},
    "f": {"name": WORD, "cat": WORD, "id": (int, str), "ts": NUMBER, "pid": int, "tid": int},
    "i": {"name": WORD, "ts": NUMBER, "pid": int, "tid": int, "s": WORD},
}
OPTIONAL = {"cat": WORD, "args": dict, "tid": int, "ts": NUMBER, "bp": WORD}


def loads(text: str) -> Any:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


def validated(text: str) -> tuple[list[dict], dict[int, list[int]]]:
    """The events, and for each slice that arrows leave, the slices where they end, by places in the list.

    Rules of the public description of the format, and what readers need: sorted times, slices of a thread
    that nest exactly, also for a reader that counts whole nanoseconds, and arrows whose ends lie in slices.
    """
    data = loads(text)
    assert isinstance(data["traceEvents"], list) and data["displayTimeUnit"] in ("ms", "ns")
    events = data["traceEvents"]
    last: float = 0
    open_: dict[tuple, list[int]] = {}
    starts: dict[tuple, int] = {}
    arrows: dict[int, list[int]] = {}
    named = {(e["name"], e["pid"], e.get("tid")) for e in events if e["ph"] == "M"}
    for k, e in enumerate(events):
        keys = REQUIRED[e["ph"]]
        assert keys.keys() <= e.keys() <= keys.keys() | OPTIONAL.keys() | {"ph"}, e
        for key, kind in (OPTIONAL | keys).items():
            assert key not in e or isinstance(e[key], kind) and not isinstance(e[key], bool), (key, e)
        if e["ph"] == "M":
            assert e["name"] in ("process_name", "thread_name") and isinstance(e["args"]["name"], str)
            continue
        assert e["ts"] >= last, "times are sorted"
        last = e["ts"]
        assert any(name == "process_name" and pid == e["pid"] for name, pid, _ in named)
        stack = open_.setdefault((e["pid"], e.get("tid")), [])
        if e["ph"] == "X":
            assert ("thread_name", e["pid"], e["tid"]) in named
            assert e["dur"] >= 0
            while stack and ends(events[stack[-1]])[0] <= e["ts"]:
                stack.pop()
            for outer in stack:
                assert all(a <= b for a, b in zip(ends(e), ends(events[outer]), strict=True)), (
                    e,
                    events[outer],
                )
            stack.append(k)
        elif e["ph"] == "C":
            assert e["args"] and all(isinstance(v, (int, float)) and v >= -1e-9 for v in e["args"].values())
        elif e["ph"] == "i":
            assert e["s"] in ("g", "p", "t")
        else:
            home = stack[-1]
            lies = events[home]["ts"] <= e["ts"] < ends(events[home])[0] or not events[home]["dur"]
            assert lies, "an arrow's end lies in a slice, not on the border of two"
            name = e["cat"], e["name"], e["id"]
            if e["ph"] == "s":
                assert name not in starts, "no two arrows have one name"
                starts[name] = home
            else:
                assert e["bp"] == "e", "it is bound to the slice around it, not to the next"
                arrows.setdefault(starts.pop(name), []).append(home)
    assert not starts, "every arrow ends"
    return events, arrows


def ends(e: dict) -> tuple[float, int]:
    """Where a slice ends: in microseconds, and as a reader computes it that keeps whole nanoseconds."""
    return e["ts"] + e["dur"], int(e["ts"] * 1000) + int(e["dur"] * 1000)


@pytest.mark.parametrize("which", ["step", "nested", "small"])
def test_chrome_is_a_valid_trace_with_a_slice_for_each_pass_and_operation(which, request):
    t = request.getfixturevalue(which)
    events, arrows = validated(t.to_chrome())
    slices = [e for e in events if e["ph"] == "X"]
    passes = [e for e in slices if e["cat"].startswith("pass")]
    ops = [e for e in slices if e["cat"].startswith("operation")]
    assert [(e["args"]["pass"], e["name"].split()[0]) for e in passes] == [
        (p.number, p.kind) for p in t.walk()
    ]
    assert [(e["args"]["operation"], e["name"], e["cat"]) for e in ops] == [
        (op.number, op.primitive, f"operation,{op.part}") for op in t.ops
    ]
    for e, x in [*zip(passes, t.walk(), strict=True), *zip(ops, t.ops, strict=True)]:
        assert abs(e["ts"] - x.start * 1e6) < 0.2 and abs(e["dur"] - x.seconds * 1e6) < 0.4
    drawn = {
        (events[a]["args"]["operation"], events[b]["args"]["operation"]) for a in arrows for b in arrows[a]
    }
    assert drawn == {(op.of, op.number) for op in t.ops if op.of is not None}
    assert drawn


def test_chrome_slices_lie_in_their_passes(nested):
    events, _ = validated(nested.to_chrome())
    slices = [e for e in events if e["ph"] == "X"]
    spans = {e["args"]["pass"]: e for e in slices if e["cat"].startswith("pass")}
    ops = {e["args"]["operation"]: e for e in slices if e["cat"].startswith("operation")}
    for p in nested.walk():
        outer = spans[p.number]
        for inner in [spans[c.number] for c in p.children] + [ops[op.number] for op in p.ops]:
            assert outer["ts"] <= inner["ts"] and ends(inner) <= ends(outer)


def test_chrome_tells_what_is_known_of_a_slice(step):
    events, _ = validated(step.to_chrome())
    conv = next(e for e in events if e["ph"] == "X" and e["name"] == "conv2d")
    op = step.ops[conv["args"]["operation"]]
    args = {"FLOPs": op.flops, "bytes": op.bytes, "layer": op.layer, "line": op.line, "parameters": op.params}
    assert args.items() <= conv["args"].items() and all(args.values())
    assert conv["args"]["outputs"] == "float64[4,8,8,16]"
    jvp = next(e for e in events if e["ph"] == "X" and e["name"].startswith("jvp"))
    seed = step.passes[2].seeds[0]
    assert jvp["args"]["seed 0"] == f"{seed.aval}, norm {seed.norm}"
    assert jvp["args"]["at"] == 0 and jvp["args"]["operations"] == len(step.passes[2].ops)
    assert jvp["name"] == "jvp J(z)"


def test_chrome_counts_flops_and_residuals(step):
    events, _ = validated(step.to_chrome())
    done = [e["args"] for e in events if e["name"] == "MFLOP done"]
    for part in ("primal", "tangent", "cotangent"):
        series = [a[part] for a in done]
        assert series == sorted(series)
        assert series[-1] * 1e6 == pytest.approx(sum(op.flops for op in step.ops if op.part == part))
    kept = [e for e in events if e["name"] == "residuals"]
    first = step.passes[0]
    assert [e["args"]["MB needed"] > 0 for e in kept] == [True, False, True, False]
    assert kept[0]["args"]["MB needed"] * 1e6 == pytest.approx(sum(r.bytes for r in first.residuals))
    assert kept[0]["ts"] == pytest.approx((first.start + first.seconds) * 1e6, abs=0.2)
    last = max(p.start + p.seconds for p in step.passes if p.at == 0)
    assert kept[1]["ts"] == pytest.approx(last * 1e6, abs=0.2)


def test_chrome_marks_steps_and_writes_infinities_as_text(step):
    data = json.loads(step.to_json())
    data["steps"][0] |= {"loss": float("nan"), "rho": float("inf")}
    data["passes"][2]["seeds"][0]["norm"] = float("nan")
    events, _ = validated(Recording.from_json(json.dumps(data)).to_chrome())
    marks = [e for e in events if e["ph"] == "i"]
    assert [e["name"] for e in marks] == ["CurveBall step 0", "SGD step 0"]
    assert marks[0]["args"]["loss"] == "NaN" and marks[0]["args"]["rho"] == "Infinity"
    assert marks[1]["args"]["loss"] == step.steps[1]["loss"]


@given(st.data())
def test_chrome_nests_whatever_the_clock_says(data):
    """Times that overlap by rounding, go back a little, or do not move at all."""
    t = recording_with_times(data.draw)
    events, _ = validated(t.to_chrome())
    assert len([e for e in events if e["ph"] == "X"]) == len(t.ops) + len(list(t.walk()))


def recording_with_times(draw) -> Recording:
    clock = draw(st.sampled_from([0.0, 0.1, 1e4 / 3]))
    small = st.sampled_from([0.0, 1e-9, 1e-7, 1e-6 / 3, 1e-5])
    slip = st.sampled_from([0.0, 0.0, 1e-12, -1e-12, 2e-7, -2e-7])
    data = copy.deepcopy(TWO_LEVELS)

    def place(p: dict) -> None:
        nonlocal clock
        p["start"] = clock + draw(slip)
        for op in p["ops"]:
            clock += draw(small)
            op["start"], op["seconds"] = clock + draw(slip), draw(small)
            clock += op["seconds"]
        for child in p["children"]:
            place(child)
        p["seconds"] = max(clock + draw(slip) - p["start"], 0.0)

    for p in data["passes"]:
        place(p)
    return Recording.from_json(json.dumps(data))


def _two_levels() -> dict:
    with mg.trace() as t:
        mg.jvp(mg.grad(lambda x: x * x), (1.0,), (1.0,))
        mg.grad(lambda x: x * x)(1.0)
    return json.loads(t.to_json())


TWO_LEVELS = _two_levels()


def test_the_validator_sees_what_is_wrong(small):
    def broken(change) -> str:
        data = json.loads(small.to_chrome())
        change([e for e in data["traceEvents"] if e["ph"] != "M"])
        return json.dumps(data)

    def first(events, ph):
        return next(e for e in events if e["ph"] == ph)

    validated(broken(lambda events: None))
    for change in (
        lambda events: first(events, "X").update(dur=-1),
        lambda events: first(events, "X").update(
            dur=events[1]["ts"] - events[0]["ts"] + events[1]["dur"] / 2
        ),
        lambda events: first(events, "s").update(ts=0.0),
        lambda events: first(events, "s").update(id=10**6),
        lambda events: first(events, "f").pop("bp"),
        lambda events: first(events, "C").update(args={"a": "b"}),
        lambda events: first(events, "X").pop("tid"),
    ):
        with pytest.raises((AssertionError, KeyError)):
            validated(broken(change))


# ----- DOT -----


class Dot:
    """A reader of DOT, as its grammar has it: nodes with their boxes and attributes, and edges."""

    TOKENS = re.compile(
        r'\s+|(->|[{}\[\];,=])|([A-Za-z_][A-Za-z_0-9]*|-?(?:\.\d+|\d+(?:\.\d*)?))|"((?:[^"\\]|\\.)*)"', re.S
    )

    def __init__(self, text: str) -> None:
        self.tokens, at = [], 0
        while at < len(text):
            m = self.TOKENS.match(text, at)
            assert m, f"no token: {text[at : at + 40]!r}"
            if m.lastindex:
                self.tokens.append((m[1] and "sign" or "id", m[m.lastindex]))
            at = m.end()
        self.nodes: dict[str, dict] = {}
        self.boxes: dict[str, tuple] = {}
        self.labels: dict[tuple, str] = {}
        self.edges: list[tuple[str, str, dict]] = []
        assert self.next() == ("id", "digraph")
        self.title = self.word()
        self.body((), {})
        assert not self.tokens

    def next(self) -> tuple[str, str]:
        return self.tokens.pop(0)

    def word(self) -> str:
        kind, text = self.next()
        assert kind == "id", text
        return text

    def sees(self, sign: str) -> bool:
        if self.tokens[0] == ("sign", sign):
            self.tokens.pop(0)
            return True
        return False

    def body(self, box: tuple, looks: dict) -> None:
        assert self.sees("{")
        looks = {"node": dict(looks.get("node", {})), "edge": dict(looks.get("edge", {}))}
        while not self.sees("}"):
            self.statement(box, looks)
            self.sees(";")

    def statement(self, box: tuple, looks: dict) -> None:
        if self.tokens[0] == ("sign", "{"):
            return self.body(box, looks)
        name = self.word()
        if name == "subgraph":
            name = self.word()
            assert name not in {b for path in self.labels for b in path[:-1]} | {p[-1] for p in self.labels}
            return self.body((*box, name), looks)
        if name in ("graph", "node", "edge"):
            looks.setdefault(name, {}).update(self.attributes())
            return None
        if self.sees("="):
            value = self.word()
            if name == "label":
                self.labels[box] = drawn(value)
            return None
        chain = [name]
        while self.sees("->"):
            chain.append(self.word())
        attributes = self.attributes()
        if len(chain) > 1:
            self.edges += [(a, b, looks["edge"] | attributes) for a, b in zip(chain, chain[1:], strict=False)]
        else:
            assert name not in self.nodes, f"{name} twice"
            self.nodes[name], self.boxes[name] = looks["node"] | attributes, box
        return None

    def attributes(self) -> dict:
        found: dict[str, str] = {}
        while self.sees("["):
            while not self.sees("]"):
                key = self.word()
                assert self.sees("=")
                found[key] = self.word()
                self.sees(",") or self.sees(";")
        return found


def drawn(label: str) -> str:
    """The text that a quoted string of DOT is drawn as."""
    label = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), label, flags=re.S)
    return html.unescape(label)


def flow_of(dot: Dot) -> set[tuple[str, str]]:
    """The arrows of data, whichever way they are drawn."""
    edges = [e for e in dot.edges if e[2].get("style") not in ("dashed", "invis")]
    return {(b, a) if look.get("dir") == "back" else (a, b) for a, b, look in edges}


def test_dot_is_the_data_flow(small):
    """sin(x) * x: three primal operations, the cosine that the rule of sin keeps, and the sweep back."""
    dot = Dot(small.to_dot())
    ops = {f"op{op.number}": op for op in small.ops}
    given = {"input_0_0", "seed_1_0"}
    assert dot.nodes.keys() == ops.keys() | given | {"legend_primal", "legend_tangent", "legend_cotangent"}
    assert dot.title == "2 passes" and dot.labels.keys() == {("cluster_legend",)}
    for name, op in ops.items():
        assert drawn(dot.nodes[name]["label"]) == f"{op.primitive}\n{op.outputs[0]}"
    names = {name: ops[name].primitive + {"cotangent": "'"}.get(ops[name].part, "") for name in ops}
    names |= {name: name for name in given}
    assert sorted((names[a], names[b]) for a, b in flow_of(dot)) == sorted(
        (names[f"op{v.number}" if v.source == "op" else f"{v.source}_{v.number}_{v.k}"], names[name])
        for name, op in ops.items()
        for v in dict.fromkeys(v for v in op.inputs if v.source)
    )
    assert {("input_0_0", "sin"), ("sin", "multiply"), ("input_0_0", "multiply"), ("multiply", "sum")} <= {
        (names[a], names[b]) for a, b in flow_of(dot)
    }
    links = {(a, b) for a, b, look in dot.edges if look.get("style") == "dashed"}
    assert links == {(f"op{op.of}", name) for name, op in ops.items() if op.of is not None} and links


def test_dot_boxes_are_layers_in_layers(step):
    dot = Dot(step.to_dot())
    ops = {f"op{op.number}": op for op in step.ops}
    assert ops.keys() <= dot.nodes.keys()
    for name, op in ops.items():
        words = [dot.labels[dot.boxes[name][: k + 1]] for k in range(len(dot.boxes[name]))]
        path = ""
        for word in words:
            step_, _, cls = word.partition(": ")
            path += "." * (bool(path) and not step_.startswith("[")) + step_
            assert step.layers[path] == cls
        assert path == op.layer
    assert max(map(len, dot.boxes.values())) == 4  # model, residual block, its body, a layer
    fills = {name: dot.nodes[name]["fillcolor"] for name in ops}
    by_part = {part: {fills[n] for n in ops if ops[n].part == part} for part in mg.inspect.passes.PARTS}
    assert [len(f) for f in by_part.values()] == [1, 1, 1] and len(set.union(*by_part.values())) == 3
    assert by_part == {part: {dot.nodes[f"legend_{part}"]["fillcolor"]} for part in by_part}


def test_dot_names_a_crowd_of_arrows_where_they_lead(step):
    """All arrows are there, but those of the vector of parameters to and from all layers end in names."""
    dot = Dot(step.to_dot())
    flow, stubs = flow_of(dot), {n for n in dot.nodes if n.startswith("stub")}
    wanted = {
        (f"op{v.number}" if v.source == "op" else f"{v.source}_{v.number}_{v.k}", f"op{op.number}")
        for op in step.ops
        for v in op.inputs
        if v.source
    }
    assert len(flow) == len(wanted) and stubs
    assert {e for e in flow if not stubs & set(e)} < wanted
    unravel = step.ops[0]
    assert unravel.primitive == "unravel" and drawn(dot.nodes["op0"]["label"]).startswith("unravel #0\n")
    assert not any(a == "op0" for a, _ in flow)
    first = next(op for op in step.ops if op.primitive == "conv2d")
    (stub,) = (a for a, b in flow if b == f"op{first.number}" and a in stubs)
    assert drawn(dot.nodes[stub]["label"]) == "unravel #0[0]"
    assert dot.boxes[stub] == dot.boxes[f"op{first.number}"]
    out = [a for a, _ in flow if a not in stubs]
    assert max(map(out.count, out)) <= 8


@pytest.fixture(scope="module")
def hostile(step) -> Recording:
    """Names that mean something in quoted strings, in labels, in HTML."""
    data = json.loads(step.to_json())
    data["steps"][0]["optimizer"] = HOSTILE
    data["layers"] = {
        path + HOSTILE * (path == "model"): cls + HOSTILE for path, cls in data["layers"].items()
    }
    for op in (op for p in data["passes"] for op in p["ops"]):
        op["primitive"] += HOSTILE
        op["params"] += HOSTILE
        op["line"] = HOSTILE
        op["layer"] += HOSTILE * (op["layer"] == "model")
    for p in data["passes"]:
        p["label"] = HOSTILE
    return Recording.from_json(json.dumps(data))


def test_hostile_names_come_through(hostile):
    seen = HOSTILE.replace("\x00", "\ufffd")
    dot = Dot(hostile.to_dot())
    assert all(re.search(r"[{};]$", line) for line in hostile.to_dot().splitlines()), "a statement is a line"
    op = hostile.ops[1]
    node = dot.nodes[f"op{op.number}"]
    assert drawn(node["label"]) == f"{op.primitive}\n{op.outputs[0]}".replace("\x00", "\ufffd")
    assert seen in drawn(node["tooltip"]) and any(label.endswith(seen) for label in dot.labels.values())
    assert dot.title  # parsed as one name
    assert seen in drawn(dot.title)
    events, _ = validated(hostile.to_chrome())
    named = next(e for e in events if e["ph"] == "X" and e["cat"] == "operation,primal")
    assert named["name"].endswith(HOSTILE) and named["args"]["line"] == HOSTILE


@pytest.mark.parametrize("which", ["small", "nested", "step", "hostile"])
def test_graphviz_draws_it(which, request):
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed: apt-get install graphviz")
    t = request.getfixturevalue(which)
    text = t.to_dot()
    done = subprocess.run(["dot", "-Tsvg"], input=text.encode(), capture_output=True, timeout=60)
    assert done.returncode == 0 and not done.stderr, done.stderr.decode()
    groups = [g for g in xml.fromstring(done.stdout).iter() if g.get("class") in ("node", "edge", "cluster")]
    count = {kind: sum(g.get("class") == kind for g in groups) for kind in ("node", "edge", "cluster")}
    dot = Dot(text)
    assert count["node"] == len(dot.nodes) and count["edge"] == sum(
        e[2].get("style") != "invis" for e in dot.edges
    )
    texts = {"".join(x.itertext()) for g in groups for x in g.iter() if x.tag.endswith("text")}
    lines = {line for node in dot.nodes.values() for line in drawn(node["label"]).split("\n")}
    assert {x.replace("\xa0", " ") for x in texts} >= {line for line in lines if line.strip()}


# ----- MINIGRAD_TRACE -----

TRAIN = """
import numpy as np
import minigrad as mg
from minigrad import nn
from minigrad.optim import SGD, CurveBall

x, y = np.random.default_rng(0).standard_normal((8, 4)), np.arange(8) % 3
for make in (CurveBall, lambda model: SGD(model, 0.1)):
    opt = make(nn.mlp((4, 5, 3), dtype=np.float64))
    for _ in range(2):
        info = opt.step(lambda model: model(x), nn.SoftmaxCrossEntropy(y))
print(info.loss)
"""


def run(*command: str, cwd: Path, trace: str | None = None) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "MINIGRAD_TRACE"} | {
        "PYTHONPATH": str(ROOT),
        "PYTHONUTF8": "1",
    }
    if trace is not None:
        env["MINIGRAD_TRACE"] = trace
    return subprocess.run(
        [sys.executable, *command], cwd=cwd, env=env, capture_output=True, encoding="utf-8", timeout=60
    )


def script(folder: Path, text: str, trace: str | None = None) -> subprocess.CompletedProcess:
    (folder / "script.py").write_text(text)
    return run("script.py", cwd=folder, trace=trace)


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder where an unmodified script was traced into step.json."""
    folder = tmp_path_factory.mktemp("trained")
    plain, traced = script(folder, TRAIN), script(folder, TRAIN, "step.json")
    assert plain.returncode == traced.returncode == 0, traced.stderr
    assert plain.stdout == traced.stdout and plain.stderr == ""
    assert traced.stderr == f"minigrad: CurveBall and SGD steps 0 to 1 in {folder / 'step.json'}\n"
    assert sorted(p.name for p in folder.iterdir()) == ["script.py", "step.json"]
    return folder


def test_a_script_is_recorded_whole(trained):
    t = Recording.from_json((trained / "step.json").read_text(encoding="utf-8"))
    # Step 0 of CurveBall looks at the damping: one more primal pass.
    kinds = [p.kind for p in t if p.kind != "loss"]
    ball, sgd = ["primal", "jvp", "vjp", "jvp"], ["primal", "vjp"]
    assert kinds == ["primal", *ball, "primal", *ball, "primal", *sgd, *sgd]
    assert [(s["optimizer"], s["step"]) for s in t.steps] == [
        ("CurveBall", 0),
        ("CurveBall", 1),
        ("SGD", 0),
        ("SGD", 1),
    ]
    assert t.layers == {"model": "Sequential"} | {
        f"model.layers[{k}]": cls for k, cls in enumerate(["Linear", "Tanh", "Linear"])
    }
    assert all(re.fullmatch(r"(script|base|curveball|first_order|quadratic)\.py:\d+", p.line) for p in t)


def test_a_table_is_printed_at_the_end(tmp_path):
    done = script(tmp_path, TRAIN, "1")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 1
    assert done.stderr.startswith("CurveBall and SGD steps 0 to 1: primal 7 · jvp 4 · vjp 4\n")
    assert "J(z)" in done.stderr and done.stderr.count("  vjp  ") == 4 and "total" in done.stderr
    assert "operations; what came later" not in done.stderr


@pytest.mark.parametrize("name", ["a.html", "a.trace.json", "a.dot"])
def test_the_name_says_what_is_written(tmp_path, name):
    text = "import os, minigrad as mg\nmg.grad(lambda x: mg.sin(x))(1.0)\nos.mkdir('sub'); os.chdir('sub')"
    done = script(tmp_path, text, name)
    assert done.returncode == 0 and done.stderr == f"minigrad: 2 passes in {tmp_path / name}\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["script.py", "sub", name])
    written = (tmp_path / name).read_text(encoding="utf-8")
    if name == "a.html":
        assert written.startswith("<!doctype html>") and written.rstrip().endswith("</html>")
    elif name == "a.dot":
        assert Dot(written).title == "2 passes"
    else:
        assert validated(written)[1]


@pytest.mark.parametrize(
    "value, words",
    [
        ("7", "MINIGRAD_TRACE=7: use 1 for a table, or a file's name that ends in .dot, .html, .json or .tr"),
        ("a.png", "MINIGRAD_TRACE=a.png: use 1 for a table"),
        ("no/a.json", "MINIGRAD_TRACE=no/a.json: there is no folder"),
    ],
)
def test_a_value_without_a_meaning_is_refused(tmp_path, value, words):
    done = script(tmp_path, "import minigrad\nprint('not reached')", value)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"ValueError: {words}")


def test_an_empty_value_traces_nothing(tmp_path):
    text = "import sys, minigrad\nassert 'minigrad.inspect.environment' not in sys.modules"
    for value in ("", None):
        done = script(tmp_path, text, value)
        assert done.returncode == 0 and done.stderr == ""


@pytest.mark.parametrize("end, code", [("raise RuntimeError('mine')", 1), ("import sys; sys.exit(3)", 3)])
def test_a_script_that_fails_is_recorded_up_to_there(tmp_path, end, code):
    f = f"def f(x):\n    y = mg.sin(x)\n    {end}\n"
    text = f"import minigrad as mg\n{f}mg.grad(mg.cos)(1.0)\nmg.grad(f)(1.0)"
    done = script(tmp_path, text, "a.json")
    assert done.returncode == code and ("mine" in done.stderr) == (code == 1)
    t = Recording.from_json((tmp_path / "a.json").read_text())
    assert [p.kind for p in t] == ["primal", "vjp", "primal"] and t[2].ops[0].primitive == "sin"


def test_what_cannot_be_written_at_the_end_is_one_line(tmp_path):
    text = "import os, minigrad as mg\nmg.grad(mg.sin)(1.0)\nos.mkdir('a.json')"
    done = script(tmp_path, text, "a.json")
    assert done.returncode == 0 and len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("minigrad: the recording is lost: ") and "a.json" in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.json", "script.py"]


def test_a_script_may_trace_itself_and_start_others(tmp_path):
    text = """
import os, subprocess, sys
import minigrad as mg
mg.grad(mg.sin)(1.0)
with mg.trace() as t:
    mg.grad(mg.cos)(1.0)
mg.jvp(mg.exp, (1.0,), (1.0,))
print([p.kind for p in t], [op.primitive for op in t.ops][0])
subprocess.run([sys.executable, "-c", "import minigrad as mg; mg.grad(mg.sin)(1.0)"], check=True)
"""
    done = script(tmp_path, text, "a.json")
    assert (done.stdout, done.returncode) == ("['primal', 'vjp'] cos\n", 0), done.stderr
    t = Recording.from_json((tmp_path / "a.json").read_text())
    assert [p.kind for p in t] == ["primal", "vjp", "primal", "vjp", "jvp"]
    assert done.stderr == f"minigrad: 5 passes in {tmp_path / 'a.json'}\n"


# ----- Long scripts -----


def test_a_long_script_is_recorded_up_to_a_limit(tmp_path):
    """It stops between passes, says so, and lists the first passes only; then nothing looks on."""
    text = f"""
import minigrad as mg
from minigrad.core import LOCAL
from minigrad.inspect import environment

def f(x):
    for _ in range(100):
        x = mg.sin(x)
    return x

assert environment.LIMIT == {environment.LIMIT}
steps = 0
while LOCAL.recorder is not None:
    recorder = LOCAL.recorder
    g = mg.grad(f)(1.0)
    steps += 1
count = recorder.count
assert mg.grad(f)(1.0) == g and LOCAL.recorder is None and recorder.count == count
print(steps, count)
"""
    done = script(tmp_path, text, "1")
    assert done.returncode == 0, done.stderr
    steps, count = map(int, done.stdout.split())
    assert environment.LIMIT <= count < environment.LIMIT + 300
    *rows, hidden, last = done.stderr.splitlines()
    assert last == f"recorded the first {count:,} operations; what came later was not looked at"
    shown = sum(bool(re.match(r" *\d+ +(primal|vjp) ", row)) for row in rows)
    assert shown == environment.ROWS and hidden.startswith("and ") and "MINIGRAD_TRACE=file.json" in hidden
    assert int(hidden.split()[1]) + shown in (2 * steps, 2 * steps - 1)


@pytest.mark.parametrize(
    "work",
    [
        "mg.sin(1.0)",
        "model(x)",
        "mg.linearize(mg.sin, 1.0)",
        "mg.jvp(mg.sin, (1.0,), (1.0,))",
        "mg.grad(lambda m: m(x).sum())(model)",
    ],
)
def test_whatever_a_script_does_it_stops_at_the_limit(work, monkeypatch):
    """Operations and models outside passes, linearizations never swept, and derivatives."""
    monkeypatch.setattr(environment, "LIMIT", 47)
    model, x = nn.mlp((3, 4, 2)), np.ones((2, 3), np.float32)
    recorder, code = environment.Bounded(), compile(work, "work", "eval")
    with recorded_by(recorder):
        t = Recording().__enter__()
        for _ in range(200):
            eval(code, {"mg": mg, "model": model, "x": x})
        assert environment.LOCAL.recorder is None and recorder.full
        t.update()
    assert 47 <= recorder.count == len(t.ops) < 150
    assert (recorder.open, recorder.layer, recorder.frame) == (None, None, None)
    if "linearize" in work:
        assert all(p.equations for p in t)
    if work == "model(x)":
        assert len({len(p.ops) for p in t}) == 1, "not in the midst of one"


def test_the_limit_waits_for_what_is_still_looking(monkeypatch):
    monkeypatch.setattr(environment, "LIMIT", 5)
    recorder = environment.Bounded()
    with recorded_by(recorder):
        Recording().__enter__()
        with mg.trace() as t:
            for _ in range(20):
                mg.sin(1.0)
        with mg.debug_nans(), pytest.raises(FloatingPointError):
            mg.sin(1.0)
            mg.divide(np.ones(1), mg.sqrt(np.full(1, np.inf)) * np.inf - np.inf)
        assert len(t.ops) == 20 and not recorder.full
        mg.sin(1.0)
        assert recorder.full and environment.LOCAL.recorder is None


# ----- python -m minigrad -----


def test_report_prints_the_tables_again(trained):
    t = Recording.from_json((trained / "step.json").read_text(encoding="utf-8"))
    for by in ("pass", "op", "module"):
        done = run("-m", "minigrad", "report", "step.json", "--by", by, cwd=trained)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.rstrip("\n") == str(t.table(by)).rstrip("\n")
    assert run("-m", "minigrad", "report", "step.json", cwd=trained).stdout.startswith(
        str(t.table("pass")).rstrip()
    )


def test_report_writes_json_and_html(trained, tmp_path):
    done = run("-m", "minigrad", "report", "step.json", "--by", "op", "--json", cwd=trained)
    data = loads(done.stdout)
    t = Recording.from_json((trained / "step.json").read_text(encoding="utf-8"))
    assert data["total"]["ops"] == len(t.ops) == sum(row["ops"] for row in data["rows"])
    rows = {row["op"]: row for row in data["rows"]}
    for part in ("primal", "tangent", "cotangent"):
        assert rows["matmul"][part] == sum(op.part == part for op in t.ops if op.primitive == "matmul")
    assert rows["log_softmax"]["cotangent"] == 0 and data["title"] == table(t, "op", None, None).title
    page = tmp_path / "out.html"
    done = run("-m", "minigrad", "report", "step.json", "--html", str(page), cwd=trained)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"wrote {page}\n", "")
    assert page.read_text(encoding="utf-8") == t.to_html()


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "minigrad: x.json: No such file or directory"),
        (b"\x89PNG\r\n\x1a\n", "minigrad: x.json: no recording: "),
        (b'{"traceEvents": []}', "minigrad: x.json: no recording of format 1"),
        (b"[1, 2]", "minigrad: x.json: no recording of format 1"),
        (b'{"format": 1, "passes": [{"number": 0}]}', "minigrad: x.json: no whole recording"),
    ],
)
def test_a_file_that_is_no_recording_is_one_line(tmp_path, content, words):
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    done = run("-m", "minigrad", "report", "x.json", cwd=tmp_path)
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert done.stderr.startswith(words)


def test_the_command_line_helps(tmp_path):
    done = run("-m", "minigrad", cwd=tmp_path)
    assert done.returncode == 0 and "usage: python -m minigrad" in done.stdout and "report" in done.stdout
    done = run("-m", "minigrad", "report", "x.json", "--by", "hour", cwd=tmp_path)
    assert done.returncode == 2 and "invalid choice: 'hour'" in done.stderr
