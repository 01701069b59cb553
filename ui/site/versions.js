// Which versions the server has and how they are, looked at again and again while the page is seen.
import { Failure, ask, modelPath } from "./api.js";

const PAUSE_MILLISECONDS = 3000;
const PATIENCE_SECONDS = 5;
const WORDS = { START: "waiting to load", LOADING: "loading", AVAILABLE: "available", UNLOADING: "unloading", END: "unloaded" };

// `tell({ versions })`, newest first, or `tell({ failure })` after each look.
export class Watch {
  constructor(tell) {
    this.tell = tell;
    this.model = "";
    document.addEventListener("visibilitychange", () => this.look());
  }

  follow(model) {
    this.model = model;
    this.look();
  }

  async look() {
    this.current?.abort();
    clearTimeout(this.timer);
    if (document.hidden || !this.model) return;
    const current = (this.current = new AbortController());
    let seen;
    try {
      const { signal } = current;
      seen = { versions: read(await ask(modelPath({ model: this.model }), { signal, seconds: PATIENCE_SECONDS })) };
    } catch (error) {
      if (!(error instanceof Failure) && !current.signal.aborted) throw error;
      seen = { failure: error };
    }
    // A newer look has taken over.
    if (this.current !== current || current.signal.aborted) return;
    this.timer = setTimeout(() => this.look(), PAUSE_MILLISECONDS);
    this.tell(seen);
  }
}

function read(answer) {
  const found = answer?.model_version_status;
  if (!Array.isArray(found)) throw new Failure("The server's answer holds no versions: is it TensorFlow Serving?");
  return found
    .map(({ version, state, status }) => {
      const why = status?.error_message ?? "";
      const hasFailed = state === "END" && (status?.error_code ?? "OK") !== "OK";
      const word = hasFailed ? "failed" : (WORDS[state] ?? String(state).toLowerCase());
      return { version: String(version), state: word, why };
    })
    .sort((a, b) => b.version.length - a.version.length || (b.version > a.version ? 1 : -1));
}
