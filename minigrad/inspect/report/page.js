// The page: elements, the tabs, and tables. Data enter as text nodes and attributes only.

function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children
      .flat(Infinity)
      .filter((c) => c !== null && c !== undefined && c !== false)
      .map((c) => (c instanceof Node ? c : String(c))),
  );
  return element;
}

/** A part's name with its colour. */
function partBadge(part) {
  return h("span", { class: `badge ${part}` }, part);
}

const KIND_PART = { primal: "primal", jvp: "tangent", vjp: "cotangent", loss: "loss" };

function kindBadge(p) {
  return h("span", { class: `badge ${KIND_PART[p.kind] ?? "loss"}` }, p.kind);
}

function picker(label, options, onchange) {
  const select = h(
    "select",
    { onchange: () => onchange(select.value) },
    options.map(([value, text]) => h("option", { value }, text)),
  );
  return h("label", { class: "field" }, h("span", {}, label), select);
}

function button(text, label, onclick) {
  return h("button", { type: "button", class: "tool", "aria-label": label, title: label, onclick }, text);
}

/** How to use a view; where there is no room for it, as much as there is room for. */
function hint(text) {
  return h("span", { class: "hint", title: text }, text);
}

function sentence(...children) {
  return h("p", { class: "empty" }, ...children);
}

// ----- Tabs (the ARIA pattern: one of them in the tab order, arrow keys between them) -----

const tabs = new Map();

function addTab(name, build) {
  const id = name.toLowerCase();
  const tab = h(
    "button",
    {
      type: "button",
      role: "tab",
      id: `tab-${id}`,
      "aria-controls": `panel-${id}`,
      "aria-selected": "false",
      tabindex: -1,
      onclick: () => showTab(id),
    },
    name,
  );
  const panel = h("section", {
    role: "tabpanel",
    id: `panel-${id}`,
    "aria-labelledby": `tab-${id}`,
    tabindex: 0,
    hidden: true,
  });
  tabs.set(id, { tab, panel, build, built: false });
  document.getElementById("tabs").append(tab);
  document.getElementById("panels").append(panel);
}

function showTab(id) {
  for (const [other, { tab, panel }] of tabs) {
    tab.setAttribute("aria-selected", String(other === id));
    tab.tabIndex = other === id ? 0 : -1;
    panel.hidden = other !== id;
  }
  const shown = tabs.get(id);
  if (!shown.built) {
    shown.built = true;
    shown.build(shown.panel);
  }
  document.body.dataset.tab = id;
  shown.panel.dispatchEvent(new Event("show"));
}

document.getElementById("tabs").addEventListener("keydown", (event) => {
  const ids = [...tabs.keys()];
  const at = ids.indexOf(document.body.dataset.tab);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1 + ids.length, Home: 0, End: ids.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  const id = ids[to % ids.length];
  showTab(id);
  tabs.get(id).tab.focus();
});

// ----- Rows that are chosen: one of them in the tab order, arrow keys between them -----

function chooseRows(body, choose) {
  const rows = () => [...body.querySelectorAll("tr[data-key]")];
  body.addEventListener("click", (event) => {
    const row = event.target.closest("tr[data-key]");
    if (row) choose(row);
  });
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr[data-key]");
    if (!row || event.target !== row) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(row);
    }
    const all = rows();
    const to = {
      ArrowDown: all.indexOf(row) + 1,
      ArrowUp: all.indexOf(row) - 1,
      Home: 0,
      End: all.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    if (all[to]) reachRow(body, all[to]).focus();
  });
}

/** Makes `row` the one that Tab reaches. */
function reachRow(body, row) {
  for (const other of body.querySelectorAll("tr[tabindex='0']")) other.tabIndex = -1;
  row.tabIndex = 0;
  return row;
}

// ----- Tooltip -----

const tip = document.getElementById("tip");

function showTip(event, ...children) {
  tip.replaceChildren(...children);
  tip.hidden = false;
  const box = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - box.width - 8))}px`;
  tip.style.top = `${event.clientY + 18 + box.height > innerHeight ? event.clientY - box.height - 10 : event.clientY + 18}px`;
}

function hideTip() {
  tip.hidden = true;
}

function opTip(op) {
  return [
    h("strong", {}, op.primitive),
    ` ${op.outputs.join(", ")}`,
    h(
      "div",
      { class: "dim" },
      `${opName(op)} · ${op.part} · ${passName(passBy.get(op.pass))}${op.layer ? ` · ${op.layer}` : ""}`,
    ),
    h("div", {}, `${milliseconds(op.seconds)} ms · ${mega(op.flops)} MFLOP · ${mega(op.bytes)} MB`),
  ];
}
