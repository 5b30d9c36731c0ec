// Once everything is there: draw, and draw again for paper and for another theme.
const runs = document.querySelector("#runs table") ? runsTable(document.querySelector("#runs")) : null;

function redraw() {
  for (const board of boards) board.draw();
}

function printing() {
  for (const details of document.querySelectorAll("details")) details.open = true;
  if (runs) runs.all();
  redraw();
}

paper.addEventListener("change", () => (paper.matches ? printing() : redraw()));
dark.addEventListener("change", redraw);
addEventListener("beforeprint", printing);
redraw();
document.documentElement.dataset.ready = "true";
