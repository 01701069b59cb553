// Puts the page together: fields, pictures, and a watch over the server.
import { listModels } from "./api.js";
import { Cards } from "./cards.js";
import { keepChoice, readChoice } from "./choice.js";
import { say } from "./element.js";
import { takeIn } from "./intake.js";
import { Panel } from "./panel.js";
import { Watch } from "./versions.js";

const trouble = document.getElementById("trouble");
const heard = document.getElementById("heard");
const models = await listModels();
const first = readChoice();
if (!first.model && models.length > 0) first.model = models[0];

let wasAway = false;
const cards = new Cards(() => ({ choice: panel.choice, newest: panel.newest }));
const panel = new Panel(models, first, (choice) => {
  keepChoice(choice);
  if (choice.model !== watch.model) begin(choice.model);
  if (choice.model) cards.ask();
});
const watch = new Watch(({ versions, failure }) => {
  if (failure) {
    tellOf(failure);
    return;
  }
  panel.show(versions);
  const count = versions.filter(({ state }) => state === "available").length;
  const words = count === 1 ? "1 version is available." : `${count} versions are available.`;
  say(heard, count > 0 ? words : "Looking again every 3 seconds.");
  say(trouble, panel.complaint);
  // What could not be asked while the server was away can be asked now.
  if (wasAway && count > 0) {
    wasAway = false;
    cards.ask((card) => card.failure?.away);
  }
});

function begin(model) {
  say(trouble, "");
  say(heard, model ? "Asking the server …" : "Name a model to begin.");
  watch.follow(model);
}

function tellOf(failure) {
  wasAway ||= failure.away;
  say(heard, "Looking again every 3 seconds.");
  if (failure.unknown) {
    panel.show([]);
    say(trouble, `The server has no model called ${panel.choice.model}. It says: ${failure.message}`);
  } else {
    if (failure.away) panel.show([]);
    say(trouble, failure.message);
  }
}

takeIn((files) => {
  if (panel.choice.model) cards.add(files);
  else say(document.getElementById("notice"), "Name the model first, then show it a picture.");
});
begin(first.model);
