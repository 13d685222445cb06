// Passes: what ran, what it cost, and what a linearization keeps.

addTab("Passes", (panel) => {
  if (!passes.length) {
    panel.append(sentence("Nothing was recorded: no operation of minigrad ran inside the trace."));
    return;
  }
  const body = h("tbody");
  const totals = Object.fromEntries(
    ["flops", "bytes", "seconds"].map((field) => [
      field,
      sum(
        tops.flatMap((p) => (field === "seconds" ? [p] : p.ops)),
        field,
      ),
    ]),
  );
  const most = Object.fromEntries(
    ["flops", "bytes", "seconds"].map((field) => [
      field,
      Math.max(...passes.map((p) => costOf(p, field).value), 1e-30),
    ]),
  );
  passes.forEach((p, k) => body.append(passRow(p, most, k === 0)));
  chooseRows(body, (row) => showOps({ pass: row.dataset.key }));
  const heads = ["#", "pass", "what", "seed", "at", ...PARTS, "MFLOP", "MB", "ms", "× primal"];
  panel.append(
    h(
      "div",
      { class: "box" },
      h(
        "table",
        { class: "passes" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            heads.map((head, k) =>
              h("th", { scope: "col", class: k > 4 || k === 0 ? "number" : null }, head),
            ),
          ),
        ),
        body,
        h(
          "tfoot",
          {},
          h(
            "tr",
            {},
            h("td"),
            h("th", { scope: "row", colspan: 4 }, count(tops.length, "pass", "passes")),
            PARTS.map((part) =>
              h(
                "td",
                { class: "number" },
                EXACT.format(tops.flatMap((p) => p.ops).filter((op) => op.part === part).length),
              ),
            ),
            h("td", { class: "number" }, totals.flops.text(1e6)),
            h("td", { class: "number" }, totals.bytes.text(1e6)),
            h("td", { class: "number" }, totals.seconds.text(1e-3)),
            h("td"),
          ),
        ),
      ),
    ),
    h(
      "p",
      { class: "note" },
      "Choose a pass to see its operations. ",
      h("i", {}, "× primal"),
      " compares its time with that of the primal pass it sweeps. ",
      "A ? stands for arithmetic that no formula is known for; a sum with such a part is a lower bound, ≥.",
    ),
    ...kept(),
  );
});

function costOf(p, field) {
  return sum(field === "seconds" ? [p] : p.ops, field);
}

function passRow(p, most, first) {
  const of =
    p.kind === "loss"
      ? null
      : p.kind === "primal"
        ? p
        : (passBy.get(p.at) ?? tops.find((q) => q.kind === "primal"));
  return h(
    "tr",
    { "data-key": p.number, tabindex: first ? 0 : -1 },
    h("td", { class: "number dim" }, p.number),
    h("td", { class: `nested depth${Math.min(p.depth, 6)}` }, kindBadge(p)),
    h("td", { class: "what" }, h("code", {}, p.label), p.line && h("span", { class: "dim" }, p.line)),
    h(
      "td",
      { class: "seed" },
      p.seeds.map((s) =>
        h(
          "div",
          {},
          h("code", {}, s.aval),
          s.norm === null ? null : h("span", { class: "dim" }, `norm ${short(s.norm)}`),
        ),
      ),
    ),
    h("td", { class: "number dim" }, p.at === null ? "" : `#${p.at}`),
    PARTS.map((part) => {
      const n = p.ops.filter((op) => op.part === part).length;
      return h(
        "td",
        { class: "number" },
        n ? h("span", { class: `count ${part}` }, n) : h("span", { class: "dim" }, "·"),
      );
    }),
    bar(costOf(p, "flops"), 1e6, most.flops, p),
    bar(costOf(p, "bytes"), 1e6, most.bytes, p),
    bar(costOf(p, "seconds"), 1e-3, most.seconds, p),
    h("td", { class: "number" }, of?.seconds ? (p.seconds / of.seconds).toFixed(2) : ""),
  );
}

function bar(total, unit, most, p) {
  const inner = h("div", { class: `bar ${KIND_PART[p.kind] ?? "loss"}` });
  inner.style.width = `${(100 * total.value) / most}%`;
  return h("td", { class: "number barred" }, total.text(unit), inner);
}

/** A quantity of the mathematics: few digits of any size. */
function short(x) {
  if (!Number.isFinite(x)) return number(x);
  const size = Math.abs(x);
  return size === 0
    ? "0"
    : size >= 1e5 || size < 1e-3
      ? x.toExponential(2)
      : String(Number(x.toPrecision(4)));
}

// ----- What a linearization keeps alive -----

function kept() {
  return [...Map.groupBy(residuals, (r) => r.pass)].map(([pass, rows]) => {
    rows = rows.toSorted((a, b) => b.bytes - a.bytes);
    return h(
      "details",
      { class: "kept" },
      h(
        "summary",
        {},
        `Kept by the linearization of #${pass}: `,
        h("b", {}, `${sum(rows, "bytes").text(1e6)} MB`),
        ` in ${count(rows.length, "array")}`,
      ),
      h(
        "div",
        { class: "box" },
        h(
          "table",
          {},
          h(
            "thead",
            {},
            h(
              "tr",
              {},
              ["MB", "array", "what", "needed by", "layer", "line"].map((head, k) =>
                h("th", { scope: "col", class: k ? null : "number" }, head),
              ),
            ),
          ),
          h(
            "tbody",
            {},
            rows.map((r) =>
              h(
                "tr",
                {},
                h("td", { class: "number" }, mega(r.bytes)),
                h("td", {}, h("code", {}, r.aval)),
                h("td", {}, r.name),
                h("td", {}, r.needed_by.join(", ")),
                h("td", {}, r.layer),
                h("td", { class: "dim" }, r.line),
              ),
            ),
          ),
        ),
      ),
    );
  });
}
