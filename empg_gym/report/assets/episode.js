// One episode: its facts, an outline of its steps, and the conversation step by step.

let repaints = [];
let lazy = null;

async function showEpisode(position) {
  const view = byId("view-episode");
  const { index } = table;
  if (!(position >= 0 && position < index.count)) {
    view.replaceChildren(h("h1", { id: "episode-title", tabindex: "-1" }, "No such episode"), h("p", {}, h("a", { href: "#/episodes" }, "All episodes")));
    return;
  }
  const episode = await episodeDetail(position, index.chunk);
  if (state.position !== position) return;
  if (lazy) lazy.disconnect();
  repaints = [];
  state.vocabulary = state.vocabularies[labelOf("run", position)] || {};
  lazy = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { lazy.unobserve(entry.target); entry.target.build(); }
  }, { rootMargin: "800px" });
  if (!table.order.length) select(new URLSearchParams());
  const hasTokens = episode.steps.some((step) => step.entropies || step.logprobs);
  const hasLogprobs = episode.steps.some((step) => step.logprobs);
  view.replaceChildren(...flat([
    neighbours(position),
    h("h1", { id: "episode-title", tabindex: "-1" }, episode.instruction || labelOf("env", position)),
    facts(position, episode),
    sameTask(position),
    episode.error ? h("div", { class: "notice" }, h("p", {}, h("strong", {}, "Error: "), episode.error), episode.info.traceback ? h("pre", { class: "text", tabindex: "0", "aria-label": "Traceback" }, episode.info.traceback) : null) : null,
    profile(episode) || h("h2", { class: "sr" }, "Steps"),
    messagesToggle(() => showEpisode(position).then(() => byId("as-sent").focus())),
    shown.messages ? [messagesHint(episode), messageList(episode), neighbours(position)] : [
    hasTokens ? overlayControls(() => repaints.forEach((paint) => paint()), hasLogprobs) : null,
    h("ol", { class: "steps", "aria-label": "Steps" }, episode.system ? h("li", { class: "system" }, h("details", {}, h("summary", {}, "System prompt"), h("div", { class: "text" }, episode.system))) : null, episode.steps.map((step, i) => stepItem(step, i, episode))),
    episode.final ? h("section", { class: "final", "aria-label": "Last observation" }, turn("observation", "Last observation", episode.final)) : null,
    neighbours(position)]]));
}

function neighbours(position) {
  const place = table.order.indexOf(position);
  const address = (i) => (i === undefined ? null : "#/episode/" + (i + 1));
  const group = groupOf(position);
  return h("nav", { class: "neighbours", "aria-label": "Episodes of the list" }, h("a", { href: state.listHash }, "All episodes"), group ? h("a", { href: "#/group/" + group.key }, "Its group") : null,
    h("span", { class: "where" }, place < 0 ? `Episode ${grouped.format(position + 1)}` : `${grouped.format(place + 1)} of ${grouped.format(table.order.length)}`),
    previousAndNext(address(place > 0 ? table.order[place - 1] : undefined), address(place >= 0 ? table.order[place + 1] : undefined)));
}

function previousAndNext(previous, next) {
  const link = (href, name, rel) => (href ? h("a", { href, rel }, name) : h("span", { class: "off" }, name));
  return [link(previous, "‹ Previous", "prev"), link(next, "Next ›", "next")];
}

function facts(position, episode) {
  const { index } = table;
  const value = (key) => index[key][position];
  const pairs = [
    ["Score", number(value("score"))], ["Reward", number(value("reward"))], ["Steps", number(value("steps"))],
    value("invalid") ? ["Invalid actions", number(value("invalid"))] : null,
    value("tokens") ? ["Tokens", number(value("tokens"))] : null,
    value("entropy") !== null ? ["Mean step entropy", (value("bound") ? "≥ " : "") + number(value("entropy")) + " nats"] : null,
    value("seconds") ? ["Time", seconds(value("seconds"))] : null,
    ["Ended by", labelOf("stop", position).replaceAll("_", " ")],
    value("trained") !== null ? ["Training reward", number(value("trained"))] : null,
  ];
  const names = [
    ["Run", labelOf("run", position)], ["Environment", labelOf("env", position)], ["Split", labelOf("split", position)], ["Task", value("task")], ["Task type", labelOf("type", position)], ["Agent", labelOf("agent", position)],
    ["Phase", labelOf("phase", position)], ["Update", value("update")], ["Seed", episode.seed], ["Group", value("group")], ["Repeat", value("repeat")], ["Attempts", value("attempts") > 1 ? value("attempts") : null], ["Dialogue", episode.dialogue],
    ["Environment version", episode.version], ["Data", episode.fingerprint], ...Object.entries(episode.info).filter(([name]) => !["phase", "step", "kind", "training_reward", "traceback"].includes(name)).map(([name, item]) => [name, typeof item === "object" ? JSON.stringify(item) : String(item)]),
  ].filter(([, item]) => item !== null && item !== undefined && item !== "");
  const pair = ([name, item]) => h("div", {}, h("dt", {}, name), h("dd", {}, String(item)));
  return h("div", { class: "episode-facts" }, h("p", { class: "outcome" }, outcomeBadge(value("outcome"))), h("dl", { class: "facts-row" }, pairs.filter(Boolean).map(pair)), h("details", {}, h("summary", {}, "Task, data and seed"), h("dl", { class: "facts-list" }, names.map(pair))));
}

