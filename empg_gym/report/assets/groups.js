// Groups of training batches: the episodes that their advantages compare, side by side.

const groups = { list: [], of: new Map() };

function setGroups() {
  const { index } = table;
  const found = new Map();
  for (let i = 0; i < index.count; i++) {
    if (index.group[i] === null) continue;
    const key = [index.run.codes[i], index.update[i], index.group[i]].join("-");
    if (!found.has(key)) found.set(key, { key, members: [] });
    found.get(key).members.push(i);
  }
  groups.list = [...found.values()].filter((group) => group.members.length > 1);
  groups.of = new Map(groups.list.flatMap((group) => group.members.map((i) => [i, group])));
  byId("nav-groups").hidden = !groups.list.length;
  byId("nav-groups-count").textContent = grouped.format(groups.list.length);
}

const groupOf = (i) => groups.of.get(i);
const rewardOf = (i) => (table.index.trained[i] === null || table.index.trained[i] === undefined ? table.index.reward[i] : table.index.trained[i]);
const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

function spread(values) {
  const middle = mean(values);
  return Math.sqrt(mean(values.map((value) => (value - middle) ** 2)));
}

function range(values) {
  const known = values.filter((value) => value !== null && value !== undefined);
  if (!known.length) return "–";
  const [low, high] = [Math.min(...known), Math.max(...known)];
  return low === high ? number(low) : `${number(low)} to ${number(high)}`;
}

function showGroups(query) {
  const { index } = table;
  const view = byId("view-groups");
  const wanted = query.get("rewards") || "";
  const differ = (group) => new Set(group.members.map(rewardOf)).size > 1;
  const shown = groups.list.filter((group) => !wanted || differ(group) === (wanted === "differ"));
  const choice = h("select", { name: "rewards", onchange: () => { location.hash = "#/groups" + (choice.value ? "?rewards=" + choice.value : ""); } },
    [["", "all"], ["differ", "different"], ["equal", "equal: no advantage"]].map(([value, name]) => h("option", { value, selected: value === wanted }, name)));
  const several = index.run.labels.length > 1;
  const head = [...(several ? ["Run"] : []), "Step", "Task", "Episodes", "Solved", "Reward, mean ± sd", "Steps", "Tokens", "Advantage"];
  const cell = (name, text, kind) => h("td", { class: kind, "data-label": name }, text);
  const rows = shown.map((group) => {
    const at = (key) => group.members.map((i) => index[key][i]);
    const first = group.members[0];
    const rewards = group.members.map(rewardOf);
    return h("tr", { onclick: (event) => { if (!event.target.closest("a") && !String(getSelection())) location.hash = "#/group/" + group.key; } },
      several ? cell("Run", labelOf("run", first), "word") : null, cell("Step", number(index.update[first]), "word"),
      h("td", { class: "wide" }, h("a", { href: "#/group/" + group.key, class: "row-link" }, index.instruction[first] || index.task[first]), h("span", { class: "about" }, labelOf("type", first))),
      cell("Episodes", String(group.members.length)), cell("Solved", String(at("outcome").filter((code) => code === 0).length)),
      cell("Reward", `${number(mean(rewards))} ± ${number(spread(rewards))}`), cell("Steps", range(at("steps"))), cell("Tokens", range(at("tokens"))), cell("Advantage", range(at("modulated"))));
  });
  view.replaceChildren(h("h1", { id: "groups-list-title", tabindex: "-1" }, "Groups"),
    h("p", { class: "facts" }, "Whole groups of training batches, as recorded. Within a group, episodes share task and seed, and advantages compare their rewards."),
    h("form", { class: "filters", "aria-label": "Filter the groups", onsubmit: (event) => event.preventDefault() }, h("label", {}, h("span", {}, "Rewards"), choice)),
    h("p", { class: "status", role: "status" }, shown.length === groups.list.length ? plural(shown.length, "group") + "." : `${grouped.format(shown.length)} of ${plural(groups.list.length, "group")}.`),
    h("div", { class: "scroll", role: "region", "aria-labelledby": "groups-list-title", tabindex: "0" },
      h("table", { class: "numbers episodes stack" }, h("thead", {}, h("tr", {}, head.map((name) => h("th", { scope: "col", class: name === "Task" ? "wide" : name === "Run" ? "word" : null }, name)))), h("tbody", {}, rows))));
}

