// Graph: the data flow of a primal pass, its layers as boxes that open; `layout.js` says where they are.

const graph = {
  base: null,
  open: new Set(),
  scale: 1,
  root: null,
  boxOf: new Map(),
  outer: null,
  inner: null,
  drawn: null,
};

addTab("Graph", (panel) => {
  document.body.classList.toggle("flat", !bases.length);
  if (!bases.length) {
    panel.append(sentence("No pass of this recording computes values, so there is no data flow to show."));
    return;
  }
  graph.outer = h("div", { class: "box fill graph" });
  const tools = h(
    "div",
    { class: "toolbar" },
    bases.length > 1
      ? picker(
          "pass",
          bases.map((p) => [p.number, `${passName(p)} ${p.label.slice(0, 40)}`]),
          (v) => showBase(passBy.get(Number(v))),
        )
      : null,
    button("+", "Zoom in", () => scaleBy(1.25)),
    button("−", "Zoom out", () => scaleBy(0.8)),
    button("Fit", "Fit the width and height", fitGraph),
    button("Open all", "Open all boxes", () => openBoxes([...graph.root.boxes()])),
    button("Close all", "Close all boxes", () => openBoxes([])),
    legend(),
    hint("click chooses, ⊞ or a double click opens; ● counts tangent and cotangent operations"),
  );
  panel.append(tools, graph.outer);
  graph.outer.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      scaleBy(1.0015 ** -event.deltaY);
    },
    { passive: false },
  );
  dragToScroll(graph.outer);
  onChosen(lightGraph);
  panel.addEventListener("show", () =>
    graph.inner?.querySelector(".lit")?.scrollIntoView({ block: "nearest", inline: "nearest" }),
  );
  showBase(bases.find((p) => derived(p)) ?? bases[0]);
});

function derived(p) {
  return p.ops.some((op) => isPrimal(op) && derivatives.has(op.number));
}

function showBase(p) {
  graph.base = p;
  graph.root = tree(p.ops.filter(isPrimal));
  graph.open = new Set();
  // A box that holds everything is opened at once.
  for (let box = graph.root; box.children.size === 1;) {
    [box] = box.children.values();
    graph.open.add(box.path);
  }
  drawGraph();
  fitGraph();
}

function openBoxes(paths, keep = null) {
  graph.open = new Set(paths);
  drawGraph(keep);
}

function toggle(box) {
  const open = new Set(graph.open);
  if (!open.delete(box.path)) open.add(box.path);
  openBoxes(open, box);
}

// ----- Drawing -----

function drawGraph(keep = null) {
  const before = keep && nodeFor(`box ${keep.path}`)?.getBoundingClientRect();
  const { g, fans } = layout();
  graph.drawn = g;
  graph.fans = fans;
  const { width, height } = g.graph();
  graph.size = { width: Math.max(width, 1), height: Math.max(height, 1) };
  // Outer boxes first: what is inside lies on top of them.
  const opened = g
    .nodes()
    .filter((id) => g.node(id).open)
    .sort((a, b) => a.length - b.length);
  const closed = g.nodes().filter((id) => !g.node(id).open);
  graph.edges = svg(
    "g",
    { class: "edges" },
    g.edges().map((e) => edge(g.edge(e), e)),
  );
  graph.inner = svg(
    "svg",
    {
      viewBox: `0 0 ${graph.size.width} ${graph.size.height}`,
      role: "group",
      "aria-label": `Data flow of pass ${passName(graph.base)}`,
    },
    svg(
      "defs",
      {},
      svg(
        "marker",
        {
          id: "tip-of-edge",
          viewBox: "0 0 8 8",
          refX: 7,
          refY: 4,
          markerUnits: "userSpaceOnUse",
          markerWidth: 8,
          markerHeight: 8,
          orient: "auto",
        },
        svg("path", { d: "M0 0L8 4L0 8z" }),
      ),
    ),
    opened.map((id) => node(g.node(id), id)),
    graph.edges,
    closed.map((id) => node(g.node(id), id)),
  );
  graph.outer.replaceChildren(graph.inner);
  scaleTo(graph.scale);
  lightGraph();
  if (keep) {
    // What was opened or closed stays under the pointer.
    const now = nodeFor(`box ${keep.path}`);
    const after = now.getBoundingClientRect();
    graph.outer.scrollLeft += after.left + after.width / 2 - before.left - before.width / 2;
    graph.outer.scrollTop += after.top - before.top;
    now.focus({ preventScroll: true });
  }
}

