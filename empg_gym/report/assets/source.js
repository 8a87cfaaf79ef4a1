// Where the data comes from: blocks inside the page, or the server of a live page. Both are base64 of deflated JSON.

const isLive = document.documentElement.dataset.live === "yes";
const chunks = new Map();
const CHUNKS_KEPT = 12;

async function packed(name) {
  if (!isLive) {
    const element = byId("data-" + name);
    if (!element) throw new Error(`the page has no block "${name}"`);
    return element.textContent;
  }
  const response = await fetch("data/" + name, { cache: "no-store" });
  if (!response.ok) throw new Error(await response.text());
  return response.text();
}

function bytes(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const array = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) array[i] = text.charCodeAt(i);
  return array;
}

async function block(name) {
  if (typeof DecompressionStream === "undefined") {
    throw new Error("this browser can't read the page's data; it takes Chrome 80, Firefox 113, Safari 16.4 or newer");
  }
  const stream = new Blob([bytes((await packed(name)).trim())]).stream().pipeThrough(new DecompressionStream("deflate"));
  return JSON.parse(await new Response(stream).text());
}

async function episodeDetail(position, chunkSize) {
  const name = "chunk-" + Math.floor(position / chunkSize);
  if (!chunks.has(name)) {
    chunks.set(name, await block(name));
    if (chunks.size > CHUNKS_KEPT) chunks.delete(chunks.keys().next().value);
  }
  return chunks.get(name)[position % chunkSize];
}
