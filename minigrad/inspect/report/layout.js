// Layout: what the graph shows of a pass, open and closed boxes, operations and edges, and where dagre puts it.

// The edges of an operation with more readers (the views of a flat vector) are drawn while it is chosen.
const MANY = 8;
const LETTER = 6.7; // how wide one is, in the type of the nodes
const TITLE = 22; // how high the title of an open box is

// ----- Layers as a tree of boxes -----

class Box {
  constructor(path, parent) {
    Object.assign(this, { path, parent, children: new Map(), own: [], all: [] });
  }

  *boxes() {
    for (const child of this.children.values()) {
      yield child.path;
      yield* child.boxes();
    }
  }

  get title() {
    return this.path.slice(this.parent.path.length).replace(/^(\.| > )/, "");
  }
}

/** 'model.layers[0].conv' is inside 'model.layers[0]', that inside 'model': whichever of them are layers. */
function outside(path) {
  for (let end = path.length - 1; end > 0; end--) {
    if (layers.has(path.slice(0, end)) && /^(\.|\[| > )/.test(path.slice(end))) return path.slice(0, end);
  }
  return "";
}

function tree(some) {
  const root = new Box("", null);
  graph.boxOf = new Map([["", root]]);
  const boxAt = (path) => {
    if (!graph.boxOf.has(path)) {
      const parent = boxAt(outside(path));
      const box = new Box(path, parent);
      parent.children.set(path, box);
      graph.boxOf.set(path, box);
    }
    return graph.boxOf.get(path);
  };
  for (const op of some) {
    let box = boxAt(op.layer);
    box.own.push(op);
    for (; box; box = box.parent) box.all.push(op);
  }
  return root;
}

// ----- What is drawn: open boxes, closed boxes, operations, and the edges between them -----

/** The id under which an operation is drawn: its own, or that of the outermost closed box around it. */
function drawnAs(op) {
  let id = `op ${op.number}`;
  for (let box = graph.boxOf.get(op.layer); box.parent; box = box.parent) {
    if (!graph.open.has(box.path)) id = `box ${box.path}`;
  }
  return id;
}

function layout() {
  const g = new dagre.graphlib.Graph({ compound: true });
  g.setGraph({ rankdir: "TB", nodesep: 18, ranksep: 36, marginx: 16, marginy: 24 });
  g.setDefaultEdgeLabel(() => ({}));
  const shown = new Map();
  const place = (box) => {
    for (const child of box.children.values()) {
      const id = `box ${child.path}`;
      const open = graph.open.has(child.path);
      const text = [
        `${child.title} ${layers.get(child.path) ?? ""}`,
        `→ ${resultOf(child.all.at(-1))}`,
        costLine(child.all),
      ];
      g.setNode(id, open ? { box: child, open } : { box: child, ...sizeOf(text, 24), text });
      if (box.parent) g.setParent(id, `box ${box.path}`);
      if (open) place(child);
      else child.all.forEach((op) => shown.set(op.number, id));
    }
    for (const op of box.own) {
      const id = `op ${op.number}`;
      const text = [op.primitive, `→ ${resultOf(op)}`];
      g.setNode(id, { op, ...sizeOf(text, 0), text });
      if (box.parent) g.setParent(id, `box ${box.path}`);
      shown.set(op.number, id);
    }
  };
  place(graph.root);
  const fans = [];
  for (const [from, to, aval] of flows()) {
    const v = shown.get(from.number),
      w = shown.get(to.number);
    if (v === w) continue;
    if (readers(from).size > MANY) fans.push({ v, w, from });
    else if (!g.hasEdge(v, w)) g.setEdge(v, w, { avals: [aval] });
    else g.edge(v, w).avals.push(aval);
  }
  dagre.layout(g);
  for (const child of graph.root.children.values()) raise(g, child);
  return { g, fans };
}

/** Moves the top of an open box up until its title has room above what is inside; gives where the top is. */
function raise(g, box) {
  const n = g.node(`box ${box.path}`);
  const top = n.y - n.height / 2;
  if (!n.open) return top;
  const inside = [
    ...[...box.children.values()].map((child) => raise(g, child)),
    ...box.own.map((op) => g.node(`op ${op.number}`)).map((o) => o.y - o.height / 2),
  ];
  const raised = Math.min(top, ...inside.map((y) => y - TITLE));
  n.height += top - raised;
  n.y -= (top - raised) / 2;
  return raised;
}

/** The edges of the data flow between operations of the program itself. */
function* flows() {
  const inside = new Set(graph.root.all.map((op) => op.number));
  for (const op of graph.root.all) {
    for (const v of op.inputs) {
      let from = v.source === "op" ? opBy.get(v.number) : null;
      // What a derivative rule computed on the way stands for the operation that it belongs to.
      if (from && !inside.has(from.number)) from = opBy.get(from.of);
      if (from && from !== op && inside.has(from.number)) yield [from, op, v.aval];
    }
  }
}

function readers(op) {
  if (!op.readers) {
    for (const other of graph.root.all) other.readers = new Set();
    for (const [from, to] of flows()) from.readers.add(to);
  }
  return op.readers;
}

function costLine(some) {
  return `${count(some.length, "op")} · ${sum(some, "flops").text(1e6)} MFLOP · ${sum(some, "seconds").text(1e-3)} ms`;
}

/** Room for the lines, and beside the title for the opener and the lamps. */
function sizeOf(lines, extra) {
  const [title, ...rest] = lines.map((line) => Math.min(line.length, 48) * LETTER);
  return {
    width: Math.max(title + 76 + extra, ...rest.map((line) => line + 22)),
    height: 12 + 16 * lines.length,
  };
}
