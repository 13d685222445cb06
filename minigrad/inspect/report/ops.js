// Ops: every operation, to be sorted and filtered.

const COLUMNS = [
  { head: "name", value: (op) => op.number, text: (op) => opName(op) },
  { head: "pass", value: (op) => op.pass, text: (op) => `#${op.pass}` },
  { head: "part", value: (op) => PARTS.indexOf(op.part), text: (op) => op.part },
  { head: "primitive", value: (op) => op.primitive, text: (op) => op.primitive },
  { head: "result", value: (op) => op.outputs.join(", "), text: (op) => op.outputs.join(", ") },
  { head: "MFLOP", value: (op) => op.flops, text: (op) => mega(op.flops), numeric: true, cost: true },
  { head: "MB", value: (op) => op.bytes, text: (op) => mega(op.bytes), numeric: true, cost: true },
  {
    head: "ms",
    value: (op) => op.seconds,
    text: (op) => milliseconds(op.seconds),
    numeric: true,
    cost: true,
  },
  { head: "of", value: (op) => op.of, text: primalName },
  { head: "layer", value: (op) => op.layer, text: (op) => op.layer },
  { head: "line", value: (op) => op.line, text: (op) => op.line },
];

/** The primal operation whose derivative this is a part of. */
function primalName(op) {
  return op.of === null ? "" : opName(opBy.get(op.of), passBy.get(op.pass));
}

// So many rows are drawn at first, and again so many whenever the end of them is near: any table stays quick.
const ROWS = 150;

const table = {
  column: 0,
  down: false,
  text: "",
  pass: "",
  part: "",
  body: null,
  fields: {},
  rows: [],
  shown: 0,
};

addTab("Ops", (panel) => {
  const filter = h("input", {
    type: "search",
    placeholder: "conv2d, layers[3], 128,32 …",
    "aria-label": "Filter by text",
    id: "filter",
    oninput: () => refilter({ text: filter.value }),
  });
  const pass = picker(
    "pass",
    [
      ["", "all"],
      ...passes.map((p) => [p.number, `${"\u2003".repeat(p.depth)}${passName(p)} ${p.label.slice(0, 40)}`]),
    ],
    (v) => refilter({ pass: v }),
  );
  const part = picker("part", [["", "all"], ...PARTS.map((p) => [p, p])], (v) => refilter({ part: v }));
  table.fields = { text: filter, pass: pass.querySelector("select"), part: part.querySelector("select") };
  for (const [field, element] of Object.entries(table.fields)) element.value = table[field];
  table.summary = h("output", { class: "dim", id: "summary" });
  table.body = h("tbody");
  table.heads = COLUMNS.map((column, k) =>
    h(
      "th",
      { scope: "col", class: column.numeric ? "number" : null },
      h(
        "button",
        { type: "button", onclick: () => sortBy(k) },
        column.head,
        h("span", { class: "arrow", "aria-hidden": "true" }),
      ),
    ),
  );
  table.box = h(
    "div",
    { class: "box fill", onscroll: drawMore },
    h("table", { class: "ops" }, h("thead", {}, h("tr", {}, table.heads)), table.body),
  );
  panel.append(
    h(
      "div",
      { class: "toolbar" },
      h("label", { class: "field grow" }, h("span", {}, "filter"), filter),
      pass,
      part,
      table.summary,
    ),
    table.box,
  );
  chooseRows(table.body, (row) => {
    reachRow(table.body, row);
    choose([opBy.get(Number(row.dataset.key))]);
  });
  onChosen(markRows);
  drawRows();
});

function sortBy(k) {
  table.down = table.column === k ? !table.down : Boolean(COLUMNS[k].cost);
  table.column = k;
  drawRows();
}

function refilter(changes) {
  Object.assign(table, changes);
  drawRows();
}

function matches(op) {
  if (table.pass !== "" && !passBy.get(Number(table.pass)).within.has(op.pass)) return false;
  if (table.part && op.part !== table.part) return false;
  if (!table.text.trim()) return true;
  op.words ??= [
    opName(op),
    op.primitive,
    op.part,
    op.layer,
    op.line,
    op.params,
    ...op.outputs,
    ...op.inputs.map((v) => v.aval),
  ]
    .join(" ")
    .toLowerCase();
  return table.text
    .toLowerCase()
    .split(/\s+/)
    .every((word) => op.words.includes(word));
}

function drawRows() {
  const { value } = COLUMNS[table.column];
  const sign = table.down ? -1 : 1;
  table.rows = ops.filter(matches).sort((a, b) => {
    const x = value(a),
      y = value(b);
    // What is unknown comes last, whichever way.
    if (x === null || y === null) return (x === null) - (y === null) || a.number - b.number;
    return (x < y ? -sign : x > y ? sign : 0) || a.number - b.number;
  });
  table.heads.forEach((head, k) => {
    head.setAttribute("aria-sort", k !== table.column ? "none" : table.down ? "descending" : "ascending");
    head.querySelector(".arrow").textContent = k !== table.column ? "" : table.down ? " ▼" : " ▲";
  });
  table.shown = 0;
  table.body.replaceChildren();
  table.box.scrollTop = 0;
  drawUpTo(ROWS);
  table.body.querySelector("tr")?.setAttribute("tabindex", 0);
  table.summary.textContent = `${EXACT.format(table.rows.length)} of ${count(ops.length, "op")} · ${sum(table.rows, "flops").text(1e6)} MFLOP · ${sum(table.rows, "seconds").text(1e-3)} ms`;
}

function drawUpTo(end) {
  table.body.append(...table.rows.slice(table.shown, end).map(opRow));
  table.shown = Math.max(table.shown, Math.min(end, table.rows.length));
  markRows();
}

function drawMore() {
  const { scrollTop, clientHeight, scrollHeight } = table.box;
  if (table.shown < table.rows.length && scrollTop + 2 * clientHeight > scrollHeight)
    drawUpTo(table.shown + ROWS);
}

function opRow(op) {
  const row = document.createElement("tr");
  row.dataset.key = op.number;
  row.tabIndex = -1;
  for (const column of COLUMNS) {
    const cell = row.insertCell();
    const text = column.text(op);
    if (column.numeric) cell.className = "number";
    if (column.head === "part") cell.append(partBadge(text));
    else cell.textContent = cell.title = text;
  }
  return row;
}

function markRows() {
  for (const row of table.body.rows) {
    const op = opBy.get(Number(row.dataset.key));
    row.className = light(op);
    row.setAttribute("aria-current", String(isChosen(op)));
  }
}

/** The table with nothing but what is asked for: another view's way to it. */
function showOps({ pass = "", part = "", text = "" }) {
  Object.assign(table, { pass, part, text });
  for (const [field, element] of Object.entries(table.fields)) element.value = table[field];
  if (table.body) drawRows();
  showTab("ops");
}

/** One operation in its row. */
function showOp(op) {
  choose([op]);
  const place = () => table.rows.indexOf(op);
  showOps(place() >= 0 ? table : {});
  drawUpTo(place() + ROWS);
  const row = reachRow(table.body, table.body.rows[place()]);
  row.scrollIntoView({ block: "center" });
  row.focus({ preventScroll: true });
}
