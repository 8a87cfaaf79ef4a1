// Views by address: #/ the overview, #/tasks?… the tasks of several evaluations, #/groups and #/group/KEY the groups of training batches,
// #/episodes?… the list, #/episode/N one episode. Also start-up, keys and the live page.

const state = { vocabularies: {}, vocabulary: {}, entropyTop: 1, stepTop: 1, position: null, listHash: "#/episodes" };
const VIEWS = ["overview", "tasks", "groups", "group", "episodes", "episode"];
const PARENTS = { episode: "episodes", group: "groups" };

function parts() {
  const [path, query] = location.hash.replace(/^#/, "").split("?");
  return { path: path || "/", query: new URLSearchParams(query || "") };
}

function go(changes, view = "episodes") {
  const { query } = parts();
  for (const [name, value] of Object.entries(changes)) if (value) query.set(name, value); else query.delete(name);
  const text = query.toString();
  history.replaceState(null, "", `#/${view}` + (text ? "?" + text : ""));
  route(false);
}

function reveal(name) {
  for (const view of VIEWS) byId("view-" + view).hidden = view !== name;
  for (const link of document.querySelectorAll("nav [data-view]")) {
    const current = link.dataset.view === name || link.dataset.view === PARENTS[name];
    if (current) link.setAttribute("aria-current", link.dataset.view === name ? "page" : "true"); else link.removeAttribute("aria-current");
  }
}

function trouble(error) {
  const notice = byId("trouble");
  notice.hidden = !error;
  notice.textContent = error ? String(error.message || error) : "";
}

async function route(moveFocus = true) {
  const { path, query } = parts();
  const [, head, rest] = path.match(/^\/(\w*)\/?(.*)$/) || [];
  const name = VIEWS.includes(head) ? head : "overview";
  state.position = name === "episode" ? Number(rest) - 1 : null;
  try {
    if (name === "episodes") showEpisodes(query);
    if (name === "episode") await showEpisode(state.position);
    if (name === "tasks") showTasks(query);
    if (name === "groups") showGroups(query);
    if (name === "group") showGroup(rest);
    trouble(null);
  } catch (error) { trouble(error); }
  reveal(name);
  const heading = byId(name + "-title");
  document.title = (name === "overview" ? "" : (heading ? heading.textContent.slice(0, 80) : name) + " – ") + state.title;
  if (moveFocus) {
    scrollTo(0, 0);
    (heading || byId("main")).focus({ preventScroll: true });
  }
  document.documentElement.dataset.ready = location.hash || "#/";
}

// From the step whose title has the focus, unless the reader scrolled away from it: the last steps can't reach the top of the window.
function step(direction) {
  const titles = [...document.querySelectorAll("#view-episode .step h3")];
  if (!titles.length) return;
  const focused = titles.indexOf(document.activeElement);
  const seen = focused >= 0 && titles[focused].getBoundingClientRect();
  const at = seen && seen.top >= 0 && seen.bottom <= innerHeight ? focused : titles.findLastIndex((title) => title.getBoundingClientRect().top <= 120);
  goStep(Math.max(0, Math.min(titles.length - 1, at + direction)));
}

document.addEventListener("keydown", (event) => {
  if (!byId("single-keys").checked || event.ctrlKey || event.metaKey || event.altKey || event.target.closest("select, textarea, input:not([type=checkbox], [type=radio])")) return;
  if (event.key === "/") {
    event.preventDefault();
    if (!location.hash.startsWith("#/episodes")) location.hash = state.listHash;
    setTimeout(() => byId("search")?.focus(), 50);
  }
  if (state.position !== null && (event.key === "j" || event.key === "k")) step(event.key === "j" ? 1 : -1);
  if (event.key === "n" || event.key === "p") document.querySelector(`.view:not([hidden]) .neighbours a[rel=${event.key === "n" ? "next" : "prev"}]`)?.click();
});

async function load() {
  const [overview, index, vocabularies] = await Promise.all([block("overview"), block("index"), block("vocabulary")]);
  Object.assign(state, { vocabularies, entropyTop: overview.entropyTop, stepTop: overview.stepTop });
  setIndex(index);
  chunks.clear();
  drawOverview(overview);
  byId("nav-count").textContent = grouped.format(index.count);
  setGroups();
  setTasks(overview);
}

async function version() {
  try {
    const response = await fetch("version", { cache: "no-store" });
    if (!response.ok) throw new Error(await response.text());
    return await response.json();
  } catch (error) { return { error }; }
}

async function follow(seen) {
  for (;;) {
    const answer = await version();
    if (answer.error) {
      byId("live").textContent = answer.error instanceof TypeError ? "Stopped: the server has gone" : `Paused: ${answer.error.message}`;
    } else if (answer.version !== seen) {
      try {
        await load();
        const fragment = new DOMParser().parseFromString(await (await fetch("overview", { cache: "no-store" })).text(), "text/html");
        for (const id of ["headline", "tables"]) {
          const open = [...byId(id).querySelectorAll("details[open]")].map((fold) => fold.id);
          byId(id).replaceWith(fragment.getElementById(id));
          for (const fold of open) if (byId(fold)) byId(fold).open = true;
        }
        if (state.position === null) await route(false);
        seen = answer.version;
        byId("live").textContent = "Live, read at " + new Date().toLocaleTimeString("en-GB");
        document.documentElement.dataset.version = seen;
      } catch (error) { byId("live").textContent = `Paused: ${error.message}`; }
    }
    await new Promise((wake) => setTimeout(wake, 2000));
  }
}

async function start() {
  state.title = document.title;
  addEventListener("hashchange", () => route(true));
  const seen = isLive ? (await version()).version : null;
  smoothingControl();
  await load();
  await route(location.hash.length > 2);
  if (isLive) follow(seen);
}

start().catch(trouble);
