// Search in transcripts: every part of the page is inflated and read once per search, a part at a time, so that the page stays usable.

const search = { key: "", hits: new Map(), done: 0, total: 0 };
const AROUND = 60;

// Words, and phrases in quotation marks; all of them must occur.
const wanted = (text) => [...text.toLowerCase().matchAll(/"([^"]+)"|[^\s"]+/g)].map((match) => match[1] || match[0]);

function transcript(episode) {
  const parts = episode.steps.flatMap((step) => [step.observation, step.response, step.thought, step.action, step.error]);
  return [episode.instruction, episode.system, ...parts, episode.final, episode.error].filter(Boolean).join("\n");
}

function snippet(text, at, length) {
  const from = Math.max(0, at - AROUND), to = Math.min(text.length, at + length + AROUND);
  return [from ? "…" : "", text.slice(from, at), h("mark", {}, text.slice(at, at + length)), text.slice(at + length, to), to < text.length ? "…" : ""];
}

// Begin the search for `words` unless it is the current one; `draw` shows the hits so far.
async function searchTranscripts(words, draw) {
  const key = JSON.stringify([words, table.index.count]);
  if (key === search.key) return;
  const chunks = Math.ceil(table.index.count / table.index.chunk);
  Object.assign(search, { key, hits: new Map(), done: 0, total: chunks });
  let drawn = performance.now();
  for (let number = 0; number < chunks; number++) {
    const episodes = await block("chunk-" + number);
    if (search.key !== key) return;
    episodes.forEach((episode, place) => {
      const text = transcript(episode);
      const lower = text.toLowerCase();
      const at = lower.indexOf(words[0]);
      if (at >= 0 && words.every((word) => lower.includes(word))) search.hits.set(number * table.index.chunk + place, snippet(text, at, words[0].length));
    });
    search.done = number + 1;
    if (performance.now() - drawn > 400 || search.done === chunks) { draw(); drawn = performance.now(); }
  }
}
