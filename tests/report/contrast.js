// Every visible text against its background: [number of texts, those below the ratio 4.5 of WCAG AA].
const parse = (text) => {
  const values = text.match(/[\d.]+/g).map(Number);
  const scale = text.startsWith("color(") ? 255 : 1;
  return [values[0] * scale, values[1] * scale, values[2] * scale, values[3] ?? 1];
};
const over = (top, under) => [0, 1, 2].map((i) => top[i] * top[3] + under[i] * (1 - top[3])).concat(1);
const channel = (value) => (value / 255 <= 0.03928 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
const light = (colour) => 0.2126 * channel(colour[0]) + 0.7152 * channel(colour[1]) + 0.0722 * channel(colour[2]);
const ground = (element) => {
  const layers = [];
  for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce((under, top) => over(top, under), [255, 255, 255, 1]);
};
const low = [];
let seen = 0;
for (const e of document.querySelectorAll("main *, header *, footer *")) {
  const written = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!e.checkVisibility() || !written || e.closest("[disabled], .off")) continue;
  const style = getComputedStyle(e);
  const back = ground(e);
  const ink = over(parse(e.namespaceURI.endsWith("svg") ? style.fill : style.color), back);
  const [bright, dim] = [light(ink), light(back)].sort((x, y) => y - x);
  const ratio = (bright + 0.05) / (dim + 0.05);
  seen += 1;
  if (ratio < 4.5) low.push([e.tagName, String(e.className.baseVal ?? e.className), e.textContent.slice(0, 30), ratio.toFixed(2)]);
}
return [seen, low];
