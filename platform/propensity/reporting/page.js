"use strict";
// Sorts every table by its heads, and filters those that say they can be. Without it the page shows all rows.
(() => {
  const key = (row, column) => {
    const cell = row.cells[column];
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const missing = (value) => value === "–" || value === "";

  const sort = (table, column, descending) => {
    const body = table.tBodies[0];
    const rows = Array.from(body.rows, (row, place) => ({ row, place, key: key(row, column) }));
    rows.sort((a, b) => {
      // What isn't defined comes last, whichever way.
      if (missing(a.key) !== missing(b.key)) return missing(a.key) ? 1 : -1;
      const order = typeof a.key === "number" && typeof b.key === "number"
        ? a.key - b.key : String(a.key).localeCompare(String(b.key), "en", { numeric: true });
      return (descending ? -order : order) || a.place - b.place;
    });
    body.append(...rows.map((each) => each.row));
    Array.from(table.tHead.rows[0].cells, (head, place) => {
      if (place === column) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      else head.removeAttribute("aria-sort");
    });
  };

  const sortable = (table) => Array.from(table.tHead.rows[0].cells, (head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.dataset.title = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      // Numbers begin with the largest, names with A.
      sort(table, column, now ? now === "ascending" : head.classList.contains("number"));
    });
  });

  const input = (tools, label, type) => {
    const field = document.createElement("input");
    field.type = type;
    const around = document.createElement("label");
    around.append(label, field);
    tools.append(around);
    return field;
  };

  const filterable = (table) => {
    const heads = Array.from(table.tHead.rows[0].cells, (head) => head.textContent.trim());
    const tools = document.createElement("div");
    tools.className = "tools";
    const name = input(tools, `${heads[0]} contains`, "search");
    const least = input(tools, `${heads[1]} at least`, "number");
    least.min = "0";
    const shown = document.createElement("output");
    tools.append(shown);
    const rows = Array.from(table.tBodies[0].rows);
    const apply = () => {
      const wanted = name.value.trim().toLowerCase();
      const minimum = least.value === "" ? -Infinity : Number(least.value);
      let count = 0;
      for (const row of rows) {
        const value = key(row, 1);
        const keep = row.cells[0].textContent.toLowerCase().includes(wanted)
          && (typeof value === "number" ? value >= minimum : minimum === -Infinity);
        row.hidden = !keep;
        count += keep;
      }
      shown.textContent = `${count} of ${rows.length} rows`;
    };
    name.addEventListener("input", apply);
    least.addEventListener("input", apply);
    apply();
    table.parentElement.classList.add("tall");
    table.parentElement.before(tools);
  };

  for (const table of document.querySelectorAll("table[data-filterable]")) filterable(table);
  for (const table of document.querySelectorAll("table.data")) sortable(table);
})();
