// Timeline: when each operation ran; one lane a pass, zoomed by wheel, buttons and keys.

const AXIS = 26;
const ROWS_HIGH = [20, 60]; // a lane is as high as there is room for
const HEAD = 20;

const view = { begin: 0, end: 1, from: 0, to: 1 };

addTab("Timeline", (panel) => {
  if (!ops.length) {
    panel.append(sentence("No operation was recorded, so there is no time to show."));
    return;
  }
  view.begin = view.from = Math.min(...tops.map((p) => p.start));
  view.end = view.to = Math.max(...tops.map((p) => p.start + p.seconds), view.begin + 1e-6);
  view.axis = svg("svg", { class: "axis", "aria-hidden": "true", height: AXIS });
  view.lanes = svg("svg", {
    class: "lanes",
    tabindex: 0,
    role: "group",
    "aria-label": "Operations in time. Left and right choose the next one, plus and minus zoom, 0 shows all.",
  });
  view.box = h("div", { class: "box fill timeline" }, view.axis, view.lanes);
  view.scale = h("output", { class: "dim", id: "scale" });
  panel.append(
    h(
      "div",
      { class: "toolbar" },
      button("+", "Zoom in", () => zoom(0.5)),
      button("−", "Zoom out", () => zoom(2)),
      button("All", "Show all", () => look(view.begin, view.end)),
      view.scale,
      legend(),
      hint("wheel zooms, drag moves, ← → step through; a lane's name zooms to it"),
    ),
    view.box,
  );
  view.box.addEventListener("wheel", onWheel, { passive: false });
  view.lanes.addEventListener("keydown", onKey);
  listenToPointer();
  onChosen(drawTimeline);
  new ResizeObserver(drawTimeline).observe(view.box);
  drawTimeline();
});

function legend() {
  return h(
    "span",
    { class: "legend" },
    PARTS.map((part) => h("span", { class: part }, h("i", { class: "dot" }), part)),
  );
}

// ----- What is in view -----

function look(from, to) {
  const least = (view.end - view.begin) * 1e-5;
  const width = Math.min(Math.max(to - from, least), view.end - view.begin);
  view.from = Math.min(Math.max(from, view.begin), view.end - width);
  view.to = view.from + width;
  drawTimeline();
}

/** Shows `factor` of the time now in view, keeping the time under `at` (0 left, 1 right) where it is. */
function zoom(factor, at = 0.5) {
  const middle = view.from + at * (view.to - view.from);
  const from = middle - at * factor * (view.to - view.from);
  look(from, from + factor * (view.to - view.from));
}

function move(share) {
  const by = share * (view.to - view.from);
  look(view.from + by, view.to + by);
}

// ----- Wheel, drag, keys -----

function onWheel(event) {
  if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
    move((event.deltaX || event.deltaY) / view.lanes.clientWidth);
  else {
    const box = view.lanes.getBoundingClientRect();
    zoom(1.0015 ** event.deltaY, (event.clientX - box.left) / box.width);
  }
  event.preventDefault();
}

function listenToPointer() {
  let drag = null;
  view.lanes.addEventListener("pointerdown", (event) => {
    drag = { x: event.clientX, from: view.from, moved: false };
  });
  view.lanes.addEventListener("pointermove", (event) => {
    if (drag && event.buttons) {
      const by = event.clientX - drag.x;
      drag.moved ||= Math.abs(by) > 4;
      if (drag.moved) {
        hideTip();
        const width = view.to - view.from;
        const from = drag.from - (by / view.lanes.clientWidth) * width;
        look(from, from + width);
        return;
      }
    }
    const op = opUnder(event);
    if (op) showTip(event, ...opTip(op));
    else hideTip();
  });
  view.lanes.addEventListener("pointerleave", hideTip);
  view.lanes.addEventListener("click", (event) => {
    if (drag?.moved) return;
    const lane = event.target.closest("[data-pass]");
    if (lane) {
      const p = passBy.get(Number(lane.dataset.pass));
      look(p.start, p.start + p.seconds);
    } else choose(opUnder(event) ? [opUnder(event)] : []);
  });
}

function opUnder(event) {
  const slice = event.target.closest("[data-op]");
  return slice && opBy.get(Number(slice.dataset.op));
}