function showGroup(key) {
  const view = byId("view-group");
  const place = groups.list.findIndex((group) => group.key === key);
  if (place < 0) {
    view.replaceChildren(h("h1", { id: "group-title", tabindex: "-1" }, "No such group"), h("p", {}, h("a", { href: "#/groups" }, "All groups")));
    return;
  }
  const { index } = table;
  const { members } = groups.list[place];
  const first = members[0];
  const address = (i) => (groups.list[i] ? "#/group/" + groups.list[i].key : null);
  const columns = [
    { name: "Reward", value: rewardOf }, { name: "Score", value: (i) => index.score[i] }, { name: "Steps", value: (i) => index.steps[i] },
    { name: "Tokens", value: (i) => index.tokens[i] }, { name: "Entropy", value: (i) => index.entropy[i] },
    { name: "Advantage", value: (i) => index.advantage[i], signed: true }, { name: "Modulated", value: (i) => index.modulated[i], signed: true },
  ].filter((column) => members.some((i) => column.value(i) !== null && column.value(i) !== undefined));
  for (const column of columns) column.reach = Math.max(...members.map((i) => Math.abs(column.value(i) || 0)), 1e-9);
  const rewards = members.map(rewardOf);
  view.replaceChildren(
    h("nav", { class: "neighbours", "aria-label": "Groups" }, h("a", { href: "#/groups" }, "All groups"), h("span", { class: "where" }, `${grouped.format(place + 1)} of ${grouped.format(groups.list.length)}`), previousAndNext(address(place - 1), address(place + 1))),
    h("h1", { id: "group-title", tabindex: "-1" }, index.instruction[first] || index.task[first]),
    h("p", { class: "facts" }, `${plural(members.length, "episode")} of step ${index.update[first]}${labelOf("run", first) ? " of " + labelOf("run", first) : ""}, ${labelOf("type", first) || "task " + index.task[first]}. Rewards have mean ${number(mean(rewards))} and standard deviation ${number(spread(rewards))}.`),
    new Set(rewards).size === 1 ? h("p", { class: "notice" }, "All rewards are equal: advantages that compare them are 0.") : "",
    h("div", { class: "scroll", role: "region", "aria-labelledby": "group-title", tabindex: "0" }, h("table", { class: "numbers episodes group" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Episode"), h("th", { scope: "col", class: "word" }, "Outcome"), columns.map((column) => h("th", { scope: "col" }, column.name)), h("th", { scope: "col", class: "word" }, "Ended by"))),
      h("tbody", {}, members.map((i) => h("tr", {}, h("th", { scope: "row" }, h("a", { href: "#/episode/" + (i + 1) }, "Episode " + (i + 1))), h("td", { class: "word" }, outcomeBadge(index.outcome[i])),
        columns.map((column) => h("td", {}, barCell(column.value(i), column))), h("td", { class: "word" }, labelOf("stop", i).replaceAll("_", " "))))))),
    h("p", { class: "hint" }, "Reward is what the trainer compared, after scaling and shaping. Tokens are the generated ones. Advantages are means over an episode's steps, before and after modulation."));
}

function barCell(value, { reach, signed: isSigned }) {
  if (value === null || value === undefined) return "–";
  const share = Math.abs(value) / reach;
  return [h("span", {}, isSigned ? signed(value) : number(value)), h("span", { class: "amount" + (isSigned ? (value < 0 ? " below" : " above") : ""), "--share": share.toFixed(3), "aria-hidden": "true" })];
}
