// Autocompletion of class names, as an ARIA combobox with a list.

import { element } from "./dom.js";

const MOST = 8;

/** The vocabularies of the server, each requested once. */
export class Presets {
  #api;
  #list = null;
  #categories = new Map();

  constructor(api) {
    this.#api = api;
  }

  list() {
    this.#list ??= this.#api.vocabularies().then(({ vocabularies }) => vocabularies);
    return this.#list;
  }

  categories(name) {
    if (!this.#categories.has(name)) {
      this.#categories.set(name, this.#api.vocabulary(name).then(({ categories }) => categories));
    }
    return this.#categories.get(name);
  }

  /** Returns the categories of all presets; of equal names the first one. */
  async all() {
    const names = (await this.list()).map(({ name }) => name);
    const lists = await Promise.all(names.map((name) => this.categories(name)));
    const known = new Map();
    for (const category of lists.flat()) {
      if (!known.has(category.name)) known.set(category.name, category);
    }
    return [...known.values()];
  }
}

export class Suggestions {
  #input;
  #list;
  #presets;
  #onChoose;
  #shown = [];
  #active = -1;

  constructor(input, list, presets, onChoose) {
    this.#input = input;
    this.#list = list;
    this.#presets = presets;
    this.#onChoose = onChoose;
    input.addEventListener("input", () => this.#show());
    input.addEventListener("keydown", (event) => this.#move(event));
    input.addEventListener("blur", () => this.close());
    list.addEventListener("pointerdown", (event) => {
      event.preventDefault(); // keeps the focus in the field
      const option = event.target.closest("[role=option]");
      if (option) this.#choose(Number(option.dataset.index));
    });
  }

  /** Takes the marked suggestion; returns whether there is one. */
  choose() {
    if (this.#active < 0) return false;
    this.#choose(this.#active);
    return true;
  }

  close() {
    this.#shown = [];
    this.#render(-1);
  }

  #choose(index) {
    const category = this.#shown[index];
    this.close();
    this.#onChoose(category);
  }

  async #show() {
    const text = this.#input.value.trim().toLowerCase();
    if (text === "" || /[;,#]/.test(text)) return this.close();
    const categories = await this.#presets.all().catch(() => []);
    if (text !== this.#input.value.trim().toLowerCase()) return; // typed on meanwhile
    this.#shown = rank(categories, text).slice(0, MOST);
    this.#render(-1);
  }

  #move(event) {
    const count = this.#shown.length;
    if (event.key === "Escape") return this.close();
    if (!count || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
    event.preventDefault();
    const step = event.key === "ArrowDown" ? 1 : -1;
    const places = count + 1; // one more: the text itself, without a mark
    this.#render(((this.#active + 1 + step + places) % places) - 1);
  }

  #render(active) {
    this.#active = active;
    const isOpen = this.#shown.length > 0;
    this.#list.hidden = !isOpen;
    this.#input.setAttribute("aria-expanded", String(isOpen));
    this.#list.replaceChildren(
      ...this.#shown.map(({ name, synonyms, is_thing }, index) =>
        element(
          "li",
          {
            id: `suggestion-${index}`,
            role: "option",
            "aria-selected": String(index === active),
            "data-index": String(index),
          },
          name,
          element("small", {}, [is_thing ? "thing" : "stuff", ...synonyms.slice(0, 3)].join(", ")),
        ),
      ),
    );
    if (active >= 0) this.#input.setAttribute("aria-activedescendant", `suggestion-${active}`);
    else this.#input.removeAttribute("aria-activedescendant");
  }
}

/** Returns the categories that match a text: those that start with it first, then short names first. */
export function rank(categories, text) {
  const places = categories.map((category) => {
    const name = category.name.toLowerCase();
    if (name.startsWith(text)) return [0, category];
    if (name.includes(` ${text}`)) return [1, category];
    if (category.synonyms.some((synonym) => synonym.toLowerCase().startsWith(text))) return [2, category];
    return [name.includes(text) ? 3 : Infinity, category];
  });
  return places
    .filter(([place]) => place < Infinity)
    .sort(([a, one], [b, other]) => a - b || one.name.length - other.name.length || one.name.localeCompare(other.name))
    .map(([, category]) => category);
}
