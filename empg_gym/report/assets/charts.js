// What all charts share. A chart is a figure: a description, the drawing, and its values as a table.
// Curves differ by dash and by colour.

const DASHES = ["", "7 3", "2 3", "9 3 2 3", "1 2", "5 2 1 2 1 2"];
const HEIGHT = 200;
const PAD = { left: 52, right: 14, top: 12, bottom: 26 };

function ticks(low, high, wanted) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 2.5, 5, 10].find((candidate) => candidate * power >= rough * 0.999);
  const step = factor * power;
  const found = [];
  found.digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) + (factor === 2.5 && step < 2 ? 1 : 0);
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + step * 1e-6; value += step) found.push(Math.abs(value) < step * 1e-9 ? 0 : value);
  return found;
}

function valueText(value, unit) {
  if (value === null || value === undefined) return "–";
  return unit === "%" ? percent(value) : number(value) + (unit ? " " + unit : "");
}

// After six curves the colours repeat, with another dash.
const dash = (i) => DASHES[(i + Math.floor(i / DASHES.length)) % DASHES.length];
const swatch = (i) => s("svg", { class: "swatch", viewBox: "0 0 26 8", "aria-hidden": "true" }, s("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: "curve c" + (i % 6), "stroke-dasharray": dash(i) }));

function onResize(plot, draw) {
  new ResizeObserver(() => { if (plot.clientWidth > 60) draw(plot.clientWidth); }).observe(plot);
}

function figure(spec, id, where, legend, plot, values) {
  const title = h("h3", { id }, spec.title, spec.unit && spec.unit !== "%" ? h("span", { class: "unit" }, " " + spec.unit) : null);
  return h("figure", { class: "chart", "aria-labelledby": id }, h("figcaption", {}, h("div", { class: "chart-head" }, title, where), spec.about ? h("p", { class: "hint" }, spec.about) : null, legend), plot, values);
}

function valuesFold(head, rows) {
  const fold = h("details", { class: "values" }, h("summary", {}, "Values"));
  fold.addEventListener("toggle", () => {
    if (!fold.open || fold.querySelector("table")) return;
    const body = rows().map((row) => h("tr", {}, row.map((cell, i) => h(i ? "td" : "th", i ? {} : { scope: "row" }, cell))));
    fold.append(h("div", { class: "scroll low", tabindex: "0", role: "region", "aria-label": "Values" }, h("table", { class: "numbers" }, h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col" }, name)))), h("tbody", {}, body))));
  });
  return fold;
}
