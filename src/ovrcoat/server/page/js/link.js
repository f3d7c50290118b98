// The settings as the fragment of the address: it restores them, but holds no image.

import { defaultSettings } from "./store.js";
import { formatClasses, parseClasses } from "./class-text.js";

const FIELDS = {
  task: "task",
  background: "background",
  ownBackground: "own-background",
  objectMaskThreshold: "object-mask-threshold",
  overlapThreshold: "overlap-threshold",
  scoreThreshold: "score-threshold",
};
const NUMBERS = new Set(["objectMaskThreshold", "overlapThreshold", "scoreThreshold"]);
const TASKS = ["panoptic", "semantic", "instance"];
const BACKGROUNDS = ["auto", "on", "none", "own"];

/** Returns the fragment that describes a state, without "#". */
export function writeLink(store) {
  const parameters = new URLSearchParams();
  if (store.image?.example) parameters.set("example", store.image.example);
  if (store.classes.length) parameters.set("classes", formatClasses(store.classes));
  if (store.compare) parameters.set("compare", "1");
  writeSettings(parameters, store.settings.A, "");
  if (store.compare) writeSettings(parameters, store.settings.B, "b-");
  return parameters.toString();
}

/** Returns {classes, compare, settings, example, token}; what is missing or not valid has its default. */
export function readLink(fragment, { trust }) {
  const parameters = new URLSearchParams(fragment.replace(/^#/, ""));
  return {
    classes: parameters.has("classes") ? parseClasses(parameters.get("classes")) : null,
    compare: parameters.get("compare") === "1",
    settings: {
      A: readSettings(parameters, defaultSettings(trust), ""),
      B: readSettings(parameters, defaultSettings(0), "b-"),
    },
    example: parameters.get("example"),
    token: parameters.get("token"),
  };
}

function writeSettings(parameters, settings, prefix) {
  parameters.set(`${prefix}trust`, settings.adaptive ? "adaptive" : String(settings.trust));
  const defaults = defaultSettings();
  for (const [key, name] of Object.entries(FIELDS)) {
    if (settings[key] !== defaults[key]) parameters.set(prefix + name, settings[key]);
  }
}

function readSettings(parameters, settings, prefix) {
  const trust = parameters.get(`${prefix}trust`);
  if (trust === "adaptive") settings.adaptive = true;
  else if (isFraction(trust)) {
    settings.trust = Number(trust);
    settings.adaptive = false;
  }
  for (const [key, name] of Object.entries(FIELDS)) {
    const value = parameters.get(prefix + name);
    if (value === null) continue;
    if (NUMBERS.has(key)) settings[key] = isFraction(value) ? Number(value) : null;
    else settings[key] = value;
  }
  if (!TASKS.includes(settings.task)) settings.task = "panoptic";
  if (!BACKGROUNDS.includes(settings.background)) settings.background = "auto";
  return settings;
}

function isFraction(text) {
  return text !== null && text.trim() !== "" && Number(text) >= 0 && Number(text) <= 1;
}
