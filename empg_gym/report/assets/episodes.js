// The list of episodes: filters, order and page are in the address, so that a view can be bookmarked and shared.

const PAGE = 50;
const table = { index: null, order: [], haystack: null };
const OUTCOME_SIGNS = ["✓", "✗", "!", "…"];

const COLUMNS = [
  { key: "position", name: "#", cell: (i) => String(i + 1), value: (i) => i },
  { key: "outcome", name: "Outcome", word: true, cell: (i) => outcomeBadge(table.index.outcome[i]) },
  { key: "instruction", name: "Task", wide: true, cell: (i) => taskCell(i) },
  { key: "run", name: "Run", label: true },
  { key: "phase", name: "Phase", label: true },
  { key: "update", name: "Update", fresh: true },
  { key: "score", name: "Score" },
  { key: "steps", name: "Steps" },
  { key: "invalid", name: "Invalid", title: "Actions that the environment could not carry out" },
  { key: "tokens", name: "Tokens" },
  { key: "entropy", name: "Entropy", title: "Mean step entropy in nats", cell: (i) => entropyCell(table.index.entropy[i], table.index.bound[i]) },
  { key: "seconds", name: "Time", cell: (i) => seconds(table.index.seconds[i]) },
  { key: "stop", name: "Ended by", label: true, cell: (i) => labelOf("stop", i).replaceAll("_", " ") },
];
const FILTERS = [["run", "Run"], ["env", "Environment"], ["agent", "Agent"], ["split", "Split"], ["phase", "Phase"], ["type", "Task type"], ["stop", "Ended by"]];

const cellClass = (column) => (column.wide ? "wide" : column.label || column.word ? "word" : null);
const labelOf = (key, i) => table.index[key].labels[table.index[key].codes[i]];
const outcomeBadge = (code) => h("span", { class: "badge " + table.index.outcomes[code] }, h("span", { "aria-hidden": "true" }, OUTCOME_SIGNS[code] + " "), table.index.outcomes[code]);

function entropyCell(value, bound) {
  if (value === null) return "–";
  return h("span", { class: "meter" }, h("span", { class: "meter-fill", "--share": Math.min(1, value / state.stepTop), "aria-hidden": "true" }), h("span", {}, (bound ? "≥ " : "") + number(value)));
}

function taskCell(i) {
  const about = [labelOf("type", i), table.index.env.labels.length > 1 ? labelOf("env", i).replace("EMPG/", "") : "", table.index.split.labels.length > 1 ? labelOf("split", i) : ""].filter(Boolean);
  return [h("a", { href: "#/episode/" + (i + 1), class: "row-link" }, table.index.instruction[i] || table.index.task[i] || "episode " + (i + 1)), about.length ? h("span", { class: "about" }, about.join(" · ")) : null];
}

function setIndex(index) {
  table.index = index;
  table.haystack = null;
}

function haystack() {
  if (!table.haystack) table.haystack = table.index.instruction.map((text, i) => (text + "\n" + table.index.task[i]).toLowerCase());
  return table.haystack;
}

function valueOf(key) {
  const column = COLUMNS.find((candidate) => candidate.key === key);
  if (column.value) return column.value;
  if (column.label) return (i) => labelOf(key, i);
  return (i) => table.index[key][i];
}

function select(query) {
  const { index } = table;
  const words = wanted(query.get("q") || "");
  const tests = [];
  if (query.get("outcome")) { const code = index.outcomes.indexOf(query.get("outcome")); tests.push((i) => index.outcome[i] === code); }
  for (const [key] of FILTERS) {
    if (query.has(key)) { const code = index[key].labels.indexOf(query.get(key)); tests.push((i) => index[key].codes[i] === code); }
  }
  if (words.length && query.get("in")) tests.push((i) => search.hits.has(i));
  else if (words.length) { const texts = haystack(); tests.push((i) => words.every((word) => texts[i].includes(word))); }
  const order = [];
  for (let i = 0; i < index.count; i++) if (tests.every((test) => test(i))) order.push(i);
  const sort = query.get("sort") || "position";
  const key = sort.replace(/^-/, "");
  if (key !== "position" && COLUMNS.some((column) => column.key === key)) {
    const value = valueOf(key);
    const way = sort.startsWith("-") ? -1 : 1;
    const empty = (x) => x === null || x === "";
    order.sort((a, b) => {
      const x = value(a), y = value(b);
      if (empty(x) || empty(y)) return empty(x) - empty(y) || a - b;
      return x < y ? -way : x > y ? way : a - b;
    });
  } else if (sort === "-position") order.reverse();
  table.order = order;
}

