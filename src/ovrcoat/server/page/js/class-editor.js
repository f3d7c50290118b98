// The list of classes as chips, and the field that adds to it, with suggestions from the presets.

import { cleanName, hasName, parseClasses } from "./class-text.js";
import { byId, element } from "./dom.js";
import { watch } from "./store.js";
import { Suggestions } from "./suggestions.js";

const NO_COLOR = "#8a94a0";

export function setUpClassEditor(store, presets) {
  const input = byId("class-input");
  const suggestions = new Suggestions(input, byId("suggestions"), presets, (category) => {
    add(store, [ofCategory(category)]);
    input.value = "";
  });

  function addTyped() {
    add(store, parseClasses(input.value));
    input.value = "";
    suggestions.close();
    input.focus();
  }
  byId("add-class").addEventListener("click", addTyped);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !suggestions.choose()) addTyped();
  });

  byId("undo").addEventListener("click", () => store.undo());
  byId("redo").addEventListener("click", () => store.redo());
  byId("clear-classes").addEventListener("click", () => store.editClasses([]));
  document.addEventListener("keydown", (event) => undoByKey(store, event));

  const preset = byId("preset");
  presets.list().then((entries) => {
    preset.replaceChildren(
      ...entries.map(({ name, categories }) => element("option", { value: name }, `${name} (${categories})`)),
    );
  });
  byId("add-preset").addEventListener("click", async () => {
    add(store, (await presets.categories(preset.value)).map(ofCategory));
  });

  watch(store, ["classes", "answers"], () => showChips(store));
}

function add(store, classes) {
  const fresh = classes.filter(({ name }) => !hasName(store.classes, name));
  byId("class-note").textContent = repeatedNote(classes.filter((one) => !fresh.includes(one)));
  if (fresh.length) store.editClasses([...store.classes, ...fresh]);
}

function repeatedNote(repeated) {
  if (!repeated.length) return "";
  if (repeated.length === 1) return `“${repeated[0].name}” is already in the list.`;
  return `${repeated.length} classes are already in the list.`;
}

function ofCategory({ name, synonyms, is_thing }) {
  const names = [...new Set([name, ...synonyms].map(cleanName))];
  return { name: names[0], synonyms: names.slice(1), isThing: is_thing, color: null };
}

function undoByKey(store, event) {
  const isText = event.target.matches("input[type=text], input[type=password], input[type=number]");
  if (!(event.ctrlKey || event.metaKey) || (isText && event.target.value)) return;
  const key = event.key.toLowerCase();
  if (key === "z" && !event.shiftKey) store.undo();
  else if (key === "y" || (key === "z" && event.shiftKey)) store.redo();
  else return;
  event.preventDefault();
}

function showChips(store) {
  const list = byId("chips");
  const focused = document.activeElement?.dataset.focusKey;
  const resolved = new Map((store.answers.A?.categories ?? []).map((category) => [category.name, category]));
  list.replaceChildren(...store.classes.map((one, index) => chip(store, one, index, resolved.get(one.name))));
  byId("no-classes").hidden = store.classes.length > 0;
  byId("undo").disabled = !store.canUndo;
  byId("redo").disabled = !store.canRedo;
  byId("clear-classes").disabled = store.classes.length === 0;
  if (focused) list.querySelector(`[data-focus-key="${CSS.escape(focused)}"]`)?.focus();
}

/** Returns a chip: color, name, kind and a button that removes it. `category` is what the server made of it. */
function chip(store, one, index, category) {
  const change = (patch) => store.editClasses(store.classes.with(index, { ...one, ...patch }));
  const kind = one.isThing ?? category?.is_thing ?? true;
  const kindName = kind ? "thing" : "stuff";
  const color = element("input", {
    type: "color",
    value: one.color ?? (category ? toHex(category.color) : NO_COLOR),
    "aria-label": `Color of ${one.name}`,
    "data-focus-key": `color ${one.name}`,
  });
  color.addEventListener("change", () => change({ color: color.value }));
  const toggle = element(
    "button",
    {
      type: "button",
      className: one.isThing === null ? "kind found" : "kind",
      title: `${one.isThing === null ? "Found in the presets or assumed" : "Chosen"}; click to change`,
      "aria-label": `${one.name} is ${kindName}; change`,
      "data-focus-key": `kind ${one.name}`,
    },
    kindName,
  );
  toggle.addEventListener("click", () => change({ isThing: !kind }));
  const remove = element(
    "button",
    { type: "button", className: "remove", "aria-label": `Remove ${one.name}` },
    "×",
  );
  remove.addEventListener("click", () => {
    store.editClasses(store.classes.toSpliced(index, 1));
    (byId("chips").querySelectorAll(".remove")[index] ?? byId("class-input")).focus();
  });
  const synonyms = one.synonyms.length ? element("small", {}, `, ${one.synonyms.join(", ")}`) : null;
  return element(
    "li",
    { className: "chip", title: [one.name, ...one.synonyms].join(", ") },
    color,
    element("span", { className: "name" }, one.name, synonyms),
    toggle,
    remove,
  );
}

function toHex([red, green, blue]) {
  return `#${[red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("")}`;
}