const before = (step) => (step.diagnostics ? step.diagnostics.advantage : undefined);
const after = (step) => (step.diagnostics ? step.diagnostics.advantage_modulated : undefined);

function profile(episode) {
  const steps = episode.steps;
  const hasEntropy = steps.some((step) => step.entropy !== undefined);
  const advantages = steps.flatMap((step) => [before(step), after(step)]).filter((value) => value !== undefined);
  if (!steps.length || (!hasEntropy && !advantages.length)) return null;
  const plot = h("div", { class: "plot" });
  const draw = (width) => {
    const left = 46, gap = (width - left - 4) / steps.length, column = Math.max(1, Math.min(28, gap * 0.7));
    const high = hasEntropy ? 90 : 0, low = advantages.length ? 100 : 0;
    const drawing = s("svg", { width, height: high + low + 22, viewBox: `0 0 ${width} ${high + low + 22}`, "aria-hidden": "true" });
    const centre = (i) => left + gap * (i + 0.5);
    const top = Math.max(...steps.map((step) => step.entropy || 0), 0.01);
    if (hasEntropy) {
      drawing.append(s("text", { class: "tick", x: left - 8, y: 14, "text-anchor": "end" }, number(top, 2)), s("text", { class: "tick", x: left - 8, y: high - 6, "text-anchor": "end" }, "0"), s("line", { class: "axis", x1: left, x2: width, y1: high - 9.5, y2: high - 9.5 }));
      steps.forEach((step, i) => { const size = ((step.entropy || 0) / top) * (high - 20); drawing.append(s("rect", { class: "bar-entropy", x: centre(i) - column / 2, width: column, y: high - 10 - size, height: size })); });
    }
    if (advantages.length) {
      const reach = Math.max(...advantages.map(Math.abs), 0.01);
      const y = (value) => high + low / 2 - (value / reach) * (low / 2 - 10);
      drawing.append(s("text", { class: "tick", x: left - 8, y: y(reach) + 4, "text-anchor": "end" }, "+" + number(reach, 2)), s("text", { class: "tick", x: left - 8, y: y(0) + 4, "text-anchor": "end" }, "0"), s("text", { class: "tick", x: left - 8, y: y(-reach) + 4, "text-anchor": "end" }, "−" + number(reach, 2)), s("line", { class: "axis", x1: left, x2: width, y1: y(0), y2: y(0) }));
      steps.forEach((step, i) => {
        const from = before(step), to = after(step);
        if (from !== undefined && to !== undefined) drawing.append(s("line", { class: "change", x1: centre(i), x2: centre(i), y1: y(from), y2: y(to) }));
        if (from !== undefined) drawing.append(s("circle", { class: "advantage-before", cx: centre(i), cy: y(from), r: 4 }));
        if (to !== undefined) drawing.append(s("rect", { class: "advantage-after", x: centre(i) - 3.5, y: y(to) - 3.5, width: 7, height: 7 }));
      });
    }
    const every = Math.ceil(steps.length / Math.max(1, (width - left) / 34));
    steps.forEach((_, i) => { if (i % every === 0) drawing.append(s("text", { class: "tick", x: centre(i), y: high + low + 16, "text-anchor": "middle" }, String(i + 1))); });
    steps.forEach((step, i) => drawing.append(s("rect", { class: "hit", x: left + gap * i, width: gap, y: 0, height: high + low, onclick: () => goStep(titleOfStep(episode, i)) }, s("title", {}, `Step ${i + 1}: ${step.action || step.response || ""}`.slice(0, 120)))));
    plot.replaceChildren(drawing);
  };
  onResize(plot, draw);
  const legend = h("ul", { class: "legend" },
    hasEntropy ? h("li", {}, h("span", { class: "key-entropy", "aria-hidden": "true" }), "step entropy, nats") : null,
    advantages.length ? h("li", {}, h("span", { class: "key-before", "aria-hidden": "true" }), "advantage before modulation") : null,
    steps.some((step) => after(step) !== undefined) ? h("li", {}, h("span", { class: "key-after", "aria-hidden": "true" }), "advantage after modulation") : null);
  const head = ["Step", "Action", ...(hasEntropy ? ["Entropy, nats"] : []), ...(advantages.length ? ["Advantage before", "Advantage after"] : []), "Reward"];
  const values = valuesFold(head, () => steps.map((step, i) => [String(i + 1), step.action || "–", ...(hasEntropy ? [number(step.entropy)] : []), ...(advantages.length ? [number(before(step)), number(after(step))] : []), number(step.reward)]));
  return h("figure", { class: "chart profile", "aria-labelledby": "profile-title" }, h("figcaption", {}, h("h2", { id: "profile-title" }, advantages.length ? "Entropy and advantage, step by step" : "Entropy, step by step"), legend), plot, values);
}

