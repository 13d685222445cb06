"use strict";
// The recording: rows out of the columns, what follows from them, and how quantities are written.

const recording = JSON.parse(document.getElementById("recording").textContent);

// Which fields of the tables hold the place of a string.
const STRINGS = new Set(["kind", "label", "line", "primitive", "part", "params", "layer", "aval", "name"]);
const PARTS = ["primal", "tangent", "cotangent"];

function rowsOf(columns) {
  const names = Object.keys(columns);
  return columns.pass.map((_, i) => {
    const row = {};
    for (const name of names) row[name] = cellOf(name, columns[name][i]);
    return row;
  });
}

function cellOf(name, value) {
  const text = recording.strings;
  if (STRINGS.has(name)) return text[value];
  if (name === "start" || name === "seconds") return value / 1e7;
  if (name === "needed_by") return value.map((v) => text[v]);
  if (name === "seeds")
    return value.map(([aval, norm]) => ({ aval: text[aval], norm: norm === null ? null : Number(norm) }));
  return value;
}

const passes = rowsOf(recording.passes);
const ops = rowsOf(recording.ops).sort((a, b) => a.number - b.number);
const equations = rowsOf(recording.equations);
const residuals = rowsOf(recording.residuals);
const layers = new Map(recording.layers);
const sources = new Map(recording.sources);
const steps = recording.steps;

for (const p of passes) p.inputs = p.inputs.map((v) => recording.strings[v]);
for (const op of ops) op.outputs = op.outputs.map((v) => recording.strings[v]);
for (const e of equations)
  e.outputs = e.outputs.map(([variable, aval]) => ({ variable, aval: recording.strings[aval] }));
for (const row of [...ops, ...equations]) {
  row.inputs = row.inputs.map(([aval, source, number, index]) => ({
    aval: recording.strings[aval],
    source: recording.strings[source] ?? "",
    number,
    index,
  }));
}

const passBy = new Map(passes.map((p) => [p.number, p]));
const opBy = new Map(ops.map((op) => [op.number, op]));
const tops = passes.filter((p) => p.parent === null);

// What runs inside a pass belongs to it, too.
for (const p of passes) {
  p.depth = p.parent === null ? 0 : passBy.get(p.parent).depth + 1;
  p.within = new Set([p.number]);
  for (let q = p; q.parent !== null; q = passBy.get(q.parent)) passBy.get(q.parent).within.add(p.number);
}
for (const p of passes) p.ops = ops.filter((op) => p.within.has(op.pass));

// The operations of each primal one's derivative, by its number.
const derivatives = new Map();
for (const op of ops) {
  if (op.of === null) continue;
  if (!derivatives.has(op.of)) derivatives.set(op.of, []);
  derivatives.get(op.of).push(op);
}

/** A primal operation and all of its derivative, whichever of them is given. */
function familyOf(op) {
  const root = op.of ?? op.number;
  const first = opBy.get(root);
  return [...(first ? [first] : []), ...(derivatives.get(root) ?? [])];
}

/** Passes that compute values: what a graph or a program can be shown of. */
const bases = passes.filter((p) => p.kind !== "loss" && p.kind !== "vjp" && p.ops.some(isPrimal));

/** An operation of the program itself, and no part of a derivative. */
function isPrimal(op) {
  return op.part === "primal" && op.of === null;
}

// ----- Quantities -----

const EXACT = new Intl.NumberFormat("en");

function number(x) {
  if (x === null || x === undefined) return "?";
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "NaN" : x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  if (size === 0) return "0";
  if (size < 0.0005) return "<0.001";
  return size < 1
    ? x.toFixed(3)
    : size < 10
      ? x.toFixed(2)
      : size < 100
        ? x.toFixed(1)
        : EXACT.format(Math.round(x));
}

/** A sum that knows whether something in it is unknown. */
function sum(rows, field) {
  const known = rows.filter((row) => row[field] !== null);
  const value = known.reduce((total, row) => total + row[field], 0);
  return {
    value,
    partial: known.length < rows.length,
    text: (unit) => sumText(value, unit, known.length < rows.length),
  };
}

function sumText(value, unit, partial) {
  if (!partial) return number(value / unit);
  return value ? `≥ ${number(value / unit)}` : "?";
}

const scaled = (x, unit) => number(x === null ? null : x / unit);
const mega = (x) => scaled(x, 1e6);
const milliseconds = (seconds) => number(seconds * 1e3);
const count = (n, one, many = `${one}s`) => `${EXACT.format(n)} ${n === 1 ? one : many}`;

// ----- In words -----

/** What an operation gives, in short: 'float32[3] +2' for three arrays. */
function resultOf(op) {
  const [first, ...rest] = op.outputs;
  return rest.length > 8
    ? `${op.outputs.length} arrays`
    : `${first ?? "nothing"}${rest.length ? ` +${rest.length}` : ""}`;
}

function passName(p) {
  return `#${p.number} ${p.kind}`;
}
