// The head of the page, and the first view.

const passesText = count(tops.length, "pass", "passes");

for (const [value, unit] of [
  // A recording without steps has this for its title.
  ...(recording.title === passesText ? [] : [[EXACT.format(tops.length), passesText.split(" ")[1]]]),
  [EXACT.format(ops.length), ops.length === 1 ? "op" : "ops"],
  [sum(ops, "flops").text(1e6), "MFLOP"],
  [sum(ops, "bytes").text(1e6), "MB moved"],
  [sum(tops, "seconds").text(1e-3), "ms"],
]) {
  document.getElementById("totals").append(h("div", {}, h("dd", {}, value), h("dt", {}, unit)));
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen.ops.length) choose([]);
});

tellChosen();
showTab("passes");