function turn(kind, name, text, code) {
  // A long text scrolls inside its frame, which must then be reachable by keyboard.
  const frame = text.length > 1500 ? { class: "text", tabindex: "0", role: "region", "aria-label": name } : { class: "text" };
  return h("div", { class: "turn " + kind }, h("h4", {}, name), h(code ? "code" : "div", frame, text));
}

function stepItem(step, i, episode) {
  const flags = [
    step.malformed ? "malformed reply" : null, !step.valid && !step.malformed ? "invalid action" : null, step.finish === "length" ? "cut at the token limit" : null,
    i && step.row !== episode.steps[i - 1].row ? "new token row" : null,
  ].filter(Boolean).map((name) => h("span", { class: "badge flag" }, name));
  const numbers = h("dl", { class: "step-numbers" });
  const put = (name, value) => numbers.append(h("div", {}, h("dt", {}, name), h("dd", {}, value)));
  if (step.entropy !== undefined) put("entropy", entropyCell(step.entropy, step.bound));
  if (step.rollout_entropy !== undefined) put("entropy in the rollout", entropyCell(step.rollout_entropy, false));
  if (before(step) !== undefined) put("advantage", after(step) === undefined ? signed(before(step)) : [h("span", { class: "sr" }, "before "), signed(before(step)), h("span", { "aria-hidden": "true" }, " → "), h("span", { class: "sr" }, " after "), h("strong", {}, signed(after(step)))]);
  if (step.reward) put("reward", signed(step.reward));
  if ((step.model || 0) + (step.env || 0) > 0.001) put("time", `${seconds(step.model || 0)} model, ${seconds(step.env || 0)} environment`);
  const further = Object.entries(step.diagnostics || {}).filter(([name]) => name !== "advantage" && name !== "advantage_modulated");
  const body = h("div", { class: "step-body" });
  body.build = () => {
    const tokens = tokenStrip(step, i + 1);
    if (tokens) repaints.push(tokens.paint);
    body.replaceChildren(...flat([
      turn("observation", "Observation", step.observation),
      step.thought ? turn("thought", "Thought", step.thought) : null,
      step.action ? turn("action", "Action", step.action, true) : step.malformed ? turn("action", "Reply, which could not be read", step.response) : null,
      step.error ? h("p", { class: "notice" }, step.error) : null,
      tokens,
      h("div", { class: "folds" },
        step.response && step.response !== step.action && !step.malformed ? h("details", {}, h("summary", {}, "Response as written"), h("div", { class: "text mono" }, step.response)) : null,
        step.admissible ? h("details", {}, h("summary", {}, plural(step.admissible.length, "admissible action")), h("ul", { class: "admissible" }, step.admissible.map((action) => h("li", { class: action === step.action ? "chosen" : null }, action, action === step.action ? " (chosen)" : "")))) : null,
        further.length ? h("details", {}, h("summary", {}, "Diagnostics"), h("dl", { class: "facts-list" }, further.map(([name, value]) => h("div", {}, h("dt", {}, name.replaceAll("_", " ")), h("dd", {}, number(value)))))) : null),
    ]));
    body.classList.add("built");
  };
  lazy.observe(body);
  return h("li", { id: "step-" + (i + 1), class: "step" }, h("article", { "aria-labelledby": `step-title-${i + 1}` }, h("header", {}, h("h3", { id: `step-title-${i + 1}`, tabindex: "-1" }, "Step " + (i + 1)), numbers, flags), body));
}

function goStep(i) {
  const title = byId(`step-title-${i + 1}`);
  if (!title) return;
  title.closest("li").querySelector(".step-body:not(.built)")?.build();
  title.focus({ preventScroll: true });
  title.scrollIntoView({ block: "start" });
}
