// Elements and numbers. Texts of a run only ever become text nodes and attributes.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...flat(children));
  return element;
}

const flat = (children) => children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);

const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
const byId = (id) => document.getElementById(id);

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  const text =
    size >= 10000 ? grouped.format(value)
    : size < 0.001 ? value.toExponential(1)
    : Number.isInteger(value) ? String(value)
    : value.toFixed(size >= 100 ? 1 : size >= 10 ? Math.min(2, digits) : digits);
  return text.replaceAll("-", "−");
}

const signed = (value) => (value > 0 ? "+" : "") + number(value);
const percent = (value) => (100 * value).toFixed(1) + " %";
const plural = (count, word) => `${grouped.format(count)} ${word}${count === 1 ? "" : "s"}`;

function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 0.0001) return "under 0.1 ms";
  return value < 0.1 ? `${(1000 * value).toFixed(value < 0.01 ? 1 : 0)} ms` : value < 100 ? `${value.toFixed(1)} s` : `${Math.round(value / 60)} min`;
}
