// The state of the page. Whoever changes it calls `update`; whoever shows it listens to "change".

export const SIDES = ["A", "B"];

export function defaultSettings(trust = 0.5) {
  return {
    task: "panoptic",
    trust: trust === "adaptive" ? 0.5 : trust, // 0 to 1
    adaptive: trust === "adaptive", // COAT chooses the trust of each mask
    background: "auto", // auto, on, none, or own
    ownBackground: "",
    objectMaskThreshold: null, // null: the model's own value
    overlapThreshold: null,
    scoreThreshold: null,
  };
}

export class Store extends EventTarget {
  image = null; // see picture.js
  model = null; // {name, version}: of the server, null if unknown
  classes = []; // {name, synonyms, isThing: true, false or null (looked up by the server), color: "#rrggbb" or null}
  compare = false;
  settings = { A: defaultSettings(), B: defaultSettings(0) };
  display = { opacity: 0.5, outlines: true, names: true };
  hidden = new Set(); // names of the categories that are not drawn
  pinned = null; // {side, id}: a segment
  hovered = null; // {x, y, side, pointer}: a pixel of the image, the view, and the place on the screen or null
  answers = { A: null, B: null }; // see results.js
  #undo = [];
  #redo = [];

  update(patch) {
    Object.assign(this, patch);
    this.#changed(...Object.keys(patch));
  }

  updateSettings(side, patch) {
    this.settings = { ...this.settings, [side]: { ...this.settings[side], ...patch } };
    this.#changed("settings");
  }

  updateDisplay(patch) {
    this.display = { ...this.display, ...patch };
    this.#changed("display");
  }

  setAnswer(side, answer) {
    this.answers = { ...this.answers, [side]: answer };
    if (this.pinned?.side === side) this.pinned = null; // ids differ between results
    this.#changed("answers");
  }

  toggleCategory(name) {
    this.hidden = new Set(this.hidden);
    if (!this.hidden.delete(name)) this.hidden.add(name);
    this.#changed("hidden");
  }

  editClasses(classes) {
    this.#undo.push(this.classes);
    this.#redo = [];
    this.update({ classes });
  }

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  undo() {
    this.#step(this.#undo, this.#redo);
  }

  redo() {
    this.#step(this.#redo, this.#undo);
  }

  activeSides() {
    return this.compare ? SIDES : ["A"];
  }

  #step(from, to) {
    if (!from.length) return;
    to.push(this.classes);
    this.update({ classes: from.pop() });
  }

  #changed(...keys) {
    this.dispatchEvent(new CustomEvent("change", { detail: new Set(keys) }));
  }
}

/** Calls `show` now, and whenever one of the keys of the state has changed. */
export function watch(store, keys, show) {
  store.addEventListener("change", (event) => {
    if (keys.some((key) => event.detail.has(key))) show();
  });
  show();
}
