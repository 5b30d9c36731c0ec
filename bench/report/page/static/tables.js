// Tables that are in the page as they stand: a cell's data-value, or else its text, is what it is sorted by.
function value(cell) {
  const held = cell.dataset.value;
  if (held === undefined) return cell.textContent.trim();
  return held === "" ? null : Number(held);
}

for (const table of document.querySelectorAll("table.sorted")) {
  const body = table.tBodies[0];
  sortable([...table.tHead.rows[0].cells].filter((head) => head.querySelector("button")), (column, down) => {
    const rows = [...body.rows].map((row) => [value(row.cells[column]), row]);
    rows.sort((a, b) => compared(a[0], b[0], down));
    body.append(...rows.map((pair) => pair[1]));
  });
}
