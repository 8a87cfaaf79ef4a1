// The tasks of several evaluations, side by side: which run solved what. Filters are in the address.

const tasks = { list: [], of: new Map(), shown: false };
const VERDICTS = { solved: "solved", failed: "failed", mixed: "in part", error: "error", missing: "not run" };

function setTasks(overview) {
  const { index } = table;
  tasks.shown = !overview.charts.length && index.count > 0 && index.run.labels.length > 1;
  byId("nav-tasks").hidden = !tasks.shown;
  if (!tasks.shown) return;
  const found = new Map();
  for (let i = 0; i < index.count; i++) {
    const key = [index.env.codes[i], index.split.codes[i], index.task[i]].join("|");
    if (!found.has(key)) found.set(key, index.run.labels.map(() => []));
    found.get(key)[index.run.codes[i]].push(i);
  }
  tasks.list = [...found.values()].map((runs) => ({ runs, first: runs.find((episodes) => episodes.length)[0], verdicts: runs.map(verdict) }));
  tasks.of = new Map(tasks.list.flatMap((task) => task.runs.flat().map((i) => [i, task])));
  byId("nav-tasks-count").textContent = grouped.format(tasks.list.length);
}

function verdict(episodes) {
  if (!episodes.length) return "missing";
  const judged = episodes.filter((i) => table.index.outcome[i] < 2);
  if (!judged.length) return "error";
  const solved = judged.filter((i) => table.index.outcome[i] === 0).length;
  return solved === judged.length ? "solved" : solved ? "mixed" : "failed";
}

function selectTasks(query) {
  const { index } = table;
  const words = wanted(query.get("q") || "");
  const texts = haystack();
  return tasks.list.filter((task) => index.run.labels.every((_, run) => !query.get("run" + run) || task.verdicts[run] === query.get("run" + run))
    && (!query.get("type") || labelOf("type", task.first) === query.get("type")) && words.every((word) => texts[task.first].includes(word)));
}

function showTasks(query) {
  const view = byId("view-tasks");
  if (!tasks.shown) { view.replaceChildren(h("h1", { id: "tasks-title", tabindex: "-1" }, "Tasks"), h("p", {}, "This page has one run: its tasks are in the list of ", h("a", { href: "#/episodes" }, "episodes"), ".")); return; }
  if (!view.querySelector("form")) buildTasks(view);
  for (const field of view.querySelector("form").elements) if (field.name && document.activeElement !== field) field.value = query.get(field.name) || "";
  for (const button of view.querySelectorAll(".presets button")) button.setAttribute("aria-pressed", String(Object.entries(button.preset).every(([name, value]) => (query.get(name) || "") === value)));
  fillTasks(view, query);
}

function buildTasks(view) {
  const runs = table.index.run.labels;
  const used = Object.keys(VERDICTS).filter((name) => tasks.list.some((task) => task.verdicts.includes(name)));
  const choice = (name, label, values, text = (value) => value) => h("label", {}, h("span", {}, label), h("select", { name }, h("option", { value: "" }, "all"), values.map((value) => h("option", { value }, text(value)))));
  const types = table.index.type.labels;
  const form = h("form", { class: "filters", role: "search", "aria-label": "Filter the tasks", onsubmit: (event) => event.preventDefault() },
    h("label", { class: "search" }, h("span", {}, "Search tasks"), h("input", { type: "search", placeholder: "words, or \"a phrase\"", name: "q", autocomplete: "off", spellcheck: "false" })),
    runs.map((run, i) => choice("run" + i, run, used, (name) => VERDICTS[name])), types.length > 1 ? choice("type", "Task type", types) : null,
    h("button", { type: "button", class: "plain", onclick: () => { location.hash = "#/tasks"; } }, "Clear"));
  followFilters(form, "tasks");
  // Every other run against the first, which is the reference.
  const presets = runs.slice(1).flatMap((run, i) => [[0, i + 1], [i + 1, 0]]).map(([solved, failed]) => {
    const preset = Object.fromEntries(runs.map((_, i) => ["run" + i, i === solved ? "solved" : i === failed ? "failed" : ""]));
    return Object.assign(h("button", { type: "button", class: "plain", onclick: () => go({ ...preset, page: "" }, "tasks") }, `${runs[solved]} solved, ${runs[failed]} failed`), { preset });
  });
  view.replaceChildren(h("h1", { id: "tasks-title", tabindex: "-1" }, "Tasks"), form, h("div", { class: "presets", role: "group", "aria-label": "Where runs differ" }, presets), h("p", { class: "status", role: "status", id: "tasks-status" }),
    h("div", { class: "scroll", role: "region", "aria-labelledby": "tasks-title", tabindex: "0" }, h("table", { class: "words episodes stack" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Task"), runs.map((run) => h("th", { scope: "col" }, run)))), h("tbody"))), h("nav", { class: "pager", "aria-label": "Pages of tasks" }));
}

function fillTasks(view, query) {
  const { index } = table;
  const shown = selectTasks(query);
  const page = pager(view.querySelector(".pager"), shown.length, query, "tasks");
  const tally = index.run.labels.map((run, i) => `${run} solved ${grouped.format(shown.filter((task) => task.verdicts[i] === "solved").length)}`);
  byId("tasks-status").textContent = shown.length ? `${plural(shown.length, "task")} of ${grouped.format(tasks.list.length)}: ${tally.join(", ")}.` : `None of ${plural(tasks.list.length, "task")} fits these filters.`;
  view.querySelector("tbody").replaceChildren(...page.map((at) => {
    const { runs, first, verdicts } = shown[at];
    const about = [labelOf("type", first), index.env.labels.length > 1 ? labelOf("env", first) : "", index.split.labels.length > 1 ? labelOf("split", first) : ""].filter(Boolean);
    return h("tr", {}, h("th", { scope: "row" }, index.instruction[first] || index.task[first], about.length ? h("span", { class: "about" }, about.join(" · ")) : null),
      runs.map((episodes, run) => h("td", { "data-label": index.run.labels[run] }, episodes.length ? [episodes.map((i) => [h("a", { href: "#/episode/" + (i + 1), "aria-label": `${index.run.labels[run]}: ${index.outcomes[index.outcome[i]]}` }, outcomeBadge(index.outcome[i])), " "]), h("span", { class: "about" }, aboutEpisodes(episodes))] : h("span", { class: "about" }, VERDICTS[verdicts[run]]))));
  }));
}

function aboutEpisodes(episodes) {
  const { index } = table;
  const steps = range(episodes.map((i) => index.steps[i]));
  const scores = range(episodes.map((i) => index.score[i]));
  return `${steps} step${steps === "1" ? "" : "s"}, score ${scores}`;
}

// In an episode: how the other runs did on its task.
function sameTask(position) {
  const task = tasks.of.get(position);
  if (!task) return null;
  const others = task.runs.flat().filter((i) => i !== position);
  if (!others.length) return null;
  return h("p", { class: "same-task" }, "The same task in: ", others.map((i) => [h("a", { href: "#/episode/" + (i + 1) }, labelOf("run", i)), " ", outcomeBadge(table.index.outcome[i]), " "]));
}
