// The curves of the overview; its numbers and tables are rendered into the page.

function drawOverview(overview) {
  const container = byId("charts");
  const section = byId("charts-section");
  const open = new Set([...section.querySelectorAll(".values[open]")].map((fold) => fold.parentElement.getAttribute("aria-labelledby")));
  const focused = document.activeElement && section.contains(document.activeElement) ? document.activeElement.closest("figure") : null;
  const focusedId = focused && focused.getAttribute("aria-labelledby");
  const drawn = overview.charts.map((spec, i) => [spec, lineChart(spec, "chart-" + i)]);
  const figures = drawn.filter(([spec]) => spec.main).map(([, figure]) => figure);
  const further = drawn.filter(([spec]) => !spec.main).map(([, figure]) => figure);
  if (overview.histogram) {
    figures.push(distribution({ ...overview.histogram, title: "Distribution of step entropy", unit: "nats", about: "Share of the recorded steps by their mean token entropy." }, "chart-entropies"));
  }
  container.replaceChildren(...figures);
  byId("further").replaceChildren(...further);
  byId("further-fold").hidden = further.length === 0;
  byId("further-count").textContent = `Further metrics, ${further.length}`;
  byId("charts-section").hidden = figures.length + further.length === 0;
  for (const figure of [...figures, ...further]) {
    const id = figure.getAttribute("aria-labelledby");
    if (open.has(id)) figure.querySelector("details").open = true;
    if (id === focusedId) figure.querySelector(".plot").focus();
  }
}
