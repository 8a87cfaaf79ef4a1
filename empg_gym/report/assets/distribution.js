// Distributions: the share of steps per bin, as one outline per group of episodes.

function distribution(spec, id) {
  const top = Math.max(...spec.series.flatMap((line) => line.shares));
  const last = spec.edges[spec.edges.length - 1];
  const legend = h("ul", { class: "legend" }, spec.series.map((line, i) => h("li", {}, swatch(i), h("span", {}, line.name), " ", h("span", { class: "legend-value" }, plural(line.steps, "step")))));
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
      drawing.append(s("path", { class: "curve c" + (i % 6), d, "stroke-dasharray": dash(i) }));
    });
    plot.replaceChildren(drawing);
  }
  onResize(plot, draw);
  const values = valuesFold(["Entropy, nats", ...spec.series.map((line) => line.name)], () => spec.edges.slice(0, -1).map((edge, j) => [`${number(edge)} to ${number(spec.edges[j + 1])}`, ...spec.series.map((line) => percent(line.shares[j]))]));
  return figure(spec, id, null, legend, plot, values);
}
