// The fields that say which model and version is asked, and the list of the versions' states.
import { element } from "./element.js";

const at = (id) => document.getElementById(id);
const BY_LABEL = "label";

export class Panel {
  // `changed(choice)` after each change by hand.
  constructor(models, choice, changed) {
    this.models = models;
    this.choice = choice;
    this.versions = [];
    const isListed = models.length > 0;
    at("model-field").hidden = !isListed;
    at("name-field").hidden = isListed;
    const names = choice.model && !models.includes(choice.model) ? [...models, choice.model] : models;
    at("model").replaceChildren(...names.map((name) => new Option(name, name)));
    at("model").value = choice.model;
    at("name").value = choice.model;
    at("label").value = choice.label;
    this.show(this.versions);
    const change = (next) => {
      this.choice = { ...this.choice, ...next };
      this.show(this.versions);
      changed(this.choice);
    };
    at("choice").addEventListener("submit", (event) => event.preventDefault());
    for (const id of ["model", "name"]) {
      at(id).addEventListener("change", () => {
        this.versions = [];
        this.isByLabel = false;
        at("label").value = "";
        change({ model: at(id).value.trim(), version: "", label: "" });
      });
    }
    at("version").addEventListener("change", () => {
      const picked = at("version").value;
      this.isByLabel = picked === BY_LABEL;
      at("label-field").hidden = !this.isByLabel;
      if (this.isByLabel) at("label").focus();
      // Until a label is written, the choice stays what it was.
      if (this.isByLabel && !at("label").value.trim()) return;
      change({ version: this.isByLabel ? "" : picked, label: this.isByLabel ? at("label").value.trim() : "" });
    });
    at("label").addEventListener("change", () => change({ version: "", label: at("label").value.trim() }));
    this.isByLabel = choice.label !== "";
  }

  get newest() {
    return this.versions.find(({ state }) => state === "available")?.version;
  }

  show(versions) {
    this.versions = versions;
    this.#showChoice();
    this.#showStates();
  }

  // What is wrong with the choice, as far as the server's versions tell.
  get complaint() {
    if (!this.newest) return "No version can answer.";
    if (!this.choice.version) return "";
    const picked = this.versions.find(({ version }) => version === this.choice.version);
    if (picked?.state === "available") return "";
    return `Version ${this.choice.version} is ${picked?.state ?? "not there"}. Pick another one.`;
  }

  #showChoice() {
    const { version, label } = this.choice;
    this.isByLabel ||= label !== "";
    const options = [["", this.newest ? `Newest available (${this.newest})` : "Newest available"]];
    for (const { version: number, state } of this.versions) {
      if (state === "available") options.push([number, `Version ${number}`]);
      else if (number === version) options.push([number, `Version ${number}: ${state}`]);
    }
    if (version && !options.some(([value]) => value === version)) {
      options.push([version, `Version ${version}${this.versions.length > 0 ? ": not there" : ""}`]);
    }
    options.push([BY_LABEL, "By label …"]);
    const select = at("version");
    // An open list would close where its options are replaced.
    const before = [...select.options].map((option) => [option.value, option.text]);
    if (JSON.stringify(before) !== JSON.stringify(options)) {
      select.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    }
    const value = this.isByLabel ? BY_LABEL : version;
    if (select.value !== value) select.value = value;
    at("label-field").hidden = !this.isByLabel;
  }

  #showStates() {
    const text = JSON.stringify(this.versions);
    if (this.shown === text) return;
    this.shown = text;
    at("states").replaceChildren(
      ...this.versions.map(({ version, state, why }) => {
        const words = [element("span", {}, `Version ${version}`), element("span", { class: "state" }, state)];
        if (why) words.push(element("p", { class: "why" }, why));
        return element("li", { "data-state": state }, ...words);
      }),
    );
  }
}
