// Learning curves: lines and bands over the steps, smoothed on request; the legend shows the values under the cursor, which the pointer
// or the arrow keys move.

const smoothing = { weight: 0 };

// The exponential moving average, divided by the sum of its weights so that a curve begins at its first value.
function smoothed(y, weight) {
  if (!weight) return y;
  let sum = 0, weights = 0;
  return y.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    weights = weight * weights + (1 - weight);
    return sum / weights;
  });
}

function smoothingControl() {
  const slider = byId("smoothing");
  slider.addEventListener("input", () => {
    smoothing.weight = Number(slider.value);
    byId("smoothing-value").textContent = smoothing.weight ? smoothing.weight.toFixed(2) : "off";
    for (const plot of document.querySelectorAll(".plot")) if (plot.smooth) plot.smooth();
  });
}

function domain(spec) {
  const values = spec.series.flatMap((line) => line.y).concat(spec.bands.flatMap((band) => band.low.concat(band.high)));
  let low = Infinity, high = -Infinity;
  for (const value of values) { low = Math.min(low, value); high = Math.max(high, value); }
  if (spec.unit === "%") return high > 0.4 ? [0, 1] : [0, Math.max(high * 1.1, 0.01)];
  if (low >= 0 && low < high * 0.6) low = 0;
  if (low === high) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.1, high + Math.abs(high) * 0.1];
  const room = (high - low) * 0.06;
  return [low === 0 ? 0 : low - room, high + room];
}

function lineChart(spec, id) {
  const lines = spec.series;
  const tone = (i) => lines[i].tone ?? i;
  const xs = [...new Set(lines.flatMap((line) => line.x).concat(spec.bands.flatMap((band) => band.x)))].sort((a, b) => a - b);
  const [x0, x1] = [xs[0], Math.max(xs[xs.length - 1], xs[0] + 1)];
  const [y0, y1] = domain(spec);
  const legend = h("ul", { class: "legend" });
  const readings = lines.map((line, i) => {
    const value = h("span", { class: "legend-value" });
    legend.append(h("li", {}, swatch(tone(i)), h("span", {}, line.name), " ", value));
    return value;
  });
  // A band without a name is read with its line.
  const bandReadings = spec.bands.map((band) => {
    if (!band.name) return null;
    const value = h("span", { class: "legend-value" });
    legend.append(h("li", {}, h("span", { class: "swatch-band c" + (tone(band.line) % 6), "aria-hidden": "true" }), h("span", {}, band.name), " ", value));
    return value;
  });
  const where = h("span", { class: "where" });
  const plot = h("div", { class: "plot", role: "slider", tabindex: "0", "aria-label": `${spec.title}, along the steps`, "aria-valuemin": x0, "aria-valuemax": x1 });
  let scaleX = null;
  let cursor = null;
  let shown = lines.map((line) => line.y);
  let bands = spec.bands;
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
      readings[i].textContent = found === null ? "–" : valueText(shown[i][found], spec.unit);
      spoken.push(`${line.name} ${readings[i].textContent}`);
    });
    bands.forEach((band, i) => {
      const found = reading(band, x);
      const text = found === null ? "–" : `${valueText(band.low[found], spec.unit)} to ${valueText(band.high[found], spec.unit)}`;
      if (band.name) bandReadings[i].textContent = text;
      else readings[band.line].textContent = `${readings[band.line].textContent.split(" ")[0]} (${text})`;
      spoken.push(`${band.name || lines[band.line].name + ", lowest to highest"} ${text}`);
    });
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
    for (const band of bands) {
      const outline = path(band.x, band.high) + path([...band.x].reverse(), [...band.low].reverse()).replace("M", "L") + "Z";
      drawing.append(s("path", { class: "band c" + (tone(band.line) % 6), d: outline }));
    }
    lines.forEach((line, i) => {
      const smooth = smoothing.weight > 0;
      if (smooth) drawing.append(s("path", { class: "curve raw c" + (tone(i) % 6), d: path(line.x, line.y) }));
      drawing.append(s("path", { class: "curve c" + (tone(i) % 6), d: path(line.x, shown[i]), "stroke-dasharray": dash(tone(i)) }));
      if (line.x.length <= 30 && !smooth) line.x.forEach((x, j) => drawing.append(s("circle", { class: "dot c" + (tone(i) % 6), cx: scaleX(x), cy: scaleY(line.y[j]), r: 2.5 })));
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
  plot.smooth = () => {
    shown = lines.map((line) => smoothed(line.y, smoothing.weight));
    bands = spec.bands.map((band) => ({ ...band, low: smoothed(band.low, smoothing.weight), high: smoothed(band.high, smoothing.weight) }));
    if (plot.clientWidth > 60) draw(plot.clientWidth);
  };
  plot.smooth();
  onResize(plot, draw);
  const columns = lines.map((line) => ({ name: line.name, at: new Map(line.x.map((x, i) => [x, line.y[i]])) }));
  const values = valuesFold(["Step", ...columns.map((column) => column.name)], () => xs.map((x) => [grouped.format(x), ...columns.map((column) => valueText(column.at.get(x), spec.unit))]));
  return figure(spec, id, where, legend, plot, values);
}
