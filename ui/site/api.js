// TensorFlow Serving's REST API, with every failure in words.

// `away`: the server could not be asked, so the same question may be answered later.
export class Failure extends Error {
  constructor(message, { away = false, unknown = false } = {}) {
    super(message);
    this.away = away;
    this.unknown = unknown;
  }
}

const LONGEST_MESSAGE = 600;
// Where in its graph TensorFlow has stumbled, which tells people nothing: [[{{node decode}}]].
const PLACE_IN_GRAPH = /\s*\[\[\{\{.*/s;
const UNREACHABLE = new Set([502, 503, 504]);

// The JSON at `path`; with a `body`, what a POST of it answers. An aborted `signal` rejects with an AbortError.
export async function ask(path, { body, signal, seconds }) {
  const limit = new AbortController();
  const stop = () => limit.abort();
  signal?.addEventListener("abort", stop);
  const timer = setTimeout(stop, seconds * 1000);
  try {
    const headers = body === undefined ? {} : { "Content-Type": "application/json" };
    const method = body === undefined ? "GET" : "POST";
    const response = await fetch(path, { method, headers, body, signal: limit.signal, cache: "no-store" });
    return read(response, await response.text());
  } catch (error) {
    if (error instanceof Failure || signal?.aborted) throw error;
    if (limit.signal.aborted) throw new Failure(`There was no answer within ${seconds} seconds.`, { away: true });
    throw new Failure("The web server of this page cannot be reached.", { away: true });
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener("abort", stop);
  }
}

function read(response, text) {
  let answer;
  try {
    answer = JSON.parse(text);
  } catch {
    if (response.ok) throw new Failure("The server's answer is not valid JSON.");
  }
  if (response.ok) return answer;
  const words = typeof answer?.error === "string" ? answer.error : `The server answered with status ${response.status}.`;
  const away = UNREACHABLE.has(response.status);
  throw new Failure(words.replace(PLACE_IN_GRAPH, "").trim().slice(0, LONGEST_MESSAGE), { away, unknown: response.status === 404 });
}

export function modelPath({ model, version, label }) {
  const path = `v1/models/${encodeURIComponent(model)}`;
  if (version) return `${path}/versions/${version}`;
  return label ? `${path}/labels/${encodeURIComponent(label)}` : path;
}

// The names that the page's server lists; none where there is no list.
export async function listModels() {
  try {
    const { models } = await ask("models.json", { seconds: 5 });
    return models.filter((name) => typeof name === "string" && name);
  } catch {
    return [];
  }
}
