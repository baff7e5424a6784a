"use strict";
// Sorting, filtering and opening what a link points to. Without this script the page has it all, in its first order.
(function () {
  const table = document.getElementById("cards");
  const body = table.tBodies[0];
  const rows = Array.from(body.rows);
  const form = document.getElementById("filter");
  const fields = form.elements;
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const collator = new Intl.Collator("en", { numeric: true });

  function filter() {
    const words = fields.text.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hosts = new Set();
    let shown = 0;
    for (const row of rows) {
      const data = row.dataset;
      const fits =
        words.every((word) => texts.get(row).includes(word)) &&
        (!fields.outcome.value || data.outcome === fields.outcome.value) &&
        (!fields.unverified.checked || data.verified === "no") &&
        (!fields.changed.checked || data.changed !== "0");
      row.hidden = !fits;
      if (fits) {
        shown += 1;
        hosts.add(data.host);
      }
    }
    for (const section of document.querySelectorAll("section.host")) section.hidden = !hosts.has(section.id);
    fields.count.value = shown === rows.length ? rows.length + " rows" : shown + " of " + rows.length + " rows";
  }

  function key(row, column) {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? cell.dataset.sort : cell.textContent.trim();
  }

  function sort(column, descending) {
    const known = (text) => text !== "" && text !== "–";
    rows.sort((one, other) => {
      const a = key(one, column);
      const b = key(other, column);
      if (known(a) !== known(b)) return known(a) ? -1 : 1;
      const both = a !== "" && b !== "" && !isNaN(a) && !isNaN(b);
      const order = both ? a - b : collator.compare(a, b);
      return descending ? -order : order;
    });
    body.append(...rows);
  }

  Array.from(table.tHead.rows[0].cells).forEach((cell, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    cell.append(button);
    button.addEventListener("click", () => {
      const descending = cell.getAttribute("aria-sort") === "ascending";
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(column, descending);
    });
  });

  function open() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.tagName === "DETAILS") target.open = true;
    target.scrollIntoView();
  }

  form.hidden = false;
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", open);
  filter();
  open();
})();
