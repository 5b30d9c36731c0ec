// Learning curves: one uPlot for each panel of a board, drawn again when the axis, the legend, the theme or the width changes.
const STEPS = 240; // places along the axis that a line is read off at
const boards = [];

// The value at each of `places` of a line through (x, y); null outside it.
function along(places, x, y) {
  const found = new Array(places.length).fill(null);
  let at = 0;
  places.forEach((place, index) => {
    if (!x.length || place < x[0] || place > x[x.length - 1]) return;
    while (at < x.length - 2 && x[at + 1] < place) at += 1;
    const [left, right] = [y[at], y[Math.min(at + 1, x.length - 1)]];
    if (left === null || right === null) return;
    const width = x[Math.min(at + 1, x.length - 1)] - x[at];
    found[index] = width > 0 ? left + (right - left) * Math.min(1, (place - x[at]) / width) : left;
  });
  return found;
}

class Panel {
  constructor(board, node) {
    this.board = board;
    this.node = node;
    this.lines = board.data.panels[node.dataset.panel];
    this.place = node.querySelector(".plot");
    this.tip = make("div", { class: "tip", "aria-hidden": "true", hidden: "" });
    node.append(this.tip);
    new ResizeObserver(() => this.fit()).observe(this.place);
  }

  // [places, then for each entry shown: value, low, high]
  columns() {
    const axis = this.board.axis;
    const held = this.board.shown().map((entry) => [entry, (this.lines[entry] || {})[axis]]).filter((pair) => pair[1]);
    const arrays = held.map(([entry, numbers]) => [entry, numbers.map((number) => (number === null ? null : data.arrays[number]))]);
    const high = this.board.reach(axis);
    const places = Array.from({ length: STEPS + 1 }, (_, i) => (high * i) / STEPS);
    const read = (x, y) => (y ? along(places, x, y) : new Array(places.length).fill(null));
    this.entries = arrays.map(([entry]) => entry);
    return [places, ...arrays.flatMap(([, [x, value, lower, upper]]) => [read(x, value), read(x, lower), read(x, upper)])];
  }

  // A line for each entry, and two without ink between which its band lies.
  options() {
    const style = getComputedStyle(document.documentElement), ink = style.getPropertyValue("--soft"), grid = style.getPropertyValue("--grid");
    const series = [{}], bands = [], faint = this.entries.length > 6 ? "1c" : "30";
    for (const entry of this.entries) {
      const look = data.entries[entry], at = series.length;
      series.push({ stroke: look.color, width: look.control ? 1.3 : 2, dash: look.dash.map((part) => part * 2), points: { show: false } });
      series.push({ width: 0, points: { show: false } }, { width: 0, points: { show: false } });
      if (this.board.bands) bands.push({ series: [at + 2, at + 1], fill: look.color + faint });
    }
    const axis = { stroke: ink, font: "12px system-ui, sans-serif", grid: { stroke: grid, width: 1 }, ticks: { show: false } };
    const values = (_, splits) => splits.map(brief);
    return {
      width: this.width(), height: this.height(), series, bands, legend: { show: false }, scales: { x: { time: false }, y: { range: padded } },
      axes: [{ ...axis, values, size: 30, grid: { show: false }, label: this.board.title(), labelSize: 18, labelGap: 0, labelFont: axis.font }, { ...axis, values, size: 52 }],
      cursor: { drag: { setScale: true, x: true, y: false }, points: { show: false }, y: false },
      hooks: { setCursor: [(plot) => this.point(plot)] },
    };
  }

  width() {
    return Math.max(200, paper.matches ? Math.min(660, this.place.clientWidth) : this.place.clientWidth);
  }

  height() {
    return this.node.classList.contains("first") ? Math.min(380, Math.max(280, this.width() * 0.42)) : 228;
  }

  draw() {
    if (this.plot) this.plot.destroy();
    this.tip.hidden = true;
    const columns = this.columns();
    this.plot = new uPlot(this.options(), columns, this.place);
    this.plot.root.setAttribute("aria-hidden", "true");
  }

  fit() {
    if (this.plot && this.place.clientWidth && this.plot.width !== this.width()) this.plot.setSize({ width: this.width(), height: this.height() });
  }