const useful = (column) => {
  const { index } = table;
  if (column.label) return index[column.key].labels.some(Boolean) && (column.key === "stop" || index[column.key].labels.length > 1);
  return column.key === "position" || index[column.key].some((value) => value !== null && value !== 0) || ["outcome", "score", "steps"].includes(column.key);
};

function showEpisodes(query) {
  const view = byId("view-episodes");
  const { index } = table;
  if (!index.count) { view.replaceChildren(h("h1", { id: "episodes-title", tabindex: "-1" }, "Episodes"), h("p", {}, "No episode has been recorded yet.")); return; }
  if (!view.querySelector("form") || view.dataset.count !== String(index.count)) buildEpisodes(view, query);
  for (const field of view.querySelector("form").elements) {
    if (field.type === "checkbox") field.checked = query.has(field.name);
    else if (field.name && document.activeElement !== field) field.value = query.get(field.name) || "";
  }
  const words = wanted(query.get("q") || "");
  const inside = words.length > 0 && query.has("in");
  if (inside) searchTranscripts(words, () => { if (parts().path === "/episodes" && parts().query.get("q") === query.get("q")) showEpisodes(parts().query); }).catch(trouble);
  select(query);
  fillTable(view, query, inside);
}

function buildEpisodes(view, query) {
  const { index } = table;
  const option = (value, name) => h("option", { value }, name);
  const choice = (name, label, values) => h("label", {}, h("span", {}, label), h("select", { name }, option("", "all"), values.map((value) => option(value, value.replaceAll("_", " ")))));
  const form = h("form", { class: "filters", role: "search", "aria-label": "Filter the episodes", onsubmit: (event) => event.preventDefault() },
    h("label", { class: "search" }, h("span", {}, "Search"), h("input", { type: "search", placeholder: "words, or \"a phrase\"", name: "q", id: "search", autocomplete: "off", spellcheck: "false" })),
    h("label", { class: "check" }, h("input", { type: "checkbox", name: "in", value: "transcripts", id: "search-in" }), h("span", {}, "in transcripts")),
    choice("outcome", "Outcome", index.outcomes.filter((_, code) => index.outcome.includes(code))),
    FILTERS.filter(([key]) => index[key].labels.length > 1).map(([key, label]) => choice(key, label, index[key].labels)),
    h("button", { type: "button", class: "plain", onclick: () => { location.hash = "#/episodes"; } }, "Clear"));
  followFilters(form, "episodes");
  view.dataset.count = String(index.count);
  view.replaceChildren(h("h1", { id: "episodes-title", tabindex: "-1" }, "Episodes"), form, h("p", { class: "status", role: "status", id: "episodes-status" }),
    h("div", { class: "scroll", role: "region", "aria-labelledby": "episodes-title", tabindex: "0" }, h("table", { class: "numbers episodes stack" }, h("thead"), h("tbody"))), h("nav", { class: "pager", "aria-label": "Pages of episodes" }));
}

