// The table of every run: sorted and filtered as a whole, put on the page a slice at a time.
const SLICE = 100, PRINTED = 1000;

function runsTable(section) {
  const table = section.querySelector("table"), body = table.tBodies[0], box = section.querySelector(".scroll");
  const count = section.querySelector("[aria-live]"), search = section.querySelector("input"), choices = [...section.querySelectorAll("select")];
  const columns = data.columns; // name, kind ("text", "number", "entry", "board") of each place of a run
  const shown = (run, column) => {
    const held = run[column];
    if (columns[column].kind === "entry") return held === null ? "" : data.entries[held].label;
    if (columns[column].kind === "board") return data.boards[held].name;
    return held;
  };
  const rows = data.runs.map((run) => ({ run, text: columns.map((_, i) => shown(run, i) ?? "").join(" ").toLowerCase() }));
  let found = rows, drawn = 0;

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = choices.filter((choice) => choice.value !== "").map((choice) => [Number(choice.dataset.column), choice.value]);
    const kept = (row) => words.every((word) => row.text.includes(word)) && wanted.every(([column, is]) => String(shown(row.run, column)) === is);
    found = rows.filter(kept);
    start();
  }

  function start() {
    body.replaceChildren();
    drawn = 0;
    box.scrollTop = 0;
    count.textContent = found.length === rows.length ? `${rows.length} runs` : `${found.length} of ${rows.length} runs`;
    more(SLICE);
  }

  function more(number) {
    body.append(...found.slice(drawn, drawn + number).map((row) => line(row.run)));
    drawn = Math.min(found.length, drawn + number);
  }

  function line(run) {
    const row = make("tr");
    columns.forEach((column, i) => {
      const held = shown(run, i);
      const cell = make(i ? "td" : "th", i ? {} : { scope: "row" });
      if (column.kind === "number") cell.className = "n";
      if (column.name === "state") cell.className = `state-${held}`;
      if (column.name === "what is wrong") cell.className = held ? "wide" : "";
      if (column.kind === "entry" && run[i] !== null) cell.append(key(data.entries[run[i]]));
      if (i === 0) cell.append(make("button", { type: "button", class: "small only-screen", "aria-expanded": "false", onclick: (e) => open(e, row, run) }, "+"), " ");
      cell.append(column.kind === "number" ? (column.exact ? String(held ?? "") : brief(held)) : String(held ?? ""));
      row.append(cell);
    });
    return row;
  }

  // A line below the run with the command that repeats it and every one of its settings.
  function open(event, row, run) {
    const button = event.currentTarget, is = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!is));
    button.textContent = is ? "+" : "−";
    if (is) return row.nextSibling.remove();
    row.after(make("tr", { class: "detail" }, make("td", { colspan: columns.length }, ...detail(run))));
  }

  sortable([...table.tHead.rows[0].cells], (column, down) => {
    rows.sort((a, b) => compared(shown(a.run, column), shown(b.run, column), down));
    filter();
  });
  search.addEventListener("input", filter);
  for (const choice of choices) choice.addEventListener("change", filter);
  box.addEventListener("scroll", () => {
    if (drawn < found.length && box.scrollTop + box.clientHeight > box.scrollHeight - 600) more(SLICE);
  });
  filter();
  return { all: () => more(PRINTED - drawn), again: filter };
}

// The columns of a run that no table shows: seed text, provenance.
function detail(run) {
  const place = (name) => run[data.columns.findIndex((column) => column.name === name)];
  const entry = place("entry") === null ? null : data.entries[place("entry")], extra = data.extras[data.runs.indexOf(run)];
  const parts = [];
  if (entry && entry.command) {
    const text = `${entry.command} ${extra.seeds}`;
    const copy = make("button", { type: "button", class: "small", onclick: () => navigator.clipboard?.writeText(text) }, "copy");
    parts.push(make("p", {}, "To repeat it: ", copy), make("pre", { class: "command" }, text));
  } else {
    parts.push(make("p", {}, entry ? entry.note : "Its specification cannot be read, so there is no command to repeat it."));
  }
  if (entry) {
    const settings = Object.entries({ ...entry.spec, seed: place("seed") });
    parts.push(make("div", { class: "settings" }, ...settings.map(([name, held]) => make("div", {}, make("code", {}, `${name} = ${JSON.stringify(held)}`)))));
  }
  parts.push(make("p", { class: "soft" }, `${extra.folder}${extra.ran === null ? "" : " · " + data.provenance[extra.ran]}`));
  return parts;
}
