// One picture with what the model says about it.
import { bars, readAnswers, scoreInWords } from "./answers.js";
import { Failure, ask, modelPath } from "./api.js";
import { inWords } from "./choice.js";
import { element } from "./element.js";
import { prepare, questionOf, sizeInWords } from "./picture.js";

const PATIENCE_SECONDS = 70;
const TINY_SIDE = 64;

export class Card {
  // `turn(signal, work)` runs work when it is its turn; `tell(words)` is for those who do not see the page.
  // `current()` is the choice of now.
  constructor(file, { turn, tell, current, remove }) {
    Object.assign(this, { file, turn, tell, current, failure: null });
    this.name = file.name || "pasted picture";
    this.url = URL.createObjectURL(file);
    this.answer = element("div", { class: "answer" });
    const again = element("button", { type: "button", class: "plain", "aria-label": `Ask again: ${this.name}` }, "Ask again");
    const away = element("button", { type: "button", class: "plain", "aria-label": `Remove: ${this.name}` }, "Remove");
    again.addEventListener("click", () => this.ask());
    away.addEventListener("click", () => remove(this));
    const about = `${this.name}, ${sizeInWords(file.size)}`;
    const side = element("div", {}, this.#frame(), element("p", { class: "file" }, about));
    const actions = element("div", { class: "actions" }, again, away);
    this.item = element("li", { class: "card" }, side, element("div", {}, this.answer, actions));
  }

  #frame() {
    const image = element("img", { src: this.url, alt: this.name });
    const frame = element("div", { class: "frame" }, image);
    image.addEventListener("load", () => image.classList.toggle("tiny", image.naturalWidth < TINY_SIDE));
    image.addEventListener("error", () => frame.replaceChildren("cannot be shown"));
    return frame;
  }

  // Later questions overtake earlier ones: an answer to those is not shown any more.
  async ask() {
    const { choice, newest } = this.current();
    this.stop();
    const run = (this.run = new AbortController());
    this.failure = null;
    this.item.setAttribute("aria-busy", "true");
    this.answer.replaceChildren(element("p", { class: "waiting" }, "Asking the model …"));
    let shown, words;
    try {
      const { answers, note, milliseconds } = await this.turn(run.signal, () => this.#answer(choice, run.signal));
      const about = `Answered in ${Math.round(milliseconds)} ms by ${choice.model}, ${inWords(choice, newest)}.`;
      const parts = note ? [about, element("br"), note] : [about];
      shown = [...bars(answers), element("p", { class: "about" }, ...parts)];
      words = `${answers[0].label}, ${scoreInWords(answers[0].score)}`;
    } catch (error) {
      if (run.signal.aborted) return;
      if (!(error instanceof Failure)) throw error;
      this.failure = error;
      words = error.message;
      shown = [element("p", { class: "trouble" }, error.message)];
      shown.push(element("p", { class: "about" }, `Asked: ${choice.model}, ${inWords(choice, newest)}.`));
    }
    if (this.run !== run || run.signal.aborted) return;
    this.item.removeAttribute("aria-busy");
    this.answer.replaceChildren(...shown);
    this.tell(`${this.name}: ${words}`);
  }

  async #answer(choice, signal) {
    this.prepared ??= await prepare(this.file);
    const body = await questionOf(this.prepared.blob);
    const start = performance.now();
    const answer = await ask(`${modelPath(choice)}:predict`, { body, signal, seconds: PATIENCE_SECONDS });
    const milliseconds = performance.now() - start;
    return { answers: readAnswers(answer), note: this.prepared.note, milliseconds };
  }

  stop() {
    this.run?.abort();
  }

  close() {
    this.stop();
    URL.revokeObjectURL(this.url);
    this.item.remove();
  }
}
