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

function equationsOf(p) {
  return equations.filter((e) => e.pass === p.number);
}

/** The passes that computed derivatives of `p`, by part. */
function sweeps(p, part) {
  const own = new Set(p.ops.filter(isPrimal).map((op) => op.number));
  const numbers = new Set(ops.filter((op) => op.part === part && own.has(op.of)).map((op) => op.pass));
  return passes.filter((q) => numbers.has(q.number));
}

function showProgram(p) {
  ir.base = p;
  const recorded = equationsOf(p);
  const tangents = [
    ...(recorded.length ? [["", "as recorded"]] : []),
    ...sweeps(p, "tangent").map((q) => [q.number, `${passName(q)} ${q.label.slice(0, 30)}`]),
  ];
  const cotangents = sweeps(p, "cotangent").map((q) => [q.number, `${passName(q)} ${q.label.slice(0, 30)}`]);
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

function drawProgram() {
  const programs = [
    ir.tangent === "" ? equationsOf(ir.base) : partOf(ir.tangent, "tangent"),
    partOf(ir.cotangent, "cotangent"),
  ];
  const byOf = programs.map((lines) => Map.groupBy(lines, (line) => line.of));
  const own = ir.base.ops.filter(isPrimal);
  const known = new Set(own.map((op) => op.number));
  ir.body = h("tbody");
  let layer = null;
  own.forEach((op, k) => {
    if (op.layer !== layer) {
      layer = op.layer;
      if (layer)
        ir.body.append(
          h(
            "tr",
            { class: "section" },
            h(
              "th",
              { colspan: 3, scope: "colgroup" },
              layer,
              " ",
              h("span", { class: "dim" }, layers.get(layer) ?? ""),
            ),
          ),
        );
    }
    const cells = [[op], byOf[0].get(op.number), (byOf[1].get(op.number) ?? []).toReversed()];
    ir.body.append(h("tr", { "data-key": op.number, tabindex: k ? -1 : 0 }, cells.map(programCell)));
  });
  const rest = programs.map((lines) => lines.filter((line) => !known.has(line.of)));
  if (rest.some((lines) => lines.length)) {
    ir.body.append(
      h("tr", { class: "section" }, h("th", { colspan: 3, scope: "colgroup" }, "of no single operation")),
      h("tr", {}, [[], ...rest].map(programCell)),
    );
  }
  chooseRows(ir.body, (row) => {
    reachRow(ir.body, row);
    choose([opBy.get(Number(row.dataset.key))]);
  });
  const head = (part, lines, none) =>
    h(
      "th",
      { scope: "col" },
      partBadge(part),
      h("span", { class: "dim" }, lines ? ` ${count(lines, "line")}` : ` ${none}`),
    );
  ir.table.replaceChildren(
    h(
      "thead",
      {},
      h(
        "tr",
        {},
        head("primal", own.length),
        head("tangent", programs[0].length, "not recorded, not run"),
        head("cotangent", programs[1].length, "no reverse-mode pass"),
      ),
    ),
    ir.body,
  );
  markProgram();
}

function partOf(number, part) {
  return number === null ? [] : passBy.get(Number(number)).ops.filter((op) => op.part === part);
}

function programCell(lines) {
  const some = lines ?? [];
  return h(
    "td",
    {},
    some.map((line, k) =>
      h(
        "div",
        { class: k < LINES ? "line" : "line rest" },
        result(line),
        " = ",
        h("b", {}, line.primitive),
        argumentsText(line),
      ),
    ),
    some.length > LINES
      ? h("div", { class: "dim left" }, `… ${count(some.length - LINES, "line")} more`)
      : null,
  );
}

/** '%12: float32[3]' of an operation, 't7: float32[3]' of an equation. */
function result(line) {
  const names = line.number === undefined ? line.outputs.map((v) => `t${v.variable}`) : [`%${line.number}`];
  const avals = line.outputs.map((v) => v.aval ?? v);
  const shown = names.length > 3 ? `${names[0]} … ${names.at(-1)}` : names.join(", ");
  return h(
    "span",
    {},
    h("span", { class: "name" }, shown),
    h("span", { class: "dim" }, `: ${avals.length > 3 ? `${avals.length} arrays` : avals.join(", ")}`),
  );
}

function markProgram() {
  for (const row of ir.body.querySelectorAll("tr[data-key]")) {
    const lit = chosen.lit.has(Number(row.dataset.key));
    row.classList.toggle("lit", lit);
    row.setAttribute("aria-current", String(lit));
  }
}