function fillTable(view, query, inside) {
  const sort = query.get("sort") || "position";
  const positions = pager(view.querySelector(".pager"), table.order.length, query, "episodes");
  const columns = COLUMNS.filter(useful);
  const refocus = document.activeElement && document.activeElement.dataset ? document.activeElement.dataset.sort : null;
  view.querySelector("thead").replaceChildren(h("tr", {}, columns.map((column) => {
    const active = sort.replace("-", "") === column.key;
    const down = active && sort.startsWith("-");
    const button = h("button", { type: "button", "data-sort": column.key, title: column.title, onclick: () => go({ sort: active && !down ? "-" + column.key : active ? column.key : column.key === "instruction" || column.label ? column.key : "-" + column.key, page: "" }) }, column.name, h("span", { class: "arrow", "aria-hidden": "true" }, active ? (down ? " ↓" : " ↑") : ""));
    return h("th", { scope: "col", class: cellClass(column), "aria-sort": active ? (down ? "descending" : "ascending") : null }, button);
  })));
  if (refocus) { const again = view.querySelector(`[data-sort="${refocus}"]`); if (again) again.focus(); }
  const shown = positions.map((at) => table.order[at]);
  view.querySelector("tbody").replaceChildren(...shown.map((i) => h("tr", { onclick: (event) => { if (!event.target.closest("a") && !String(getSelection())) location.hash = "#/episode/" + (i + 1); } },
    columns.map((column) => h("td", { class: cellClass(column), "data-label": column.wide || column.key === "outcome" ? null : column.name }, column.wide && inside ? [column.cell(i), h("span", { class: "about found" }, search.hits.get(i))] : column.cell ? column.cell(i) : column.label ? labelOf(column.key, i) : number(table.index[column.key][i]))))));
  const total = table.index.count;
  const solved = table.order.filter((i) => table.index.outcome[i] === 0).length;
  const judged = table.order.filter((i) => table.index.outcome[i] < 2).length;
  const progress = inside && search.done < search.total ? ` Searching: ${percent(search.done / search.total)} read.` : "";
  byId("episodes-status").textContent = (!table.order.length ? `None of ${plural(total, "episode")} fits these filters.`
    : `${grouped.format(positions[0] + 1)} to ${grouped.format(positions[0] + shown.length)} of ${plural(table.order.length, "episode")}` + (table.order.length < total ? ` (filtered from ${grouped.format(total)})` : "") + solvedText(solved, judged)) + progress;
  state.listHash = location.hash.startsWith("#/episodes") ? location.hash : state.listHash;
}

// The share that was solved, unless the episodes are of several runs or of several phases of a training run: those are different policies.
function solvedText(solved, judged) {
  const { phase, run } = table.index;
  const first = table.order[0];
  const mixed = table.order.some((i) => phase.codes[i] !== phase.codes[first] || run.codes[i] !== run.codes[first]);
  if (!judged || mixed) return ".";
  return labelOf("phase", first) ? `; ${grouped.format(solved)} of ${plural(judged, "sample")} solved.` : `; ${percent(solved / judged)} of these solved.`;
}

// Put what the fields of a form hold into the address, shortly after the last key in a search field.
function followFilters(form, view) {
  let waiting = 0, changes = {};
  form.addEventListener("input", ({ target }) => {
    clearTimeout(waiting);
    changes[target.name] = target.type === "checkbox" && !target.checked ? "" : target.value;
    waiting = setTimeout(() => { go({ ...changes, page: "" }, view); changes = {}; }, target.type === "search" ? 120 : 0);
  });
}

// Draw the buttons of a paged list and return the positions that its page shows.
function pager(container, count, query, view) {
  const pages = Math.max(1, Math.ceil(count / PAGE));
  const page = Math.min(pages, Math.max(1, Number(query.get("page")) || 1));
  const focused = container.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label") : null;
  const turn = (to, name, text) => h("button", { type: "button", class: "plain", disabled: to < 1 || to > pages || to === page, "aria-label": name, onclick: () => { go({ page: to === 1 ? "" : String(to) }, view); byId("view-" + view).scrollIntoView(); } }, text);
  container.replaceChildren(...(pages === 1 ? [] : [turn(1, "First page", "« First"), turn(page - 1, "Previous page", "‹ Previous"), h("span", {}, `Page ${page} of ${pages}`), turn(page + 1, "Next page", "Next ›"), turn(pages, "Last page", "Last »")]));
  if (focused) (container.querySelector(`[aria-label="${focused}"]:not([disabled])`) || container.querySelector("button:not([disabled])"))?.focus({ preventScroll: true });
  const start = (page - 1) * PAGE;
  return Array.from({ length: Math.max(0, Math.min(PAGE, count - start)) }, (_, i) => start + i);
}
