// The token strip: a response token by token, tinted by entropy. The bar under a token repeats its tint; its name states the value.
// Each strip is one tab stop; the arrow keys move along it.

const overlay = { by: "entropy" };

function tokenText(step, i) {
  if (step.texts) return step.texts[i];
  const id = step.ids ? step.ids[i] : null;
  const text = id !== null ? state.vocabulary[id] : undefined;
  return text !== undefined ? text : id !== null ? `#${id}` : String(i + 1);
}

// A space before a word is a gap on the page; spaces alone, line breaks and tabs get a sign.
const visible = (text) => text.replace(/^ (?=\S)/, "").replaceAll("\n", "↵").replaceAll("\t", "⇥").replace(/^ +| +$/g, (blanks) => "␣".repeat(blanks.length));

function tokenValue(step, i) {
  const thousandths = overlay.by === "surprise" ? (step.logprobs ? step.logprobs[i] : null) : step.entropies ? step.entropies[i] : null;
  return thousandths === null || thousandths === undefined ? null : overlay.by === "surprise" ? -thousandths / 1000 : thousandths / 1000;
}

function tokenName(step, i, count) {
  const parts = [`token ${i + 1} of ${count}`];
  if (step.ids || step.texts) parts.push(`“${visible(tokenText(step, i))}”`);
  if (step.ids) parts.push(`id ${step.ids[i]}`);
  if (step.entropies && step.entropies[i] !== null) parts.push(`entropy ${step.bound ? "at least " : ""}${number(step.entropies[i] / 1000)} nats`);
  if (step.logprobs && step.logprobs[i] !== null) parts.push(`probability ${number(Math.exp(step.logprobs[i] / 1000))}`);
  return parts.join(", ");
}

function tokenStrip(step, stepNumber) {
  const count = (step.entropies || step.logprobs || []).length;
  if (!count) return null;
  const readout = h("p", { class: "readout", "aria-hidden": "true" }, "");
  const strip = h("div", { class: "strip" + (step.texts || (step.ids && Object.keys(state.vocabulary).length) ? "" : " bare"), role: "toolbar", "aria-label": `Tokens of step ${stepNumber}` });
  const cells = [];
  let current = 0;
  for (let i = 0; i < count; i++) {
    const cell = h("button", { type: "button", class: "token" + (/^ \S/.test(tokenText(step, i)) ? " spaced" : ""), tabindex: i ? "-1" : "0", "aria-label": tokenName(step, i, count) }, visible(tokenText(step, i)));
    cells.push(cell);
    strip.append(cell);
    if (tokenText(step, i).endsWith("\n")) strip.append(h("br"));
  }
  const point = (i) => { readout.textContent = tokenName(step, i, count).replace(/^t/, "T"); };
  strip.addEventListener("pointerover", (event) => { const i = cells.indexOf(event.target); if (i >= 0) point(i); });
  strip.addEventListener("focusin", (event) => {
    const i = cells.indexOf(event.target);
    if (i < 0) return;
    cells[current].tabIndex = -1;
    current = i;
    cells[i].tabIndex = 0;
    point(i);
  });
  strip.addEventListener("keydown", (event) => {
    const moves = { ArrowRight: current + 1, ArrowLeft: current - 1, Home: 0, End: count - 1 };
    if (!(event.key in moves)) return;
    event.preventDefault();
    cells[Math.max(0, Math.min(count - 1, moves[event.key]))].focus();
  });
  const paint = () => cells.forEach((cell, i) => {
    const value = overlay.by === "none" ? null : tokenValue(step, i);
    cell.style.setProperty("--heat", value === null ? 0 : Math.min(1, value / state.entropyTop).toFixed(3));
  });
  paint();
  return Object.assign(h("div", { class: "tokens" }, h("h4", {}, "Tokens"), strip, readout), { paint });
}

function overlayControls(repaint, hasLogprobs) {
  const choices = [["entropy", "entropy"], ...(hasLogprobs ? [["surprise", "surprise (−log p)"]] : []), ["none", "nothing"]];
  if (!choices.some(([value]) => value === overlay.by)) overlay.by = "entropy";
  const radios = choices.map(([value, name]) => h("label", {}, h("input", { type: "radio", name: "overlay", value, checked: value === overlay.by, onchange: () => { overlay.by = value; repaint(); } }), name));
  const stops = [0, 0.25, 0.5, 0.75, 1].map((share) => h("span", { class: "token", "--heat": share }, share === 1 ? `≥ ${number(state.entropyTop, 2)}` : number(share * state.entropyTop, 2)));
  return h("div", { class: "overlay" }, h("fieldset", {}, h("legend", {}, "Colour tokens by"), radios), h("p", { class: "scale" }, h("span", { class: "scale-name" }, "Scale, nats"), stops), h("p", { class: "hint" }, "Point at a token, or press the arrow keys in a strip, to read its values."));
}
