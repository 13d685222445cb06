"""The HTML report in a real browser: it loads alone, and shows what the recording holds."""

import json
import os
import re
import shutil
import time

import numpy as np
import pytest

import minigrad as mg
from minigrad import nn, optim
from minigrad.inspect import ir
from minigrad.inspect.passes import Equation, Op, Pass, Residual, Seed, Value
from minigrad.inspect.recording import Recording

TABS = ["passes", "timeline", "graph", "ops", "ir", "scalars"]
EVIL = '</script><img src=x onerror="window.hacked=1">\'"`&amp;<!--{{program}}\u2028\u2029'
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


# ----- Recordings -----


def trained(depth, steps, batch=2):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((batch, 32, 32, 3), dtype=np.float32)
    loss = nn.SoftmaxCrossEntropy(rng.integers(0, 10, batch))
    opt = optim.CurveBall(nn.resnet(depth))
    with mg.trace() as t:
        for _ in range(steps):
            opt.step(lambda m: m(x, train=True), loss)
    return t


def nothing():
    with mg.trace() as t:
        pass
    return t


def forward_only():
    with mg.trace() as t:
        mg.jvp(lambda x: np.sin(x) * x, (np.ones(3),), (np.ones(3),))
    return t


def nested():
    with mg.trace() as t:
        mg.hvp(lambda x: np.sum(np.sin(x) ** 2), (np.ones(3),), (np.ones(3),))
    return t


def by_hand(evil=EVIL):
    """A recording that holds `evil` wherever text of the user can be, and what is unknown or not finite."""

    def op(number, part, of=None, flops: int | None = 3_000_000, inputs=()):
        start, line = 0.01 * number, f"{evil}.py:1"
        return Op(
            *(number, evil, part, list(inputs), [f"float64[{evil}]"], f"mode={evil}", flops, 24, start, 0.01),
            *(f"model.{evil}", line, of),
        )

    value = Value(f"float64[{evil}]", "input", 0, 0)
    primal = Pass(0, "primal", f"f({evil})", f"{evil}.py:1", seconds=0.02)
    primal.ops = [
        op(0, "primal", flops=None, inputs=[value]),
        op(1, "primal", inputs=[Value(evil, "op", 0, 0)]),
    ]
    primal.equations = [Equation(evil, [Value(evil, "variable", 0, 0)], [(1, evil)], evil, 1)]
    primal.residuals = [Residual(evil, 24, evil, 0, evil, evil, [evil])]
    inner = Pass(2, "jvp", f"inner {evil}", ops=[op(3, "tangent", of=1)], start=0.03, seconds=0.01)
    seeds, ops = [Seed(evil, float("nan"))], [op(2, "tangent", of=1)]
    outer = Pass(1, "jvp", f"J({evil})", evil, seeds, 0, 0.02, 0.02, ops, [inner])
    t = Recording()
    t.passes = [primal, outer]
    t.layers = {"model": evil, f"model.{evil}": evil}
    t.sources = {f"{evil}.py:1": f"y = {evil}"}
    t.steps = [
        {"optimizer": evil, "step": k, "loss": loss, "rho": 0.5, "norms": {evil: 1.0}, "after": 2}
        for k, loss in enumerate([1.5, 0.5, float("nan"), float("inf")])
    ]
    return t


@pytest.fixture(scope="module")
def step():
    return trained(8, 1)


MAKERS = {
    "nothing": nothing,
    "forward only": forward_only,
    "nested": nested,
    "by hand": by_hand,
    "two steps": lambda: trained(8, 2),
}


# ----- The browser -----