function onKey(event) {
  const next = (by) => {
    const at =
      chosen.ops.length === 1
        ? ops.indexOf(chosen.ops[0])
        : ops.findIndex((op) => op.start >= view.from) - by;
    const op = ops[Math.min(Math.max(at + by, 0), ops.length - 1)];
    if (op.start < view.from || op.start + op.seconds > view.to) {
      const width = view.to - view.from;
      look(op.start - width / 2, op.start + width / 2);
    }
    choose([op]);
  };
  const action = {
    "+": () => zoom(0.5),
    "=": () => zoom(0.5),
    "-": () => zoom(2),
    0: () => look(view.begin, view.end),
    Escape: () => choose([]),
    ArrowRight: () => (event.shiftKey ? move(0.25) : next(1)),
    ArrowLeft: () => (event.shiftKey ? move(-0.25) : next(-1)),
  }[event.key];
  if (!action) return;
  event.preventDefault();
  action();
}

// ----- Drawing -----

function drawTimeline() {
  const width = view.box.clientWidth;
  if (!width) return;
  const x = (t) => ((t - view.from) / (view.to - view.from)) * width;
  drawAxis(x, width);
  const shapes = [];
  const depths = tops.map((p) => 1 + Math.max(...[...p.within].map((q) => passBy.get(q).depth)));
  const room =
    (view.box.clientHeight - AXIS - tops.length * (HEAD + 8) - 12) / depths.reduce((a, b) => a + b);
  const row = Math.min(Math.max(room, ROWS_HIGH[0]), ROWS_HIGH[1]);
  let y = 4;
  tops.forEach((p, k) => {
    const inside = passes.filter((q) => p.within.has(q.number));
    const height = row * depths[k];
    shapes.push(svg("rect", { class: "track", x: 0, y: y + HEAD, width, height: height - 2 }));
    shapes.push(
      svg(
        "g",
        { class: "lane-name", "data-pass": p.number, transform: `translate(6 ${y + 13})` },
        svg(
          "text",
          {},
          svg("tspan", { class: KIND_PART[p.kind] ?? "loss" }, passName(p)),
          svg("tspan", { dx: 8 }, p.label.slice(0, 90)),
          svg("tspan", { class: "dim", dx: 8 }, `${milliseconds(p.seconds)} ms`),
        ),
      ),
    );
    for (const q of inside) {
      shapes.push(
        svg("rect", { class: "lane", ...span(q, x, width), y: y + HEAD + row * q.depth, height: row - 2 }),
      );
    }
    let drawn = -1;
    for (const op of p.ops) {
      const from = x(op.start),
        to = x(op.start + op.seconds);
      if (to < 0 || from > width) continue;
      // Thousands of slices on one pixel would be one slice to see, and slow.
      if (to - drawn < 0.2 && light(op) !== "lit") continue;
      drawn = to;
      shapes.push(
        slice(op, { from, to, width, y: y + HEAD + row * passBy.get(op.pass).depth, height: row - 2 }),
      );
    }
    y += HEAD + height + 8;
  });
  fill(view.lanes, { width, height: y }, []).replaceChildren(...shapes);
  view.scale.textContent = `${milliseconds(view.to - view.from)} of ${milliseconds(view.end - view.begin)} ms`;
}

/** The part of a pass that is in view: no picture needs to be wider than the screen. */
function span(p, x, width) {
  const from = Math.max(-2, x(p.start)),
    to = Math.min(width + 2, x(p.start + p.seconds));
  return { x: from, width: Math.max(0, to - from) };
}

function slice(op, { from, to, width, y, height }) {
  from = Math.max(from, -2);
  to = Math.min(to, width + 2);
  // Slices that touch keep a line between them where there is room for one.
  const wide = Math.max(0.6, to - from - (to - from > 3 ? 0.6 : 0));
  const group = svg(
    "g",
    { class: `slice ${op.part} ${light(op)} ${isChosen(op) ? "current" : ""}`, "data-op": op.number },
    svg("rect", { x: from, y, width: wide, height }),
  );
  const letters = Math.floor((wide - 8) / 6.3);
  if (letters >= 3)
    group.append(
      svg(
        "text",
        { x: from + 4, y: y + height / 2 + 4 },
        op.primitive.length > letters ? `${op.primitive.slice(0, letters - 1)}…` : op.primitive,
      ),
    );
  return group;
}

function drawAxis(x, width) {
  const rough = (view.to - view.from) / Math.max(2, width / 110);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((k) => k * power >= rough);
  const marks = [];
  for (let k = Math.ceil((view.from - view.begin) / step); k * step <= view.to - view.begin; k++) {
    const at = x(view.begin + k * step);
    marks.push(
      svg("line", { x1: at, x2: at, y1: 18, y2: AXIS }),
      svg("text", { x: at + 4, y: 20 }, `${Number((k * step * 1e3).toPrecision(6))} ms`),
    );
  }
  fill(view.axis, { width }, []).replaceChildren(...marks);
}
