// What values are called, the same as in the text of a pass: x0, x1, ... the inputs of a program; p0, p1, ...
// what a primal pass computed, in order; t0, ..., c0, ..., l0, ... that of others, after what they sweep.

const INITIALS = { primal: "p", jvp: "t", vjp: "c", loss: "l" };

for (const p of passes) {
  let next = p.kind === "jvp" || p.kind === "vjp" ? p.seeds.length : 0;
  p.first = new Map();
  for (const op of p.ops) {
    p.first.set(op.number, next);
    next += op.outputs.length;
  }
  p.variables = variableNames(p);
}

function equationsOf(p) {
  return equations.filter((e) => e.pass === p.number);
}

/** Names of the variables of a recorded program; what nothing reads has none. */
function variableNames(p) {
  const own = equationsOf(p);
  const inputs = own.flatMap((e) => e.inputs.filter((v) => v.source === "variable").map((v) => v.index));
  const read = new Set([...inputs, ...p.returned]);
  const made = own.flatMap((e) => e.outputs.map((v) => v.variable)).filter((k) => read.has(k));
  return new Map([...p.inputs.keys(), ...made].map((k, i) => [k, `t${i}`]));
}

/** ' (#2)' where something of pass 2 is met in a pass that has nothing to do with it. */
function passMark(number, p) {
  return number === p.number || number === p.at ? "" : ` (#${number})`;
}

/** Results of an operation as pass `p` names them, its own or those of the program it sweeps. */
function resultNames(number, p) {
  const op = opBy.get(number);
  const q = [p, passBy.get(p.at)].find((q) => q?.first.has(number)) ?? passBy.get(op.pass);
  const mark = passMark(q.number, p);
  return op.outputs.map((_, k) => `${INITIALS[q.kind]}${q.first.get(number) + k}${mark}`);
}

/** An operation by its results, 'p3' or 'p3, p4', as the pass that ran it names them, or `p`. */
function opName(op, p = passBy.get(op.pass)) {
  return inShort(resultNames(op.number, p));
}

function inShort(names) {
  return names.length > 3 ? `${names[0]} … ${names.at(-1)}` : names.join(", ");
}

function valueText(v, p) {
  if (v.source === "op") return resultNames(v.number, p)[v.index];
  if (v.source === "variable") return p.variables.get(v.index);
  if (!v.source) return v.aval;
  const initial = v.source === "input" ? "x" : INITIALS[passBy.get(v.number).kind];
  return `${initial}${v.index}${passMark(v.number, p)}`;
}

/** '(p12, x3; stride=2)': the arguments of an operation or equation, as pass `p` names them. */
function argumentsText(line, p = passBy.get(line.pass)) {
  const names = line.inputs.map((v) => valueText(v, p));
  return `(${names.join(", ")}${line.params ? "; " : ""}${line.params})`;
}
