const nameless = [];
for (const e of document.querySelectorAll("a, button, input, select, [role=slider], [role=region], [role=toolbar], section[aria-labelledby], figure")) {
  if (!e.checkVisibility()) continue;
  const by = e.getAttribute("aria-labelledby");
  const name = e.getAttribute("aria-label") || (by && document.getElementById(by)?.textContent) || (e.labels && e.labels[0]?.textContent) || e.textContent;
  if (!name || !name.trim()) nameless.push(e.outerHTML.slice(0, 120));
}
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
const twice = ids.filter((id, i) => ids.indexOf(id) !== i);
const levels = [...document.querySelectorAll("h1, h2, h3, h4")].filter((e) => e.checkVisibility()).map((e) => Number(e.tagName[1]));
const jumps = levels.filter((level, i) => i && level > levels[i - 1] + 1);
return { nameless, twice, jumps, positive: document.querySelectorAll("[tabindex]:not([tabindex='0']):not([tabindex='-1'])").length };
