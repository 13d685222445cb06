// IR: the program beside its derivative: in each row a primal operation, its tangent's and its cotangent's.

// So many lines of a row are shown, and of a line so much: all of it while the row is chosen.
const LINES = 5;

const ir = { base: null, tangent: "", cotangent: "", body: null };

addTab("IR", (panel) => {
  if (!bases.length) {
    panel.append(sentence("No pass of this recording computes values, so there is no program to show."));
    return;
  }
  ir.tools = h("div", { class: "toolbar" });
  ir.table = h("table", { class: "ir" });
  panel.append(ir.tools, h("div", { class: "box fill" }, ir.table));
  onChosen(markProgram);
  panel.addEventListener("show", () => ir.body?.querySelector(".lit")?.scrollIntoView({ block: "nearest" }));
  showProgram(
    bases.find((p) => p.kind === "primal" && equationsOf(p).length) ?? bases.find(derived) ?? bases[0],
  );
});

function sweeps(p, kind) {
  return passes.filter((q) => q.at === p.number && q.kind === kind);
}

function showProgram(p) {
  ir.base = p;
  const option = (q) => [q.number, `${passName(q)} ${q.label.slice(0, 30)}`];
  const tangents = [...(equationsOf(p).length ? [["", "as recorded"]] : []), ...sweeps(p, "jvp").map(option)];
  const cotangents = sweeps(p, "vjp").map(option);
  ir.tangent = tangents[0]?.[0] ?? null;
  ir.cotangent = cotangents[0]?.[0] ?? null;
  const pass = picker(
    "primal",
    bases.map((q) => [q.number, `${passName(q)} ${q.label.slice(0, 40)}`]),
    (v) => showProgram(passBy.get(Number(v))),
  );
  pass.querySelector("select").value = p.number;
  ir.tools.replaceChildren(
    pass,
    tangents.length > 1
      ? picker("tangent", tangents, (v) => {
          ir.tangent = v;
          drawProgram();
        })
      : "",
    cotangents.length > 1
      ? picker("cotangent", cotangents, (v) => {
          ir.cotangent = v;
          drawProgram();
        })
      : "",
    hint(
      cotangents.length
        ? "primal and tangent run downwards, cotangent upwards; choose a row to see all of it"
        : "choose a row to see all of it",
    ),
  );
  drawProgram();
}

/** The three columns: whose names they use, what they start from, and their lines. */
function programs() {
  const base = ir.base;
  if (base.kind !== "primal") {
    // It computes derivatives along with values.
    const [primal, ...others] = PARTS.map((part) => base.ops.filter((op) => op.part === part));
    return [
      { p: base, starts: starts("x", base.inputs), lines: primal },
      ...others.map((lines, k) => ({ p: base, starts: k ? [] : seedsOf(base), lines })),
    ];
  }
  return [
    { p: base, starts: starts("x", base.inputs), lines: base.ops },
    ir.tangent === ""
      ? { p: base, starts: starts("t", base.inputs), lines: equationsOf(base) }
      : sweepColumn(ir.tangent),
    sweepColumn(ir.cotangent),
  ];
}

function sweepColumn(number) {
  if (number === null) return { p: ir.base, starts: [], lines: [] };
  const p = passBy.get(Number(number));
  return { p, starts: seedsOf(p), lines: p.ops };
}

function seedsOf(p) {
  return starts(
    INITIALS[p.kind],
    p.seeds.map((seed) => seed.aval),
  );
}

function starts(initial, avals) {
  return avals.map((aval, k) => h("div", {}, nameAndAval(`${initial}${k}`, aval)));
}

