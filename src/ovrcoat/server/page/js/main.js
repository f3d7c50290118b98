// Puts the parts of the page together.

import { drawnSegments } from "./answers.js";
import { Api, keepToken } from "./api.js";
import { setUpClassEditor } from "./class-editor.js";
import { parseClasses } from "./class-text.js";
import { setUpControls } from "./controls.js";
import { setUpDetails, setUpTooltip } from "./details.js";
import { byId } from "./dom.js";
import { readLink, writeLink } from "./link.js";
import { EXAMPLES, exampleFile, setUpPicker } from "./picker.js";
import { Picture } from "./picture.js";
import { Results } from "./results.js";
import { SIDES, Store, watch } from "./store.js";
import { Presets } from "./suggestions.js";
import { setUpTheme } from "./theme.js";
import { View } from "./view.js";
import { Viewport } from "./viewport.js";

const BUSY_DELAY = 300; // ms: shorter waits show nothing, so that the picture does not flicker while a slider moves

const store = new Store();
const api = new Api({ askToken, onBusy: (seconds) => showBusy(`The server is busy. Trying again in ${seconds} s.`) });
const results = new Results(store, report);
const viewport = new Viewport();
let busyTimer = null;

async function start() {
  setUpTheme();
  const fragment = location.hash;
  const { token } = readLink(fragment, { trust: 0.5 });
  if (token) {
    keepToken(token);
    history.replaceState(null, "", location.pathname); // a token must not stay in the address
  }
  let trust = 0.5;
  try {
    const [[name, { params, display_name }]] = Object.entries((await api.models()).data);
    const kind = name === "nano" ? " (demonstration model)" : "";
    byId("model").textContent = `model ${name}${kind} on ${params.device}`;
    document.title = display_name;
    store.update({ model: { name, version: params.version } });
    trust = params.trust; // a number, or "adaptive"
  } catch (error) {
    showError(error);
  }
  const link = readLink(fragment, { trust });
  store.update({ classes: link.classes ?? [], compare: link.compare, settings: link.settings });
  setUpParts();
  const example = EXAMPLES.find(({ name }) => name === link.example);
  if (example) await open(await exampleFile(example), example);
  else if (store.classes.length) sayRestored(store.classes.length);
  document.body.dataset.ready = "true";
}

function setUpParts() {
  setUpControls(store);
  setUpClassEditor(store, new Presets(api));
  setUpPicker(open);
  setUpTooltip(store);
  const onClick = setUpDetails(store);
  byId("views").append(...SIDES.map((side) => new View(store, viewport, side, onClick).root));
  byId("zoom-in").addEventListener("click", () => viewport.zoomIn());
  byId("zoom-out").addEventListener("click", () => viewport.zoomOut());
  byId("zoom-fit").addEventListener("click", () => viewport.fit());
  byId("copy-link").addEventListener("click", copyLink);
  watch(store, ["image", "classes", "settings", "compare"], () => {
    results.refresh();
    if (store.image || store.classes.length) history.replaceState(null, "", `#${writeLink(store)}`);
  });
  watch(store, ["image"], () => document.body.classList.toggle("empty", !store.image));
}

async function open(file, example) {
  say("Reading the image…");
  showError(null);
  const picture = await Picture.open(api, file, example?.name ?? null);
  say("Encoding the image…");
  try {
    await picture.upload();
  } catch (error) {
    report({ error });
    return;
  }
  viewport.fit();
  if (example && !store.classes.length) store.editClasses(parseClasses(example.classes));
  store.update({ image: picture, answers: { A: null, B: null }, pinned: null, hovered: null });
}

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    say(store.image && !store.image.example
      ? "Link copied. It restores the settings; the image is not in it."
      : "Link copied. It restores the settings.");
  } catch {
    say("The address of this page is the link. Copy it from the address bar; the image is not in it.");
  }
}

function report({ busy = false, error = null }) {
  showError(error);
  if (error) say("");
  if (busy) {
    busyTimer ??= setTimeout(() => {
      const count = store.classes.length;
      showBusy(`Segmenting with ${count} ${count === 1 ? "class" : "classes"} …`);
    }, BUSY_DELAY);
    return;
  }
  clearTimeout(busyTimer);
  busyTimer = null;
  setBusy(false);
  if (!error) sayResult();
}

function showBusy(text) {
  clearTimeout(busyTimer); // it stays not null, so that no later report replaces the text before the answer
  setBusy(busyTimer !== null); // null: uploads and reasons compute no new picture
  say(text);
}

function setBusy(isBusy) {
  document.body.classList.toggle("busy", isBusy);
  byId("stage").setAttribute("aria-busy", String(isBusy));
}

function sayResult() {
  const answer = store.answers.A;
  if (!store.image) return say("");
  if (!store.classes.length) return say("Add class names to see segments.");
  if (!answer) return;
  const count = drawnSegments(answer).length;
  const found = count
    ? `${count} segment${count > 1 ? "s" : ""} in ${answer.seconds.toFixed(2)} s`
    : "No segments; click the image to see why";
  say([found, ...answer.issues.map(({ message }) => message)].join(". "));
}

function sayRestored(count) {
  const text = `Link restored ${count} ${count === 1 ? "class" : "classes"}; add an image.`;
  byId("views").dataset.placeholder = text;
  say(text);
}

function say(text) {
  byId("status").textContent = text;
}

function showError(error) {
  const box = byId("error");
  box.hidden = !error;
  box.textContent = error?.message ?? "";
}

function askToken() {
  const dialog = byId("token-dialog");
  const field = byId("token");
  field.value = "";
  if (!dialog.open) dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener("close", () => resolve(field.value), { once: true }));
}

start();
