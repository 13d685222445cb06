// Scalars: what each optimizer step says of itself.

addTab("Scalars", (panel) => {
  if (!steps.length) {
    panel.append(sentence("No optimizer took a step inside the trace, so there are no scalars."));
    return;
  }
  const rows = steps.map(flat);
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const numeric = names.filter(
    (name) => name !== "step" && rows.some((row) => typeof scalar(row[name]) === "number"),
  );
  if (rows.length > 1) {
    panel.append(
      h(
        "div",
        { class: "charts" },
        numeric
          .map((name) =>
            chart(
              name,
              rows.map((row) => scalar(row[name])),
              rows.map((row) => row.step),
            ),
          )
          .filter(Boolean),
      ),
    );
  }
  panel.append(
    h(
      "div",
      { class: "box" },
      h(
        "table",
        { class: "scalars" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            names.map((name) =>
              h("th", { scope: "col", class: name === "optimizer" ? null : "number" }, SYMBOLS[name] ?? name),
            ),
          ),
        ),
        h(
          "tbody",
          {},
          rows.map((row) =>
            h(
              "tr",
              {},
              names.map((name) => {
                const value = scalar(row[name]);
                return h(
                  "td",
                  { class: name === "optimizer" ? null : "number" },
                  value === null
                    ? h("span", { class: "dim" }, "·")
                    : typeof value === "number"
                      ? precise(value)
                      : value,
                );
              }),
            ),
          ),
        ),
      ),
    ),
  );
});

const SYMBOLS = { rho: "ρ", beta: "β", lam: "λ", predicted: "predicted change" };

/** A step with its norms beside its other values. */
function flat({ after, norms = {}, ...rest }) {
  return {
    ...rest,
    ...Object.fromEntries(Object.entries(norms).map(([name, value]) => [`norm of ${name}`, value])),
  };
}

function scalar(value) {
  if (value === null || value === undefined) return null;
  return ["NaN", "Infinity", "-Infinity"].includes(value) ? Number(value) : value;
}

function precise(x) {
  if (!Number.isFinite(x)) return number(x);
  const size = Math.abs(x);
  return size !== 0 && (size >= 1e6 || size < 1e-4) ? x.toExponential(3) : String(Number(x.toPrecision(5)));
}

function chart(name, values, at) {
  const [W, H, L, T] = [240, 96, 6, 8];
  const points = values.map((y, k) => [k, y]).filter(([, y]) => typeof y === "number" && Number.isFinite(y));
  if (points.length < 2) return null;
  const ys = points.map(([, y]) => y);
  const low = Math.min(...ys),
    high = Math.max(...ys),
    last = values.length - 1;
  const x = (k) => L + (k / last) * (W - 2 * L);
  const y = (v) => T + (high > low ? (high - v) / (high - low) : 0.5) * (H - 2 * T);
  return h(
    "figure",
    {},
    h("figcaption", {}, h("b", {}, SYMBOLS[name] ?? name), h("span", {}, precise(ys.at(-1)))),
    svg(
      "svg",
      {
        viewBox: `0 0 ${W} ${H}`,
        role: "img",
        "aria-label": `${name} from ${precise(ys[0])} to ${precise(ys.at(-1))}`,
      },
      low < 0 && high > 0 ? svg("line", { class: "zero", x1: 0, x2: W, y1: y(0), y2: y(0) }) : null,
      svg("polyline", { points: points.map(([k, v]) => `${x(k)},${y(v)}`).join(" ") }),
      points.map(([k, v]) =>
        svg("circle", { cx: x(k), cy: y(v), r: 2.5 }, svg("title", {}, `step ${at[k] ?? k}: ${precise(v)}`)),
      ),
    ),
    h(
      "div",
      { class: "range dim" },
      h("span", {}, `min ${precise(low)}`),
      h("span", {}, `max ${precise(high)}`),
    ),
  );
}
