// Files of a result: id map, JSON and overlay.

import { element } from "./dom.js";
import { pngBlob } from "./id-map.js";
import { requestOf } from "./results.js";
import { watch } from "./store.js";

/** Returns the buttons of a view. `paint` returns the canvas that becomes the overlay. */
export function downloadButtons(store, side, paint) {
  const name = (ending) => `${store.image.stem}${store.compare ? `.${side}` : ""}${ending}`;
  const answer = () => store.answers[side];
  const files = [
    ["PNG", "id map, COCO panoptic", async () => save(pngBlob(answer().id_map), name(".png"))],
    ["JSON", "segments and settings", async () => save(jsonBlob(store, side), name(".json"))],
    ["Overlay", "picture with segments", async () => save(await toBlob(paint()), name(".overlay.png"))],
  ];
  const buttons = files.map(([label, title, onClick]) => {
    const button = element("button", { type: "button", title, "aria-label": `Download ${label} of ${side}: ${title}` }, label);
    button.addEventListener("click", onClick);
    return button;
  });
  watch(store, ["answers"], () => {
    for (const button of buttons) button.disabled = !answer();
  });
  return element("div", { className: "downloads", role: "group", "aria-label": "Download" }, element("span", { className: "small" }, "Download"), ...buttons);
}

function jsonBlob(store, side) {
  const { map, id_map, ...document } = store.answers[side]; // the map is in the PNG
  const request = requestOf(store.classes, store.settings[side]);
  const whole = { image: store.image.file.name || null, model: store.model, request, ...document };
  return new Blob([JSON.stringify(whole, null, 1)], { type: "application/json" });
}

function toBlob(canvas) {
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = element("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser may read it only after the click
}
