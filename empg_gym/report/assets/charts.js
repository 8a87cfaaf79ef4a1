// Line charts and distributions. A chart is a figure: a description, the drawing, and its values as a table.
// Curves differ by dash and by colour; the legend shows the values under the cursor, which the pointer or the arrow keys move.

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

function domain(spec) {
  const values = spec.series.flatMap((line) => line.y).concat(spec.band ? spec.band.low.concat(spec.band.high) : []);
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (spec.unit === "%") return high > 0.4 ? [0, 1] : [0, Math.max(high * 1.1, 0.01)];
  if (low >= 0 && low < high * 0.6) low = 0;
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const room = (high - low) * 0.06;
  return [low === 0 ? 0 : low - room, high + room];
}

function lineChart(spec, id) {
  const lines = spec.series;
  const xs = [...new Set(lines.flatMap((line) => line.x).concat(spec.band ? spec.band.x : []))].sort((a, b) => a - b);
  const [x0, x1] = [xs[0], Math.max(xs[xs.length - 1], xs[0] + 1)];
  const [y0, y1] = domain(spec);
  const legend = h("ul", { class: "legend" });
  const readings = lines.map((line, i) => {
    const value = h("span", { class: "legend-value" });
    const swatch = s("svg", { class: "swatch", viewBox: "0 0 26 8", "aria-hidden": "true" }, s("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: "curve c" + (i % 6), "stroke-dasharray": DASHES[i % 6] }));
    legend.append(h("li", {}, swatch, h("span", {}, line.name), " ", value));
    return value;
  });
  let bandReading = null;
  if (spec.band) {
    bandReading = h("span", { class: "legend-value" });
    legend.append(h("li", {}, h("span", { class: "swatch-band", "aria-hidden": "true" }), h("span", {}, spec.band.name), " ", bandReading));
  }
  const where = h("span", { class: "where" });
  const plot = h("div", { class: "plot", role: "slider", tabindex: "0", "aria-label": `${spec.title}, along the steps`, "aria-valuemin": x0, "aria-valuemax": x1 });
  let scaleX = null;
  let cursor = null;
  let at = xs.length - 1;

  function reading(line, x) {
    let low = 0, high = line.x.length - 1;
    while (low < high) { const middle = (low + high + 1) >> 1; if (line.x[middle] <= x) low = middle; else high = middle - 1; }
    return line.x[low] <= x ? low : null;
  }
  function show(position) {
    at = Math.max(0, Math.min(xs.length - 1, position));
    const x = xs[at];
    where.textContent = `step ${grouped.format(x)}`;
    const spoken = [`step ${x}`];
    lines.forEach((line, i) => {
      const found = reading(line, x);
      readings[i].textContent = found === null ? "–" : valueText(line.y[found], spec.unit);
      spoken.push(`${line.name} ${readings[i].textContent}`);
    });
    if (spec.band) {
      const found = reading(spec.band, x);
      bandReading.textContent = found === null ? "–" : `${number(spec.band.low[found])} to ${number(spec.band.high[found])}`;
      spoken.push(`${spec.band.name} ${bandReading.textContent}`);
    }
    plot.setAttribute("aria-valuenow", x);
    plot.setAttribute("aria-valuetext", spoken.join(", "));
    if (cursor) { cursor.setAttribute("x1", scaleX(x)); cursor.setAttribute("x2", scaleX(x)); }
  }
  function draw(width) {
    const right = width - PAD.right, bottom = HEIGHT - PAD.bottom;
    scaleX = (x) => PAD.left + ((x - x0) / (x1 - x0)) * (right - PAD.left);
    const scaleY = (y) => bottom - ((y - y0) / (y1 - y0)) * (bottom - PAD.top);
    const path = (x, y) => x.map((v, i) => `${i ? "L" : "M"}${scaleX(v).toFixed(1)} ${scaleY(y[i]).toFixed(1)}`).join("");
    const drawing = s("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    const levels = ticks(y0, y1, 4);
    for (const y of levels) {
      const name = spec.unit === "%" ? `${+(100 * y).toFixed(2)} %` : levels.digits > 4 ? (y === 0 ? "0" : y.toExponential(1)) : Math.abs(y) >= 1000 ? grouped.format(y) : y.toFixed(levels.digits);
      drawing.append(s("line", { class: "grid", x1: PAD.left, x2: right, y1: scaleY(y), y2: scaleY(y) }));
      drawing.append(s("text", { class: "tick", x: PAD.left - 8, y: scaleY(y) + 4, "text-anchor": "end" }, name.replaceAll("-", "−")));
    }
    for (const x of ticks(x0, x1, Math.max(2, width / 110)).filter(Number.isInteger)) {
      drawing.append(s("text", { class: "tick", x: scaleX(x), y: HEIGHT - 8, "text-anchor": "middle" }, grouped.format(x)));
    }
    for (const mark of spec.marks) {
      drawing.append(s("line", { class: "mark", x1: scaleX(mark.x), x2: scaleX(mark.x), y1: PAD.top, y2: bottom }));
      drawing.append(s("text", { class: "tick", x: scaleX(mark.x) + 4, y: PAD.top + 8 }, mark.phase));
    }
    if (spec.band) {
      const outline = path(spec.band.x, spec.band.high) + path([...spec.band.x].reverse(), [...spec.band.low].reverse()).replace("M", "L") + "Z";
      drawing.append(s("path", { class: "band", d: outline }));
    }
    lines.forEach((line, i) => {
      drawing.append(s("path", { class: "curve c" + (i % 6), d: path(line.x, line.y), "stroke-dasharray": DASHES[i % 6] }));
      if (line.x.length <= 30) line.x.forEach((x, j) => drawing.append(s("circle", { class: "dot c" + (i % 6), cx: scaleX(x), cy: scaleY(line.y[j]), r: 2.5 })));
    });
    cursor = s("line", { class: "cursor", y1: PAD.top, y2: bottom });
    drawing.append(cursor);
    plot.replaceChildren(drawing);
    show(at);
  }
  plot.addEventListener("pointermove", (event) => {
    const x = x0 + ((event.clientX - plot.getBoundingClientRect().left - PAD.left) / (plot.clientWidth - PAD.left - PAD.right)) * (x1 - x0);
    let best = 0;
    xs.forEach((value, i) => { if (Math.abs(value - x) < Math.abs(xs[best] - x)) best = i; });
    show(best);
  });
  plot.addEventListener("pointerleave", () => show(xs.length - 1));
  plot.addEventListener("keydown", (event) => {
    const far = Math.max(1, Math.round(xs.length / 10));
    const moves = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageDown: at - far, PageUp: at + far, Home: 0, End: xs.length - 1 };
    if (event.key in moves) { event.preventDefault(); show(moves[event.key]); }
  });
  new ResizeObserver(() => { if (plot.clientWidth > 60) draw(plot.clientWidth); }).observe(plot);
  const columns = lines.map((line) => ({ name: line.name, at: new Map(line.x.map((x, i) => [x, line.y[i]])) }));
  const values = valuesFold(["Step", ...columns.map((column) => column.name)], () => xs.map((x) => [grouped.format(x), ...columns.map((column) => valueText(column.at.get(x), spec.unit))]));
  return figure(spec, id, where, legend, plot, values);
}

function distribution(spec, id) {
  const top = Math.max(...spec.series.flatMap((line) => line.shares));
  const last = spec.edges[spec.edges.length - 1];
  const legend = h("ul", { class: "legend" }, spec.series.map((line, i) => h("li", {}, s("svg", { class: "swatch", viewBox: "0 0 26 8", "aria-hidden": "true" }, s("line", { x1: 0, x2: 26, y1: 4, y2: 4, class: "curve c" + i, "stroke-dasharray": DASHES[i] })), h("span", {}, line.name), " ", h("span", { class: "legend-value" }, plural(line.steps, "step")))));
  const plot = h("div", { class: "plot" });
  function draw(width) {
    const right = width - PAD.right, bottom = HEIGHT - PAD.bottom;
    const scaleX = (x) => PAD.left + (x / last) * (right - PAD.left);
    const scaleY = (y) => bottom - (y / top) * (bottom - PAD.top);
    const drawing = s("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, "aria-hidden": "true" });
    for (const y of ticks(0, top, 4)) {
      drawing.append(s("line", { class: "grid", x1: PAD.left, x2: right, y1: scaleY(y), y2: scaleY(y) }));
      drawing.append(s("text", { class: "tick", x: PAD.left - 8, y: scaleY(y) + 4, "text-anchor": "end" }, `${+(100 * y).toFixed(1)} %`));
    }
    for (const x of ticks(0, last, Math.max(2, width / 110))) drawing.append(s("text", { class: "tick", x: scaleX(x), y: HEIGHT - 8, "text-anchor": "middle" }, number(x, 2)));
    spec.series.forEach((line, i) => {
      const d = line.shares.map((share, j) => `${j ? "L" : "M"}${scaleX(spec.edges[j]).toFixed(1)} ${scaleY(share).toFixed(1)}H${scaleX(spec.edges[j + 1]).toFixed(1)}`).join("");
      drawing.append(s("path", { class: "curve c" + i, d, "stroke-dasharray": DASHES[i] }));
    });
    plot.replaceChildren(drawing);
  }
  new ResizeObserver(() => { if (plot.clientWidth > 60) draw(plot.clientWidth); }).observe(plot);
  const values = valuesFold(["Entropy, nats", ...spec.series.map((line) => line.name)], () => spec.edges.slice(0, -1).map((edge, j) => [`${number(edge)} to ${number(spec.edges[j + 1])}`, ...spec.series.map((line) => percent(line.shares[j]))]));
  return figure(spec, id, null, legend, plot, values);
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