  // The values under the pointer, highest first; the nearest line's in bold.
  point(plot) {
    const { left, top, idx } = plot.cursor;
    this.tip.hidden = idx === null || idx === undefined || left < 0;
    if (this.tip.hidden) return;
    const rows = this.entries
      .map((entry, i) => [entry, ...[1, 2, 3].map((part) => plot.data[3 * i + part][idx])])
      .filter((row) => row[1] !== null)
      .sort((a, b) => b[1] - a[1]);
    const far = (row) => Math.abs(plot.valToPos(row[1], "y") - top);
    const near = rows.reduce((best, row) => (best === null || far(row) < far(best) ? row : best), null);
    const body = make("tbody");
    for (const row of around(rows, near)) {
      const range = row[2] === null ? "" : `${brief(row[2])} – ${brief(row[3])}`;
      const line = make("tr", row === near ? { class: "near" } : {});
      line.append(make("td", {}, key(data.entries[row[0]]), data.entries[row[0]].label), make("td", {}, brief(row[1])), make("td", {}, range));
      body.append(line);
    }
    this.tip.replaceChildren(`${brief(plot.data[0][idx])} ${this.board.title()}`, make("table", {}, body));
    const room = this.node.clientWidth, wide = this.tip.offsetWidth, x = left + plot.bbox.left / devicePixelRatio;
    this.tip.style.left = `${Math.max(0, x + 16 + wide < room ? x + 16 : x - wide - 16)}px`;
    this.tip.style.top = `${this.place.offsetTop + 8}px`;
  }
}

// A little room above and below the lines.
function padded(_, low, high) {
  const room = low === null ? 1 : (high - low || Math.abs(high) || 1) * 0.05;
  return [(low ?? 0) - room, (high ?? 1) + room];
}

// As many rows as fit beside a small picture, the nearest among them.
function around(rows, near) {
  const from = Math.max(0, Math.min(rows.indexOf(near) - 5, rows.length - 12));
  return rows.slice(from, from + 12);
}

// The stroke of an entry, as its legend shows it.
function key(look) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg"), line = document.createElementNS(space, "line");
  const held = { x1: 0, y1: 5, x2: 28, y2: 5, stroke: look.color, "stroke-width": look.control ? 1.6 : 2.4 };
  for (const [name, value] of Object.entries(held)) line.setAttribute(name, value);
  if (look.dash.length) line.setAttribute("stroke-dasharray", look.dash.map((part) => part * 1.6).join(" "));
  svg.setAttribute("viewBox", "0 0 28 10");
  svg.setAttribute("class", "key");
  svg.setAttribute("aria-hidden", "true");
  svg.append(line);
  return svg;
}

class Board {
  constructor(section) {
    this.data = data.boards[section.dataset.board];
    this.axis = this.data.axes[0].key;
    this.bands = true;
    this.hidden = new Set();
    this.controls(section.querySelector(".controls"));
    this.panels = [...section.querySelectorAll(".chart")].map((node) => new Panel(this, node));
  }

  shown() {
    return this.data.entries.filter((entry) => !this.hidden.has(entry));
  }

  // Where the longest curve of all pictures ends: they share one axis.
  reach(axis) {
    const lines = Object.values(this.data.panels).flatMap((entries) => Object.values(entries));
    return Math.max(1e-9, ...lines.map((held) => (held[axis] ? data.arrays[held[axis][0]].at(-1) : 0)));
  }

  title() {
    return this.data.axes.find((axis) => axis.key === this.axis).title;
  }

  draw() {
    for (const panel of this.panels) panel.draw();
    for (const [entry, button] of this.buttons) button.setAttribute("aria-pressed", String(!this.hidden.has(entry)));
  }

  controls(place) {
    const group = `axis-${boards.length}`;
    const segments = this.data.axes.map((axis) => {
      const input = make("input", { type: "radio", name: group, value: axis.key, onchange: () => ((this.axis = axis.key), this.draw()) });
      input.checked = axis.key === this.axis;
      return make("label", {}, input, axis.title);
    });
    place.append(make("fieldset", {}, make("legend", {}, "Against"), make("div", { class: "segments" }, ...segments)));
    this.buttons = this.data.entries.map((entry) => {
      const pressed = (event) => (event.altKey || event.detail > 1 ? this.only(entry) : this.toggle(entry));
      return [entry, make("button", { type: "button", "aria-pressed": "true", onclick: pressed }, key(data.entries[entry]), data.entries[entry].label)];
    });
    const all = make("button", { type: "button", class: "small all", onclick: () => this.show(this.data.entries) }, "all");
    const none = make("button", { type: "button", class: "small none", onclick: () => this.show([]) }, "none");
    const names = make("div", { class: "names" }, ...this.buttons.map((pair) => pair[1]), all, none);
    place.append(make("fieldset", {}, make("legend", {}, "Shown (a double click leaves one alone)"), names));
    const bands = make("input", { type: "checkbox", onchange: () => ((this.bands = bands.checked), this.draw()) });
    bands.checked = true;
    place.append(make("label", { class: "bands" }, bands, " intervals"));
  }

  toggle(entry) {
    if (!this.hidden.delete(entry)) this.hidden.add(entry);
    this.draw();
  }

  only(entry) {
    this.show([entry]);
  }

  show(entries) {
    this.hidden = new Set(this.data.entries.filter((entry) => !entries.includes(entry)));
    this.draw();
  }
}

for (const section of document.querySelectorAll("[data-board]")) boards.push(new Board(section));