function drawProgram() {
  const [primal, tangent, cotangent] = programs();
  // Each operation of the program, and what its rule computed beside the value.
  const blocks = new Map();
  for (const op of primal.lines) {
    if (blocks.has(op.of)) blocks.get(op.of).push(programLine(op, primal.p, "inner"));
    else blocks.set(op.number, [programLine(op, primal.p)]);
  }
  const tangents = beside(blocks, tangent);
  const cotangents = beside(blocks, cotangent);
  ir.body = h("tbody");
  const add = (key, ...cells) => {
    if (cells.some((lines) => lines?.length))
      ir.body.append(h("tr", { "data-key": key, tabindex: -1 }, cells.map(programCell)));
  };
  add("inputs", primal.starts, [...tangent.starts, ...(tangents.get(null) ?? [])], []);
  let layer = null;
  for (const [number, lines] of blocks) {
    const op = opBy.get(number);
    if (op.layer && op.layer !== layer) ir.body.append(layerRow(op.layer));
    layer = op.layer;
    add(number, lines, tangents.get(number), cotangents.get(number)?.toReversed());
  }
  const returned = ir.base.returned.map((k) => ir.base.variables.get(k) ?? "0");
  add(
    "end",
    [],
    ir.tangent === "" ? [h("div", {}, `return ${returned.join(", ")}`)] : [],
    [...cotangent.starts, ...(cotangents.get(null) ?? [])].toReversed(),
  );
  reachRow(ir.body, ir.body.querySelector("tr[data-key]"));
  chooseRows(ir.body, (row) => {
    reachRow(ir.body, row);
    const op = opBy.get(Number(row.dataset.key));
    if (op) choose([op]);
    else row.classList.toggle("all");
  });
  const head = (part, { lines }, none) =>
    h(
      "th",
      { scope: "col" },
      partBadge(part),
      h("span", { class: "dim" }, ` ${lines.length ? count(lines.length, "line") : none}`),
    );
  ir.table.replaceChildren(
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        head("primal", primal, ""),
        head("tangent", tangent, "not recorded, not run"),
        head("cotangent", cotangent, "no reverse-mode pass"),
      ),
    ),
    ir.body,
  );
  markProgram();
}

function layerRow(layer) {
  const name = h("span", { class: "dim" }, layers.get(layer) ?? "");
  return h("tr", { class: "section" }, h("th", { colspan: 3, scope: "colgroup" }, layer, " ", name));
}

/** The lines beside each block: of its operation, or of one in no block but run right after those. */
function beside(blocks, { p, lines }) {
  const cells = new Map();
  let at = null;
  for (const line of lines) {
    if (line.of === null || blocks.has(line.of)) at = line.of;
    if (!cells.has(at)) cells.set(at, []);
    cells.get(at).push(programLine(line, p));
  }
  return cells;
}

function programCell(lines = []) {
  lines.forEach((line, k) => {
    line.classList.add("line");
    line.classList.toggle("rest", k >= LINES);
  });
  const left = lines.length - LINES;
  return h(
    "td",
    {},
    lines,
    left > 0 ? h("div", { class: "dim left" }, `… ${count(left, "line")} more`) : null,
  );
}

function programLine(line, p, cls = null) {
  return h(
    "div",
    { class: cls },
    results(line, p),
    " = ",
    h("b", {}, line.primitive),
    argumentsText(line, p),
  );
}

/** 'p12: float32[3]', or that of each result; many of them in short. */
function results(line, p) {
  const operation = line.number !== undefined;
  const names = operation
    ? resultNames(line.number, p)
    : line.outputs.map((v) => p.variables.get(v.variable) ?? "_");
  if (names.length > 3) return nameAndAval(inShort(names), `${names.length} arrays`);
  return names.map((name, k) => [
    k ? ", " : "",
    name === "_" ? name : nameAndAval(name, operation ? line.outputs[k] : line.outputs[k].aval),
  ]);
}

function nameAndAval(name, aval) {
  return [h("span", { class: "name" }, name), h("span", { class: "dim" }, `: ${aval}`)];
}

function markProgram() {
  for (const row of ir.body.querySelectorAll("tr[data-key]")) {
    const lit = chosen.lit.has(Number(row.dataset.key));
    row.classList.toggle("lit", lit);
    row.setAttribute("aria-current", String(lit));
  }
}
