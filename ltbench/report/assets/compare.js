"use strict";
// Two methods of one table, by the seeds that both have. Everything from the data is set as text, never as markup.

const data = JSON.parse(document.getElementById("compare-data").textContent);
const [boardChoice, aChoice, bChoice] = ["board", "a", "b"].map((id) => document.getElementById(id));
const place = document.getElementById("comparison");

function make(tag, attributes = {}, ...children) {
  const node = tag === "svg" || tag === "rect" || tag === "line" ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const mean = (values) => values.some((v) => v === null) ? NaN : values.reduce((x, y) => x + y, 0) / values.length;
const percent = (value) => Number.isNaN(value) ? "n/a" : (100 * value).toFixed(2);
const signed = (value) => Number.isNaN(value) ? "n/a" : (value >= 0 ? "+" : "−") + Math.abs(100 * value).toFixed(2);
const bits = (cell) => Uint8Array.from(atob(cell.right), (c) => c.charCodeAt(0));

function countBits(bytes) {
  let total = 0;
  for (let byte of bytes) for (; byte; byte &= byte - 1) total += 1;
  return total;
}

function table(caption, header, rows) {
  const head = make("tr", {}, ...header.map((name, k) => make("th", { scope: "col", ...(k ? { class: "number" } : {}) }, name)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell, k) => k ? make("td", { class: "number" }, cell) : make("th", { scope: "row" }, cell))));
  const made = make("table", {}, make("caption", {}, caption), make("thead", {}, head), make("tbody", {}, ...body));
  return make("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption }, made);
}

function bar(value, bound) {
  const svg = make("svg", { class: "chart", width: 160, height: 14, viewBox: "-80 0 160 14", "aria-hidden": "true" });
  const wide = Number.isNaN(value) ? 0 : Math.abs(value) / bound * 78;
  svg.append(make("rect", { x: value < 0 ? -wide : 0, y: 1, width: wide, height: 12, class: value < 0 ? "bar loss" : "bar gain" }));
  svg.append(make("line", { x1: 0, x2: 0, y1: 0, y2: 14, class: "axis" }));
  return svg;
}

// A word of a shell command.
const quoted = (word) => /^[\w@%+=:,.\/-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\"'\"'") + "'";

function link(cell, name) {
  return make("a", { href: cell.page }, `${name}, seed ${cell.seed}`);
}

function show() {
  const board = data.boards[boardChoice.selectedIndex];
  const [a, b] = [aChoice, bChoice].map((choice) => board.methods[choice.selectedIndex]);
  history.replaceState(null, "", "#" + new URLSearchParams({ board: board.anchor, a: a.name, b: b.name }));
  const pairs = a.cells.flatMap((x) => b.cells.filter((y) => y.seed === x.seed).map((y) => [x, y]));
  const foreign = pairs.filter(([x, y]) => x.images !== y.images);
  if (a === b) return place.replaceChildren(make("p", {}, "Choose two different methods."));
  if (!pairs.length) return place.replaceChildren(make("p", { class: "warn" }, `${a.name} and ${b.name} have no seed in common.`));
  if (foreign.length) return place.replaceChildren(make("p", { class: "warn" }, `${a.name} and ${b.name} were tested on different images: not comparable.`));

  const both = (pick) => [0, 1].map((side) => mean(pairs.map((pair) => pick(pair[side]))));
  const scores = data.scores.map((score, k) => {
    const [x, y] = both((cell) => cell.scores[k]);
    return [score.name + (score.higher ? "" : " ↓"), percent(x), percent(y), signed(y - x)];
  });
  const recalls = board.classes.map((name, k) => [name, ...both((cell) => cell.recall[k])]);
  const bound = Math.max(0.01, ...recalls.map(([, x, y]) => Math.abs(y - x)).filter((v) => !Number.isNaN(v)));
  const classes = recalls.map(([name, x, y], k) => [name, signed(y - x), bar(y - x, bound), percent(x), percent(y), String(board.train[k]), String(board.test[k])]);
  const images = pairs.map(([x, y]) => {
    const [p, q] = [bits(x), bits(y)];
    return [String(x.seed), String(x.n), countBits(p.map((v, k) => v & q[k])), countBits(p.map((v, k) => v & ~q[k])), countBits(q.map((v, k) => v & ~p[k]))].map(String);
  });
  const cells = pairs.flatMap(([x, y]) => [link(x, a.name), " · ", link(y, b.name), " · "]).slice(0, -1);
  const seeds = pairs.map(([x]) => x.seed).join(", ");
  place.replaceChildren(
    make("h2", {}, `${b.name} minus ${a.name}`),
    make("p", { class: "soft" }, `Shared seeds: ${seeds}. Cells: `, ...cells),
    table("Test part, percent; ↓: lower is better", ["Metric", a.name, b.name, "Difference"], scores),
    table("Recall per class, percent", ["Class", "Difference", "", a.name, b.name, "Train", "Test"], classes),
    make("p", {}, "Intervals, tests and the images: ", make("code", { class: "command", tabindex: "0" }, `ltbench compare ${quoted(a.name)} ${quoted(b.name)} ${board.choice}`)),
    table("Test images by who is right", ["Seed", "Images", "Both", `Only ${a.name}`, `Only ${b.name}`], images),
  );
}

function fill(wanted = {}) {
  const board = data.boards[boardChoice.selectedIndex];
  [[aChoice, wanted.a, "ce", 0], [bChoice, wanted.b, null, 1]].forEach(([choice, name, usual, index]) => {
    choice.replaceChildren(...board.methods.map((method) => make("option", {}, method.name)));
    const names = board.methods.map((method) => method.name);
    const found = [name, usual].map((n) => names.indexOf(n)).find((k) => k >= 0);
    choice.selectedIndex = found ?? Math.min(index, names.length - 1);
  });
  if (aChoice.selectedIndex === bChoice.selectedIndex && !wanted.b) bChoice.selectedIndex = aChoice.selectedIndex ? 0 : Math.min(1, board.methods.length - 1);
  show();
}

function start() {
  const wanted = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const index = data.boards.findIndex((board) => board.anchor === wanted.board);
  boardChoice.selectedIndex = Math.max(index, 0);
  fill(wanted);
}

boardChoice.addEventListener("change", () => fill({ a: aChoice.value, b: bChoice.value }));
for (const choice of [aChoice, bChoice]) choice.addEventListener("change", show);
window.addEventListener("hashchange", start);
start();