function nodeFor(id) {
  return [...graph.outer.querySelectorAll("[data-node]")].find((element) => element.dataset.node === id);
}

function node(n, id) {
  const some = n.op ? [n.op] : n.box.all;
  const what = n.op
    ? `${n.op.primitive} ${opName(n.op)}, ${n.op.outputs.join(", ")}`
    : `${n.box.path} ${layers.get(n.box.path) ?? ""}, ${costLine(some)}`;
  const x = n.x - n.width / 2,
    y = n.y - n.height / 2;
  const pick = () => choose(some, n.box?.path ?? "");
  const element = svg(
    "g",
    {
      class: `node ${n.op ? "op" : n.open ? "open" : "closed"}`,
      "data-node": id,
      transform: `translate(${x} ${y})`,
      tabindex: 0,
      role: "button",
      "aria-label": what,
      "aria-expanded": n.box ? String(Boolean(n.open)) : null,
      onclick: (event) => {
        event.stopPropagation();
        pick();
      },
      ondblclick: () => n.box && toggle(n.box),
      onpointermove: (event) => (n.op ? showTip(event, ...opTip(n.op)) : hideTip()),
      onpointerleave: hideTip,
      onkeydown: (event) => {
        if (event.key === "Enter") pick();
        else if (
          n.box &&
          (event.key === " " ||
            (event.key === "ArrowRight" && !n.open) ||
            (event.key === "ArrowLeft" && n.open))
        )
          toggle(n.box);
        else return;
        event.preventDefault();
        event.stopPropagation();
      },
    },
    svg("rect", { class: "body", width: n.width, height: n.height, rx: n.op ? 9 : 5 }),
  );
  const [title, ...rest] = n.open ? [""] : n.text;
  const letters = Math.floor((n.width - 30) / LETTER);
  element.append(
    svg(
      "text",
      { class: "title", x: n.box ? 28 : 10, y: n.open ? 15 : 18 },
      n.box ? cut(n.box.title, letters) : cut(title, letters),
      n.box &&
        svg(
          "tspan",
          { class: "dim", dx: 7 },
          cut(layers.get(n.box.path) ?? "", Math.max(1, letters - n.box.title.length)),
        ),
    ),
  );
  rest.forEach((line, k) =>
    element.append(svg("text", { class: "dim", x: 10, y: 34 + 16 * k }, cut(line, 48))),
  );
  if (n.box) element.append(opener(n));
  if (!n.open) element.append(lamps(some, n));
  return element;
}

/** The corner of a box that opens or closes it. */
function opener(n) {
  return svg(
    "g",
    {
      class: "opener",
      onclick: (event) => {
        event.stopPropagation();
        toggle(n.box);
      },
      ondblclick: (event) => event.stopPropagation(),
    },
    svg("rect", { class: "grip", width: 24, height: 24 }),
    svg("rect", { x: 8, y: n.open ? 5 : 8, width: 12, height: 12, rx: 2 }),
    svg("path", { d: `M11 ${n.open ? 11 : 14}h6${n.open ? "" : "m-3 -3v6"}` }),
  );
}

/** How many tangent and cotangent operations belong to it, as two lamps that are lit while it is chosen. */
function lamps(some, n) {
  const family = some.flatMap((op) => derivatives.get(op.number) ?? []);
  const group = svg("g", { class: "lamps" });
  let x = n.width - 10;
  for (const part of ["cotangent", "tangent"]) {
    const many = family.filter((op) => op.part === part).length;
    if (!many) continue;
    group.append(
      svg(
        "text",
        { class: `lamp ${part}`, x, y: 17, "text-anchor": "end" },
        `●${many}`,
        svg("title", {}, `${many} ${part}`),
      ),
    );
    x -= 12 + 6.5 * String(many).length;
  }
  return group;
}

