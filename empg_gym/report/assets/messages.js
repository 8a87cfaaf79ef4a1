// The conversation as chat messages, as they were sent: `Trajectory.to_messages()`. Where prompts showed a window of the history, the prompt
// of each step.

const shown = { messages: false };

const conversation = (episode, from, to) => episode.steps.slice(from, to).flatMap((step) => [["user", step.observation || ""], ["assistant", step.response || ""]]);
const opened = (episode) => (episode.system ? [["system", episode.system]] : []);

function promptOf(episode, i) {
  const first = episode.steps[i].opening ? i - episode.history : 0;
  const messages = [...conversation(episode, first, i), ["user", episode.steps[i].observation || ""]];
  if (episode.steps[i].opening) messages[0] = ["user", episode.steps[i].opening];
  return [...opened(episode), ...messages];
}

function messageItem([role, text], name, level) {
  return h("li", { class: `message ${role}` + (name.id ? " step" : "") }, h(level, { tabindex: "-1", id: name.id }, name.text), h("div", text.length > 1500 ? { class: "text mono", tabindex: "0", role: "region", "aria-label": name.text } : { class: "text mono" }, text));
}

function messageList(episode) {
  if (episode.steps.some((step) => step.opening)) return promptList(episode);
  const messages = [...opened(episode), ...conversation(episode, 0)];
  return h("ol", { class: "steps messages", "aria-label": "Messages" }, messages.map((message, i) => messageItem(message, { id: `step-title-${i + 1}`, text: message[0] }, "h3")));
}

function promptList(episode) {
  return h("ol", { class: "steps messages", "aria-label": "Prompts" }, episode.steps.map((step, i) => {
    const fold = h("details", { open: i === 0 }, h("summary", {}, `Prompt, ${plural(promptOf(episode, i).length, "message")}`));
    const build = () => { if (fold.open && !fold.querySelector("ol")) fold.append(h("ol", { class: "messages" }, promptOf(episode, i).map((message) => messageItem(message, { text: message[0] }, "h4")))); };
    fold.addEventListener("toggle", build);
    build();
    return h("li", { class: "step" }, h("h3", { id: `step-title-${i + 1}`, tabindex: "-1" }, "Step " + (i + 1)), fold, h("ol", { class: "messages" }, messageItem(["assistant", step.response || ""], { text: "assistant" }, "h4")));
  }));
}

// The place among the titles of the view at which a step begins.
const titleOfStep = (episode, i) => (!shown.messages || episode.steps.some((step) => step.opening) ? i : opened(episode).length + 2 * i);

function messagesToggle(redraw) {
  const box = h("input", { type: "checkbox", id: "as-sent", checked: shown.messages, onchange: () => { shown.messages = box.checked; redraw(); } });
  return h("p", { class: "view-choice" }, h("label", {}, box, " Messages exactly as sent"));
}

function messagesHint(episode) {
  const notes = ["What the agent read and wrote, message by message, without interpretation."];
  if (episode.history !== null && episode.history !== undefined) notes.push(`Prompts showed the last ${plural(episode.history, "step")}.`);
  if (episode.branch !== null && episode.branch !== undefined) notes.push(`This branch continues another episode after its step ${episode.branch}, whose messages came first.`);
  return h("p", { class: "hint" }, notes.join(" "));
}
