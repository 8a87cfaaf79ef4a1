// The list of runs: filter by words, sort by column.

const body = document.querySelector("tbody");
const rows = [...body.rows];
const field = document.getElementById("filter");
const status = document.getElementById("status");

field.form.addEventListener("submit", (event) => event.preventDefault());
field.addEventListener("input", () => {
  const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
  for (const row of rows) row.hidden = !words.every((word) => row.textContent.toLowerCase().includes(word));
  const shown = rows.filter((row) => !row.hidden).length;
  status.textContent = shown === rows.length ? `${shown} run${shown === 1 ? "" : "s"}.` : `${shown} of ${rows.length} runs.`;
});

document.querySelectorAll("thead th").forEach((head, column) => {
  head.querySelector("button").addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of head.parentElement.cells) {
      other.removeAttribute("aria-sort");
      other.querySelector(".arrow").textContent = "";
    }
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    head.querySelector(".arrow").textContent = down ? " ↓" : " ↑";
    const text = (row) => row.cells[column].textContent;
    rows.sort((a, b) => (down ? -1 : 1) * text(a).localeCompare(text(b), "en", { numeric: true }));
    body.append(...rows);
  });
});
document.documentElement.dataset.ready = "index";
