"use strict";
// Sorting by the buttons in a table's head, filtering by text. Without this script every row is shown in table order.

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

function value(row, column, numeric) {
  const cell = row.cells[column];
  if (!numeric) return cell.textContent.trim();
  const text = cell.dataset.value ?? cell.textContent.replaceAll(",", "");
  return text.trim() === "" ? NaN : Number(text);
}

function order(table, button) {
  const head = button.parentElement;
  const now = head.getAttribute("aria-sort");
  const other = { ascending: "descending", descending: "ascending" };
  const next = other[now] ?? button.dataset.first;
  const sign = next === "ascending" ? 1 : -1;
  const numeric = button.dataset.kind === "number";
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row, place) => ({ row, place, key: value(row, head.cellIndex, numeric) }));
  rows.sort((x, y) => {
    if (numeric) {
      const missing = Number.isNaN(x.key) - Number.isNaN(y.key); // rows without a number stay below
      return missing || (Number.isNaN(x.key) ? 0 : sign * (x.key - y.key)) || x.place - y.place;
    }
    return sign * collator.compare(x.key, y.key) || x.place - y.place;
  });
  for (const cell of table.tHead.rows[0].cells) if (cell.hasAttribute("aria-sort")) cell.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", next);
  body.append(...rows.map((entry) => entry.row));
}

function filter(table) {
  const words = (document.querySelector(`[data-filter="${table.id}"]`)?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const box = document.querySelector(`[data-overridden="${table.id}"]`);
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    row.searched ??= Array.from(row.cells, (cell) => cell.textContent).join(" ").toLowerCase();
    const hidden = !words.every((word) => row.searched.includes(word)) || (box && !box.checked && "renamed" in row.dataset);
    if (row.hidden !== hidden) row.hidden = hidden;
    shown += !hidden;
  }
  const count = document.querySelector(`[data-count="${table.id}"]`);
  if (count) count.textContent = `${shown} of ${table.tBodies[0].rows.length} rows`;
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const button of table.tHead.querySelectorAll("button")) button.addEventListener("click", () => order(table, button));
  for (const tool of document.querySelectorAll(`[data-filter="${table.id}"], [data-overridden="${table.id}"]`)) {
    for (const event of ["input", "change"]) tool.addEventListener(event, () => filter(table));
  }
  filter(table);
}
