// What the other parts share: the data of the page, and elements made without ever reading text as HTML.
const data = JSON.parse(document.getElementById("data").textContent);
const paper = matchMedia("print"), dark = matchMedia("(prefers-color-scheme: dark)");

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// 12345 as "12.3k"; four figures otherwise; "" for nothing.
function brief(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "";
  for (const [size, letter] of [[1e9, "B"], [1e6, "M"], [1e4, "k"]]) {
    if (Math.abs(value) >= size) return +(value / (letter === "k" ? 1e3 : size)).toPrecision(3) + letter;
  }
  return String(+value.toPrecision(4));
}

// Text and numbers in order; what is absent comes last either way.
function compared(a, b, down) {
  const gone = (value) => value === null || value === undefined || value === "" || Number.isNaN(value);
  if (gone(a) || gone(b)) return gone(a) - gone(b);
  const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
  return down ? -order : order;
}

// A click on a head's button sorts by `sort(column, down)`: numbers begin with the largest, words with the first.
function sortable(heads, sort) {
  for (const head of heads) {
    head.querySelector("button").addEventListener("click", () => {
      const before = head.getAttribute("aria-sort"), first = head.classList.contains("n") ? "descending" : "ascending";
      const next = before === null ? first : before === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", next);
      sort(head.dataset.column ?? head.cellIndex, next === "descending");
    });
  }
}
