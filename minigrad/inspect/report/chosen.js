// What is chosen: one operation, or a box of them, in every view at once; the panel that tells of it.

const chosen = { ops: [], name: "", lit: new Set(), listeners: [] };

/** Chooses operations (none: nothing any more); `name` is that of the box they make up. */
function choose(some, name = "") {
  chosen.ops = some;
  chosen.name = name;
  chosen.lit = new Set(some.flatMap(familyOf).map((op) => op.number));
  tellChosen();
  for (const listener of chosen.listeners) listener();
}

function onChosen(listener) {
  chosen.listeners.push(listener);
}

function isChosen(op) {
  return chosen.ops.length === 1 && chosen.ops[0] === op;
}

/** How an operation stands to the choice, as a class: '' where nothing is chosen. */
function light(op) {
  return !chosen.ops.length ? "" : chosen.lit.has(op.number) ? "lit" : "unlit";
}

function tellChosen() {
  const aside = document.getElementById("chosen");
  aside.className = chosen.ops.length ? "" : "none";
  aside.replaceChildren(
    h(
      "p",
      { class: "dim" },
      "Choose an operation or a box: its tangent and cotangent operations light up, and are told of here.",
    ),
  );
  if (!chosen.ops.length) return;
  aside.replaceChildren();
  const close = button("×", "Choose nothing", () => choose([]));
  close.classList.add("close");
  aside.append(close, ...(chosen.name ? boxWords() : opWords(chosen.ops[0])), ...relatives());
  aside.scrollTop = 0;
}

function opWords(op) {
  const p = passBy.get(op.pass);
  const text = sources.get(op.line);
  return [
    h("h2", {}, op.primitive, " ", partBadge(op.part)),
    h("p", { class: "call" }, `${opName(op)} = `, h("b", {}, op.primitive), argumentsText(op)),
    facts([
      ["pass", `${passName(p)} · ${p.label}`],
      ["layer", op.layer && `${op.layer}${layers.has(op.layer) ? ` · ${layers.get(op.layer)}` : ""}`],
      ["line", op.line],
      ["", text && h("code", { class: "source" }, text)],
      ["in", op.inputs.map((v) => `${valueText(v, p)}${v.source ? `: ${v.aval}` : ""}`).join("\n")],
      [
        "out",
        resultNames(op.number, p)
          .map((name, k) => `${name}: ${op.outputs[k]}`)
          .join("\n"),
      ],
      ["cost", `${mega(op.flops)} MFLOP · ${mega(op.bytes)} MB · ${milliseconds(op.seconds)} ms`],
      ["speed", op.flops && op.seconds ? `${number(op.flops / op.seconds / 1e9)} GFLOP/s` : ""],
    ]),
  ];
}

function boxWords() {
  const some = chosen.ops;
  return [
    h(
      "h2",
      {},
      chosen.name
        .split(/(?=[.[]|\s>\s)/)
        .pop()
        .replace(/^\./, ""),
      " ",
      h("span", { class: "badge" }, layers.get(chosen.name) ?? "layer"),
    ),
    facts([
      ["layer", chosen.name],
      ["holds", `${count(some.length, "operation")} of ${passName(passBy.get(some[0].pass))}`],
      [
        "cost",
        `${sum(some, "flops").text(1e6)} MFLOP · ${sum(some, "bytes").text(1e6)} MB · ${sum(some, "seconds").text(1e-3)} ms`,
      ],
    ]),
  ];
}

function facts(pairs) {
  return h(
    "dl",
    { class: "facts" },
    pairs.filter(([, value]) => value).map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)]),
  );
}

/** The lit operations beside the chosen ones, pass by pass; each leads to its row. */
function relatives() {
  const same = new Set(chosen.ops);
  const others = ops.filter((op) => chosen.lit.has(op.number) && !same.has(op));
  if (!others.length)
    return [
      h("h3", {}, "Derivative"),
      h("p", { class: "dim" }, "No tangent or cotangent operation of this recording belongs to it."),
    ];
  const groups = Map.groupBy(others, (op) => op.pass);
  return [
    h("h3", {}, "Derivative"),
    strip(),
    ...[...groups].map(([pass, group]) =>
      h(
        "details",
        { open: others.length <= 60 },
        h(
          "summary",
          {},
          kindBadge(passBy.get(pass)),
          ` #${pass} `,
          h("code", {}, passBy.get(pass).label),
          h(
            "span",
            { class: "dim" },
            ` ${count(group.length, "op")}, ${sum(group, "flops").text(1e6)} MFLOP, ${sum(group, "seconds").text(1e-3)} ms`,
          ),
        ),
        h("ul", { class: "relatives" }, group.map(relative)),
      ),
    ),
  ];
}

function relative(op) {
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", class: `relative ${op.part}`, "data-op": op.number, onclick: () => showOp(op) },
      h("span", { class: "dot", title: op.part }),
      h("b", {}, op.primitive),
      h("span", { class: "shape", title: op.outputs.join(", ") }, resultOf(op)),
      h("span", { class: "cost" }, `${mega(op.flops)} MFLOP · ${milliseconds(op.seconds)} ms`),
    ),
  );
}

/** The whole recording as a few thin lines, one a pass, with the lit operations in colour. */
function strip() {
  const end = Math.max(...tops.map((p) => p.start + p.seconds));
  const begin = Math.min(...tops.map((p) => p.start));
  const x = (t) => (300 * (t - begin)) / (end - begin || 1);
  const picture = svg("svg", {
    class: "strip",
    viewBox: `0 0 300 ${tops.length * 9}`,
    role: "img",
    "aria-label": "Where the lit operations are in the recording",
  });
  tops.forEach((p, k) => {
    picture.append(
      svg("rect", {
        class: "lane",
        x: x(p.start),
        y: 9 * k + 1,
        width: Math.max(1, x(p.start + p.seconds) - x(p.start)),
        height: 7,
      }),
    );
    for (const op of p.ops) {
      if (chosen.lit.has(op.number)) {
        picture.append(
          svg("rect", {
            class: op.part,
            x: x(op.start),
            y: 9 * k + 1,
            width: Math.max(1.2, x(op.start + op.seconds) - x(op.start)),
            height: 7,
          }),
        );
      }
    }
  });
  return picture;
}
