// The settings of each side, and of the display.

import { byId, element } from "./dom.js";
import { SIDES, watch } from "./store.js";

const TASKS = { panoptic: "Panoptic: things and stuff", semantic: "Semantic: classes", instance: "Instances: things" };
const BACKGROUNDS = {
  auto: "Automatic",
  on: "Always",
  none: "None",
  own: "Own names…",
};
const THRESHOLDS = [
  ["objectMaskThreshold", "Object mask threshold", "panoptic"],
  ["overlapThreshold", "Overlap threshold", "panoptic"],
  ["scoreThreshold", "Score threshold", "instance"],
];

export function setUpControls(store) {
  byId("settings").replaceChildren(...SIDES.map((side) => sideForm(store, side)));
  const opacity = byId("opacity");
  opacity.addEventListener("input", () => store.updateDisplay({ opacity: Number(opacity.value) }));
  for (const name of ["outlines", "names"]) {
    byId(name).addEventListener("change", (event) => store.updateDisplay({ [name]: event.target.checked }));
  }
  const compare = byId("compare");
  compare.addEventListener("change", () => store.update({ compare: compare.checked }));
  watch(store, ["display", "compare"], () => {
    opacity.value = store.display.opacity;
    byId("outlines").checked = store.display.outlines;
    byId("names").checked = store.display.names;
    compare.checked = store.compare;
    document.body.classList.toggle("comparing", store.compare);
  });
}

/** Returns the slider of COAT's trust. It acts while it is dragged. */
export function trustControl(store, side) {
  const set = (patch) => store.updateSettings(side, patch);
  const value = element("output", { for: `trust-${side}` });
  const trust = element("input", {
    type: "range", min: 0, max: 1, step: 0.01, id: `trust-${side}`, "aria-describedby": `trust-help-${side}`,
  });
  trust.addEventListener("input", () => set({ trust: Number(trust.value), adaptive: false }));
  const adaptive = checkbox(`adaptive-${side}`, (checked) => set({ adaptive: checked }));
  watch(store, ["settings"], () => {
    const settings = store.settings[side];
    trust.value = settings.trust;
    trust.classList.toggle("unused", settings.adaptive);
    value.textContent = settings.adaptive ? "adaptive" : settings.trust.toFixed(2);
    adaptive.checked = settings.adaptive;
  });
  return element("div", { className: "trust" },
    element("label", { for: `trust-${side}` }, "COAT trust γ"), trust, value,
    element("label", { className: "check", title: "Another γ for each mask" }, adaptive, " Adaptive"),
    element("p", { className: "small", id: `trust-help-${side}` },
      "0 is plain FC-CLIP. Higher values keep more masks that CLIP is sure about; gold outlines mark rescued ones."));
}

function sideForm(store, side) {
  const set = (patch) => store.updateSettings(side, patch);
  const task = select(`task-${side}`, TASKS, (chosen) => set({ task: chosen }));
  const background = select(`background-${side}`, BACKGROUNDS, (chosen) => set({ background: chosen }));
  const own = element("input", {
    type: "text", id: `own-${side}`, placeholder: "tree; grass; road", "aria-label": "Names of background classes",
  });
  own.addEventListener("change", () => set({ ownBackground: own.value }));
  const thresholds = THRESHOLDS.map(([key, label, of]) => threshold(side, key, label, of, set));

  const title = element("legend", {});
  const form = element(
    "fieldset",
    { id: `side-${side}` },
    title,
    element("label", { className: "field" }, element("span", {}, "Task"), task),
    element("label", { className: "field" }, element("span", {}, "Background classes"), background),
    own,
    element("details", {}, element("summary", {}, "Thresholds"), ...thresholds.map(({ label }) => label)),
  );

  watch(store, ["settings", "compare"], () => {
    const settings = store.settings[side];
    title.textContent = store.compare ? `Result ${side}` : "Result";
    form.hidden = side !== "A" && !store.compare;
    task.value = settings.task;
    background.value = settings.background;
    own.hidden = settings.background !== "own";
    if (document.activeElement !== own) own.value = settings.ownBackground;
    for (const { key, of, input, label } of thresholds) {
      label.hidden = of !== settings.task;
      if (document.activeElement !== input) input.value = settings[key] ?? "";
    }
  });
  return form;
}

function threshold(side, key, name, of, set) {
  const input = element("input", {
    type: "number", min: 0, max: 1, step: "any", id: `${key}-${side}`, placeholder: "model's own",
  });
  input.addEventListener("change", () => {
    if (input.checkValidity()) set({ [key]: input.value === "" ? null : Number(input.value) });
    else input.reportValidity();
  });
  return { key, of, input, label: element("label", { className: "field" }, element("span", {}, name), input) };
}

function select(id, options, onChange) {
  const made = element("select", { id }, ...Object.entries(options).map(
    ([value, text]) => element("option", { value }, text)));
  made.addEventListener("change", () => onChange(made.value));
  return made;
}

function checkbox(id, onChange) {
  const made = element("input", { type: "checkbox", id });
  made.addEventListener("change", () => onChange(made.checked));
  return made;
}