@pytest.fixture(scope="module")
def page():
    """One page for all: it notes what the browser complains of and asks for."""
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        if os.environ.get("CI"):
            pytest.fail("no browser: apt-get install chromium")
        pytest.skip("no chromium, chromium-browser or google-chrome is installed")
    if not os.environ.get("CI"):
        pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page()
        page.complaints, page.requests = [], []
        page.on("console", lambda message: page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("dialog", lambda dialog: page.complaints.append(dialog.message))
        page.on("request", lambda request: page.requests.append(request.url))
        yield page
        browser.close()


@pytest.fixture
def show(page, tmp_path):
    """Opens a recording's report from disk."""

    def open_(recording, width=1280, height=800, scheme="light"):
        path = tmp_path / "report.html"
        recording.to_html(path)
        page.set_viewport_size({"width": width, "height": height})
        page.emulate_media(color_scheme=scheme)
        page.complaints.clear()
        page.requests.clear()
        page.goto(path.as_uri())
        return page

    return open_


def texts(page, selector):
    return page.locator(selector).all_inner_texts()


def keys(page):
    """The numbers of the operations in the table, in its order; all of them, however many are drawn."""
    return page.evaluate(
        """() => {
            const box = document.querySelector("#panel-ops .box");
            const rows = () => document.querySelectorAll(".ops tbody tr");
            for (let drawn = -1; drawn !== rows().length; ) {
                drawn = rows().length;
                box.scrollTop = 1e9;
                box.dispatchEvent(new Event("scroll"));
            }
            return [...rows()].map((row) => Number(row.dataset.key));
        }"""
    )


def numbers(page, selector):
    """The numbers of the operations that elements stand for."""
    return {int(e.get_attribute("data-op")) for e in page.query_selector_all(selector)}


def lit(page):
    return numbers(page, ".relative")


def node(page, title):
    title = page.locator(".title", has_text=re.compile(f"^{re.escape(title)}"))
    return page.locator(".node").filter(has=title)


# ----- Loading -----


@pytest.mark.parametrize("name", MAKERS)
def test_every_tab_of_every_recording_shows_without_a_complaint_or_a_request(show, name):
    t = MAKERS[name]()
    page = show(t)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        assert page.locator(f"#panel-{tab}").is_visible()
        assert page.locator(f"#panel-{tab}").inner_text().strip()
    assert page.complaints == []
    assert len(page.requests) == 1 and page.requests[0].startswith("file://")
    assert page.title() == re.sub(r"\s", " ", t.title) or name == "by hand"
    empty = {tab for tab in TABS if page.locator(f"#panel-{tab} .empty").count()}
    if name == "nothing":
        assert empty == set(TABS) - {"ops"}
    else:
        assert empty == (set() if t.steps else {"scalars"})


def test_a_step_of_resnet_20_is_at_most_500_kb_and_written_in_under_2_s(tmp_path):
    t = trained(20, 1)
    start = time.perf_counter()
    t.to_html(tmp_path / "step.html")
    assert time.perf_counter() - start < 2
    assert len(t.ops) > 300
    assert (tmp_path / "step.html").stat().st_size <= 500_000


# ----- Tabs -----


def test_tabs_switch_by_mouse_and_by_keys(show, step):
    page = show(step)

    def now():
        selected = page.locator("[role=tab][aria-selected=true]")
        assert selected.count() == 1 and page.locator("[role=tab][tabindex='0']").count() == 1
        shown = page.locator("[role=tabpanel]:visible")
        assert shown.count() == 1 and shown.get_attribute("aria-labelledby") == selected.get_attribute("id")
        return selected.inner_text()

    assert now() == "Passes"
    page.click("text=Timeline")
    assert now() == "Timeline"
    seen = []
    for key in ["ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowRight", "End", "Home"]:
        page.keyboard.press(key)
        seen.append(now())
        assert page.evaluate("document.activeElement.getAttribute('role')") == "tab"
    assert seen == ["Graph", "Timeline", "Passes", "Scalars", "Passes", "Scalars", "Passes"]


# ----- Passes -----


def test_the_table_of_passes_is_that_of_the_recording_and_leads_to_their_operations(show, step):
    page = show(step)
    rows = [row.split("\t") for row in texts(page, ".passes tbody tr")]
    assert len(rows) == len(step.passes)
    for row, p in zip(rows, step.passes, strict=True):
        parts = [sum(op.part == part for op in p.all_ops) for part in ("primal", "tangent", "cotangent")]
        assert row[0] == str(p.number) and row[1] == p.kind and p.label in row[2] and p.line in row[2]
        assert [0 if n == "·" else int(n) for n in row[5:8]] == parts
        flops = sum(op.flops for op in p.all_ops) / 1e6
        assert float(row[8].replace(",", "").replace("<", "")) == pytest.approx(flops, rel=0.02, abs=0.001)
    vjp = next(p for p in step.passes if p.kind == "vjp")
    page.locator(f".passes tr[data-key='{vjp.number}']").focus()
    page.keyboard.press("Enter")
    assert page.locator("#panel-ops").is_visible()
    assert keys(page) == [op.number for op in vjp.all_ops]


def test_unknown_arithmetic_is_a_question_mark_and_makes_sums_lower_bounds(show):
    page = show(by_hand("plain"))
    flops = [row.split("\t")[8].strip() for row in texts(page, ".passes tbody tr")]
    assert flops == ["≥ 3.00", "6.00", "3.00"]
    assert "≥ 9.00" in page.locator(".passes tfoot").inner_text()
    assert "≥ 9.00" in page.locator("#totals").inner_text()
    page.click("#tab-ops")
    assert [row.split("\t")[5] for row in texts(page, ".ops tbody tr")] == ["?", "3.00", "3.00", "3.00"]
    for _ in range(2):  # what is unknown comes last, up or down
        page.click(".ops th >> text=MFLOP")
        assert keys(page)[-1] == 0


def test_passes_inside_others_are_indented(show):
    t = nested()
    page = show(t)
    depths = {p.number: 0 for p in t.passes} | {c.number: 1 for p in t.passes for c in p.children}
    assert 1 in depths.values()
    for number, depth in depths.items():
        assert page.locator(f".passes tr[data-key='{number}'] .depth{depth}").count() == 1


# ----- Ops -----


def test_the_table_of_operations_sorts_both_ways_numbers_as_numbers(show, step):
    page = show(step)
    page.click("#tab-ops")
    assert keys(page) == [op.number for op in step.ops]

    def head(name):
        return page.locator(".ops th").filter(has_text=re.compile(f"^{name}"))

    for name, value in {
        "MFLOP": lambda op: op.flops,
        "name": lambda op: op.number,
        "primitive": lambda op: op.primitive,
    }.items():
        orders = {}
        for key in (None, "Enter"):
            page.keyboard.press(key) if key else head(name).click()
            orders[head(name).get_attribute("aria-sort")] = keys(page)
            assert page.locator(".ops th:not([aria-sort=none])").count() == 1
        # Where equal, in the order they ran, both ways: as Python's sort.
        assert orders == {
            "ascending": [op.number for op in sorted(step.ops, key=value)],
            "descending": [op.number for op in sorted(step.ops, key=value, reverse=True)],
        }


def test_the_table_of_operations_filters_by_text_pass_and_part(show, step):
    page = show(step)
    page.click("#tab-ops")
    jvp = next(p for p in step.passes if p.kind == "jvp")
    page.fill("#filter", "conv2d layers[3]")
    some = [op for op in step.ops if "layers[3]" in op.layer and "conv2d" in op.primitive]
    assert keys(page) == [op.number for op in some] and some
    assert page.locator("#summary").inner_text().startswith(f"{len(some)} of {len(step.ops)} ops")
    page.locator("label", has_text="part").locator("select").select_option("tangent")
    assert keys(page) == [op.number for op in some if op.part == "tangent"]
    page.locator("label", has_text="pass").locator("select").select_option(str(jvp.number))
    assert keys(page) == [op.number for op in some if op in jvp.all_ops]
    page.fill("#filter", "no such thing")
    assert keys(page) == []


def test_rows_are_reached_and_chosen_by_keys(show, step):
    page = show(step)
    page.click("#tab-ops")
    page.focus(".ops tbody tr[tabindex='0']")
    for key in ["ArrowDown", "ArrowDown", "ArrowUp", "Enter"]:
        page.keyboard.press(key)
    assert page.locator(".ops tr[aria-current=true]").get_attribute("data-key") == "1"
    assert page.locator("#chosen h2").inner_text().startswith(step.ops[1].primitive)
    page.keyboard.press("Escape")
    assert page.locator("#chosen").is_hidden()


# ----- Graph -----


def family(t, some):
    """Numbers of the tangent and cotangent operations, and of helpers, of primal operations."""
    numbers = {op.number for op in some}
    return {op.number for op in t.ops if op.of in numbers}


def test_boxes_of_the_graph_open_into_layers_and_operations_and_close(show, step):
    page = show(step)
    page.click("#tab-graph")
    assert page.locator(".node.open").count() == 1  # the model itself, which would be alone
    tops = [path for path in step.layers if re.fullmatch(r"model\.layers\[\d+\]", path)]
    closed = page.locator(".node.closed .title").all_text_contents()
    assert set(closed) == {path.removeprefix("model.") + step.layers[path] for path in tops}
    assert page.locator(".edges path").count() >= len(tops) - 1

    node(page, "layers[0]").locator(".opener").click()  # one convolution
    assert node(page, "layers[0]").get_attribute("aria-expanded") == "true"
    assert node(page, "conv2d").count() == 1
    node(page, "layers[0]").focus()
    page.keyboard.press(" ")
    assert node(page, "layers[0]").get_attribute("aria-expanded") == "false"
    assert node(page, "conv2d").count() == 0

    node(page, "layers[3]").dblclick()  # a residual block: its body is a box again
    assert node(page, "body").get_attribute("aria-expanded") == "false"
    assert node(page, "norm").get_attribute("aria-expanded") == "false"
    page.click("text=Open all")
    primals = [op for op in step.passes[0].ops if op.part == "primal" and op.of is None]
    assert page.locator(".node.op").count() == len(primals) and page.locator(".node.closed").count() == 0
    page.click("text=Close all")
    assert page.locator(".node.closed").count() == 1


def test_choosing_an_operation_of_the_graph_lights_up_its_tangent_and_cotangent_operations(show, step):
    page = show(step)
    page.click("#tab-graph")
    node(page, "layers[3]").dblclick()
    node(page, "body").dblclick()
    page.locator("[data-node='box model.layers[3].body.layers[0]'] .opener").click()
    op = next(op for op in step.ops if op.layer == "model.layers[3].body.layers[0]" and op.of is None)
    assert op.primitive == "conv2d"
    node(page, "conv2d").focus()
    page.keyboard.press("Enter")
    others = family(step, [op])
    parts = {step.ops[n].part for n in others}
    assert lit(page) == others and parts == {"tangent", "cotangent"}
    assert page.locator(".node.lit").count() == 1 and page.locator(".node.lit .lamp").count() == 2
    assert page.locator(".strip rect:not(.lane)").count() == len(others) + 1
    call = page.locator("#chosen .call").inner_text()
    name, call = call.split(" = ")
    start = rf"{name}: \S+ = {re.escape(call[: call.index(';')])}; "
    assert re.search(start, step[0].ir()) and call.startswith("conv2d(") and "stride" in call
    # The same are lit in time, and each leads to its row.
    page.click("#tab-timeline")
    assert numbers(page, ".slice.lit") == others | {op.number}
    page.click("#tab-graph")
    ct = next(n for n in sorted(others) if step.ops[n].part == "cotangent")
    page.click(f".relative[data-op='{ct}']")
    assert page.locator("#panel-ops").is_visible()
    assert page.evaluate("Number(document.activeElement.dataset.key)") == ct
    assert lit(page) == others - {ct} | {op.number}  # the way back


def test_choosing_a_box_lights_up_what_belongs_to_all_of_it(show, step):
    page = show(step)
    page.click("#tab-graph")
    node(page, "layers[3]").click()
    own = [op for op in step.passes[0].ops if op.layer.startswith("model.layers[3]")]
    primals = [op for op in own if op.part == "primal" and op.of is None]
    assert lit(page) == family(step, primals) and len(primals) > 3
    tangents = [op for op in step.ops if op.of in {p.number for p in primals} and op.part == "tangent"]
    assert f"●{len(tangents)}" in page.locator(".node.lit .lamp.tangent").text_content()


# ----- Timeline -----


def regular(recording):
    """The recording with operations of one length, one after the other, but for one that took no time."""
    again = Recording.from_json(recording.to_json())
    for op in again.ops:
        op.start, op.seconds = op.number * 1e-3, 1e-3
    again.ops[5].seconds = 1e-9
    for p in again.walk():
        times = [op.start for op in p.all_ops]
        p.start, p.seconds = min(times), max(times) - min(times) + 1e-3
    return again


def test_the_timeline_has_a_lane_for_each_pass_and_zooms(show, step):
    step = regular(step)
    page = show(step)
    page.click("#tab-timeline")
    assert page.locator(".lane-name").count() == len(step.passes)

    def scale():
        return float(page.locator("#scale").inner_text().split()[0].replace(",", ""))

    def slices():
        return page.locator(".slice").count()

    whole, all_slices = scale(), slices()
    assert all_slices == len(step.ops) - 1  # too thin to see
    page.click("[aria-label='Zoom in']")
    assert scale() == pytest.approx(whole / 2, rel=0.02) and slices() < 0.6 * all_slices
    page.focus(".lanes")
    page.keyboard.press("+")
    assert scale() == pytest.approx(whole / 4, rel=0.02)
    page.keyboard.press("-")
    assert scale() == pytest.approx(whole / 2, rel=0.02)
    page.keyboard.press("0")
    assert scale() == whole and slices() == all_slices
    page.locator(".lanes").hover(position={"x": 100, "y": 40})
    page.mouse.wheel(0, -400)
    page.wait_for_function(f"!document.getElementById('scale').textContent.startsWith('{whole}')")
    assert scale() < whole
    jvp = next(p for p in step.passes if p.kind == "jvp")
    page.click(f".lane-name[data-pass='{jvp.number}'] text")
    assert scale() == pytest.approx(1e3 * jvp.seconds, rel=0.02)
    assert page.locator(".slice:not(.tangent)").count() <= 4  # those at the edges


def test_the_arrow_keys_step_through_the_operations_in_time(show, step):
    page = show(step)
    page.click("#tab-timeline")
    page.focus(".lanes")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.locator(".slice.current").get_attribute("data-op") == "1"
    assert page.locator("#chosen h2").inner_text().startswith(step.ops[1].primitive)


# ----- IR and scalars -----


def columns(page):
    """The rows of the program: what they are of, and the lines of their three cells, inner ones indented."""
    return page.evaluate(
        """() => {
            const text = (line) => (line.matches(".inner") ? "  " : "") + line.textContent;
            const lines = (cell) => [...cell.querySelectorAll(".line")].map(text);
            const rows = [...document.querySelectorAll(".ir tbody tr[data-key]")];
            return rows.map((row) => [row.dataset.key, ...[...row.cells].map(lines)]);
        }"""
    )


def blocks(p, recording):
    """The rows of `p.ir()`, as those of the page: the inputs, then each operation with what is beside it."""
    _, rows = ir.columns(p, recording)
    made = [([], [])]
    for left, right in rows:
        if left and not left.startswith(("  ", "x")):
            made.append(([], []))
        for column, line in zip(made[-1], (left, right), strict=True):
            column.extend([line] if line else [])
    return made


def test_the_program_is_that_of_the_text_line_by_line_and_name_by_name(show):
    model = nn.mlp((3, 4, 2), rng=0)
    x = np.ones((5, 3), np.float32)
    with mg.trace() as t:
        _, J = mg.linearize(lambda m: m(x), model)
        J.T(J(model))
        J(model)
    page = show(t)
    page.click("#tab-ir")
    recorded, jvp, vjp = (blocks(p, t) for p in t.passes[:3])
    (name, *inputs), *rows = columns(page)
    assert name == "inputs" and inputs == [*recorded[0], []]
    assert inputs[0][0] == "x0: float32[3,4]"
    (name, *end) = rows.pop()
    assert name == "end" and end == [[], ["return t10"], vjp[0][1]] and end[2] == ["c0: float32[5,2]"]
    recorded[-1][1].remove("return t10")
    primals = [op for op in t[0].ops if op.of is None]
    assert [int(name) for name, *_ in rows] == [op.number for op in primals]
    assert [(left, right) for _, left, right, _ in rows] == recorded[1:]
    assert [(left, right[::-1]) for _, left, _, right in rows] == vjp[:0:-1]  # that column runs upwards
    assert rows[2][1:3] == [
        [
            "p2: float32[5,4] = tanh(p1)",
            "  p3: float32[5,4] = multiply(p2, p2)",
            "  p4: float32[5,4] = subtract(1, p3)",
        ],
        ["t6: float32[5,4] = multiply(t5, p4)"],
    ]
    page.locator("label", has_text="tangent").locator("select").select_option(index=1)  # the pass J(model)
    assert [(left, right) for _, left, right, _ in columns(page)[:-1]] == jvp


def half_read():
    w, unravel = mg.ravel([np.ones(2), np.ones(3)])
    return lambda w: np.sin(unravel(w)[1]), w


@pytest.mark.parametrize("f, x", [half_read(), (mg.grad(lambda x: np.sum(np.sin(x) ** 2)), np.ones(3))])
def test_a_record_of_results_unread_and_of_lines_of_no_operation_is_that_of_the_text(show, f, x):
    with mg.trace() as t:
        mg.linearize(f, x)
    text = blocks(t[0], t)
    returned = [[line for line in rights if line.startswith("return")] for _, rights in text]
    for (_, rights), lines in zip(text, returned, strict=True):
        del rights[len(rights) - len(lines) :]
    page = show(t)
    page.click("#tab-ir")
    *rows, (_, *end) = columns(page)
    assert end == [[], sum(returned, []), []]
    # The text has no name for the seed of another pass.
    lefts = [[line.replace("c0 (#2)", "float64[]") for line in left] for _, left, *_ in rows]
    assert [(left, row[2]) for left, row in zip(lefts, rows, strict=True)] == text


def test_the_program_of_a_step_has_a_row_for_each_primal_operation(show, step):
    page = show(step)
    page.click("#tab-ir")
    vjp = next(p for p in step.passes if p.kind == "vjp")
    (_, *inputs), *rows, (_, *_, seeds) = columns(page)
    assert seeds == ["c0: float32[2,10]"] and inputs[:2] == [
        [f"{letter}0: {step[0].inputs[0]}"] for letter in "xt"
    ]
    in_text = blocks(vjp, step)[:0:-1]
    assert [len(row) for row, _ in in_text] == [len(row[1]) for row in rows]
    for (name, _, tangents, cotangents), (_, texts) in zip(rows, in_text, strict=True):
        equations = [e.primitive for e in step[0].equations if e.of == int(name)]
        assert [line.split(" = ")[1].split("(")[0] for line in tangents if " = " in line] == equations
        starts = [line.split(":")[0] for line in texts[::-1]]
        assert [line.split(":")[0].split(" … ")[0] for line in cotangents] == starts


def test_a_value_of_another_pass_is_named_with_it(show):
    t = nested()  # a pass of tangents around a pass that is linearized and its sweep backwards
    page = show(t)
    outer, inner, vjp = t.walk()
    assert (outer.kind, inner.kind, vjp.kind, vjp.at) == ("jvp", "primal", "vjp", inner.number)
    page.click("#tab-ops")
    last = inner.ops[-1]
    names = dict(zip(keys(page), texts(page, ".ops tbody td:first-child"), strict=True))
    assert names[last.number] == "p13" and names[vjp.ops[-1].number] == "c8"

    def call(op):
        row = page.locator(f".ops tr[data-key='{op.number}']")
        row.click()
        return row.locator("td").nth(8).inner_text(), page.locator("#chosen .call").inner_text()

    assert call(inner.ops[2]) == ("p0", "p2 = multiply(t0 (#0), p1)")
    assert call(vjp.ops[2]) == ("p7", "c3 = multiply(c2, p10)")  # those of the program that it sweeps
    page.click("#tab-ir")
    page.locator("#panel-ir select").nth(0).select_option(str(outer.number))
    (_, *inputs), (_, *first), *_ = columns(page)
    assert inputs == [["x0: float64[3]"], ["t0: float64[3]"], []]
    assert {line.strip() for line in first[0] + first[1]} < {line.strip() for line in t[0].ir().splitlines()}


def test_scalars_of_one_step_are_a_table_and_of_several_charts_too(show, step):
    page = show(step)
    page.click("#tab-scalars")
    (values,) = step.steps
    row = dict(zip(texts(page, ".scalars th"), texts(page, ".scalars td"), strict=True))
    for name, key in {"loss": "loss", "ρ": "rho", "β": "beta", "λ": "lam"}.items():
        assert float(row[name]) == pytest.approx(values[key], rel=1e-4)
    for name, norm in values["norms"].items():
        assert float(row[f"norm of {name}"]) == pytest.approx(norm, rel=1e-4)
    assert page.locator("figure").count() == 0
    page = show(by_hand("plain"))
    page.click("#tab-scalars")
    assert texts(page, "figcaption b") == ["loss", "ρ", "norm of plain"]
    assert page.locator("figure >> nth=0").locator("circle").count() == 2  # the others are not finite
    assert [row.split("\t")[2] for row in texts(page, ".scalars tbody tr")] == ["1.5", "0.5", "NaN", "∞"]


# ----- Names are inert -----


def test_hostile_names_are_shown_and_do_nothing(show):
    t = by_hand()
    page = show(t)
    seen = EVIL.rstrip("\u2028\u2029")
    for tab in TABS:
        page.click(f"#tab-{tab}")
        if tab == "graph":
            page.click("text=Open all")
        if tab == "ops":
            page.click(".ops tbody tr >> nth=1")
        assert seen in page.locator(f"#panel-{tab}").evaluate("(e) => e.textContent"), tab
    told = page.locator("#chosen").evaluate("(e) => e.textContent")
    for text in (f"y = {seen}", f"mode={seen}", f"model.{seen}", f"{EVIL}.py:1", f"float64[{seen}"):
        assert text in told
    assert seen in page.locator("h1").evaluate("(e) => e.textContent") and seen in page.title()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0 and page.locator("script").count() == 3
    assert page.complaints == [] and len(page.requests) == 1


def test_the_data_are_json_that_no_html_parser_can_leave():
    page = by_hand().to_html()
    data = page.partition('id="recording">')[2].partition("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(data) and data.isascii()
    assert EVIL in json.loads(data)["strings"]
    assert "<img" not in page


def test_the_page_lets_no_other_script_run_and_loads_nothing(show, step):
    page = show(step)
    page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            const image = document.createElement("img");
            image.src = "other.png";
            document.body.append(script, image);
            image.decode().catch(() => 0);
        }"""
    )
    assert page.evaluate("window.hacked") is None
    refused = [text for text in page.complaints if "Content Security Policy" in text]
    assert len(refused) == 2


# ----- Looks -----


def luminance(color):
    rgb = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_contrast_in_light_and_dark(show, step, scheme):
    page = show(step, scheme=scheme)
    style = page.evaluate(
        """() => {
            const style = getComputedStyle(document.documentElement);
            const names = [...document.styleSheets[0].cssRules[0].style].filter((n) => n.startsWith("--"));
            return Object.fromEntries(names.map((n) => [n.slice(2), style.getPropertyValue(n).trim()]));
        }"""
    )
    assert (luminance(style["ground"]) > 0.5) == (scheme == "light")
    grounds = ("ground", "sheet", "hover")
    pairs = [(text, ground) for text in ("ink", "dim") for ground in grounds]
    for part in ("primal", "tangent", "cotangent", "loss"):
        pairs += [(part, "sheet"), (part, f"{part}-soft"), ("ink", f"{part}-soft"), ("on", part)]
    for text, ground in pairs:
        light, dark = sorted([luminance(style[text]), luminance(style[ground])], reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_a_narrow_screen_does_not_scroll_sideways(show, step):
    page = show(step, width=360, height=700)
    for tab in TABS:
        page.click(f"#tab-{tab}")
        if tab == "ops":
            page.click(".ops tbody tr >> nth=3")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, tab