function cut(text, letters) {
  return text.length > letters ? `${text.slice(0, letters - 1)}…` : text;
}

function edge(e, { v, w }) {
  const [first, ...rest] = e.points;
  let d = `M${first.x} ${first.y}`;
  rest.forEach((p, k) => {
    const next = rest[k + 1];
    d += next ? `Q${p.x} ${p.y} ${(p.x + next.x) / 2} ${(p.y + next.y) / 2}` : `L${p.x} ${p.y}`;
  });
  return svg(
    "path",
    { d, "data-from": v, "data-to": w, "marker-end": "url(#tip-of-edge)" },
    svg("title", {}, [...new Set(e.avals)].join(", ")),
  );
}

/** Puts the choice into the picture: the node, its edges, and the lamps of what is lit. */
function lightGraph() {
  if (!graph.inner) return;
  const ids = new Set(
    chosen.ops
      .map((op) => opBy.get(op.of) ?? op)
      .filter((op) => graph.root.all.includes(op))
      .map(drawnAs),
  );
  const name = chosen.name && `box ${chosen.name}`;
  for (const element of graph.inner.querySelectorAll(".node")) {
    const id = element.dataset.node;
    element.classList.toggle("lit", ids.has(id) || id === name);
    element.classList.toggle("current", id === name || (!name && ids.has(id)));
    element.setAttribute("aria-pressed", String(id === name || (!name && ids.has(id))));
  }
  for (const path of graph.edges.querySelectorAll(".fan")) path.remove();
  const seen = new Set();
  for (const { v, w } of graph.fans) {
    if ((ids.has(v) || ids.has(w)) && !seen.has(v + w)) {
      seen.add(v + w);
      const a = graph.drawn.node(v),
        b = graph.drawn.node(w);
      const y = a.y + a.height / 2,
        z = b.y - b.height / 2;
      graph.edges.append(
        svg("path", {
          class: "fan",
          d: `M${a.x} ${y}C${a.x} ${y + 40} ${b.x} ${z - 40} ${b.x} ${z}`,
          "data-from": v,
          "data-to": w,
          "marker-end": "url(#tip-of-edge)",
        }),
      );
    }
  }
  for (const path of graph.edges.children)
    path.classList.toggle("lit", ids.has(path.dataset.from) || ids.has(path.dataset.to));
}

// ----- Scale and scroll -----

function scaleTo(scale) {
  graph.scale = Math.min(Math.max(scale, 0.15), 2.5);
  fill(graph.inner, { width: graph.size.width * graph.scale, height: graph.size.height * graph.scale }, []);
}

function scaleBy(factor) {
  const box = graph.outer;
  const [x, y] = [
    (box.scrollLeft + box.clientWidth / 2) / graph.scale,
    (box.scrollTop + box.clientHeight / 2) / graph.scale,
  ];
  scaleTo(graph.scale * factor);
  box.scrollLeft = x * graph.scale - box.clientWidth / 2;
  box.scrollTop = y * graph.scale - box.clientHeight / 2;
}

/** As large as fits, but never too small to read: the rest is a scroll away. */
function fitGraph() {
  const { clientWidth, clientHeight } = graph.outer;
  scaleTo(
    Math.min(1, Math.max(0.85, Math.min(clientWidth / graph.size.width, clientHeight / graph.size.height))),
  );
  graph.outer.scrollLeft = (graph.size.width * graph.scale - clientWidth) / 2;
  graph.outer.scrollTop = 0;
}

function dragToScroll(box) {
  let drag = null;
  box.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse")
      drag = { x: event.clientX + box.scrollLeft, y: event.clientY + box.scrollTop };
  });
  box.addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return;
    box.scrollLeft = drag.x - event.clientX;
    box.scrollTop = drag.y - event.clientY;
  });
}
