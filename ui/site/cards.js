// All pictures of the page, asked a few at a time.
import { Card } from "./card.js";
import { say } from "./element.js";

const AT_ONCE = 3;
const MOST = 50;

export class Cards {
  // `current()`: { choice, newest } that questions go to.
  constructor(current) {
    this.current = current;
    this.cards = [];
    this.running = 0;
    this.waiting = [];
    document.getElementById("clear").addEventListener("click", () => {
      for (const card of [...this.cards]) this.#remove(card);
      document.getElementById("files").focus();
    });
  }

  // The newest pictures stand first, in the order they came in.
  add(files) {
    const room = MOST - this.cards.length;
    const left = files.length - room;
    const words = left > 0 ? `The page holds ${MOST} pictures at most; ${left} left out. Remove some first.` : "";
    say(document.getElementById("notice"), words);
    const tools = {
      turn: (signal, work) => this.#turn(signal, work),
      tell: (text) => say(document.getElementById("said"), text),
      current: this.current,
      remove: (card) => this.#removeAndMoveOn(card),
    };
    const added = files.slice(0, Math.max(0, room)).map((file) => new Card(file, tools));
    this.cards.unshift(...added);
    document.getElementById("cards").prepend(...added.map((card) => card.item));
    this.#lay();
    for (const card of added) card.ask();
  }

  // Asks again about all pictures, or those that `which` picks.
  ask(which = () => true) {
    for (const card of this.cards.filter(which)) card.ask();
  }

  async #turn(signal, work) {
    if (this.running >= AT_ONCE) await new Promise((go) => this.waiting.push(go));
    else this.running++;
    try {
      signal.throwIfAborted();
      return await work();
    } finally {
      // The turn goes to the next in line; without one it is given back.
      const next = this.waiting.shift();
      if (next) next();
      else this.running--;
    }
  }

  #removeAndMoveOn(card) {
    const place = this.cards.indexOf(card);
    this.#remove(card);
    // Whoever uses the keyboard stays where the picture was.
    const next = this.cards[Math.min(place, this.cards.length - 1)]?.item.querySelector(".actions button:last-child");
    (next ?? document.getElementById("files")).focus();
  }

  #remove(card) {
    card.close();
    this.cards.splice(this.cards.indexOf(card), 1);
    this.#lay();
  }

  #lay() {
    document.getElementById("results").hidden = this.cards.length === 0;
    document.getElementById("drop").classList.toggle("small", this.cards.length > 0);
  }
}
