// The curves of the overview; its numbers and tables are in the page already.

function drawOverview(overview) {
  const container = byId("charts");
  const open = new Set([...container.querySelectorAll("details[open]")].map((fold) => fold.parentElement.getAttribute("aria-labelledby")));
  const focused = document.activeElement && container.contains(document.activeElement) ? document.activeElement.closest("figure") : null;
  const focusedId = focused && focused.getAttribute("aria-labelledby");
  const figures = overview.charts.map((spec, i) => lineChart(spec, "chart-" + i));
  if (overview.histogram) {
    figures.push(distribution({ ...overview.histogram, title: "Distribution of step entropy", unit: "nats", about: "Share of the recorded steps by their mean token entropy." }, "chart-entropies"));
  }
  container.replaceChildren(...figures);
  byId("charts-section").hidden = figures.length === 0;
  for (const figure of figures) {
    const id = figure.getAttribute("aria-labelledby");
    if (open.has(id)) figure.querySelector("details").open = true;
    if (id === focusedId) figure.querySelector(".plot").focus();
  }
}
