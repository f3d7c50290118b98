// The legend of a view: one row per category, with a switch for its visibility.

import { categoriesOf, classColor } from "./answers.js";
import { cleanName } from "./class-text.js";
import { cssColor, element, percent } from "./dom.js";
import { watch } from "./store.js";

const MIN_BACKGROUND = 0.05; // share of the image: less needs no advice if there are segments, as in the command line

export class Legend {
  #store;
  #side;
  #onHighlight;

  constructor(store, side, onHighlight) {
    this.#store = store;
    this.#side = side;
    this.#onHighlight = onHighlight;
    this.root = element("ul", { className: "legend", "aria-label": `Legend ${side}: categories that are shown` });
    watch(store, ["answers", "hidden", "classes"], () => this.#show());
  }

  #show() {
    const answer = this.#store.answers[this.#side];
    const focused = this.root.contains(document.activeElement) ? document.activeElement.dataset.name : null;
    this.root.replaceChildren(...(answer ? this.#rows(answer) : []));
    if (focused !== null) this.root.querySelector(`[data-name="${CSS.escape(focused)}"]`)?.focus();
  }

  #rows(answer) {
    const pixels = answer.width * answer.height;
    const rows = categoriesOf(answer).map((group) => this.#row(group, pixels));
    const total = answer.background.reduce((sum, { share }) => sum + share, 0);
    const isAdvised = total >= MIN_BACKGROUND || (total > 0 && !rows.length);
    for (const { name, share } of answer.background) {
      if (share < 0.005) continue;
      rows.push(element("li", { className: "void" }, element("span", {}, `${name} (background class)`),
        element("small", {}, percent(share)), isAdvised ? this.#addButton(name) : null));
    }
    if (isAdvised) rows.push(element("li", {}, this.#offButton()));
    return rows;
  }

  #addButton(name) {
    const button = element("button",
      { type: "button", className: "quiet", "data-name": name, "aria-label": `Add as class: ${name}` },
      "Add as class");
    button.addEventListener("click", () => {
      const added = { name: cleanName(name), synonyms: [], isThing: null, color: null };
      this.#store.editClasses([...this.#store.classes, added]);
    });
    return button;
  }

  #offButton() {
    const button = element("button", { type: "button", className: "quiet" }, "Turn background classes off");
    button.addEventListener("click", () => this.#store.updateSettings(this.#side, { background: "none" }));
    return button;
  }

  #row({ name, area, drawn, notDrawn }, pixels) {
    const rest = notDrawn ? notDrawnNote(notDrawn, drawn.length) : null;
    if (!drawn.length) return element("li", { className: "void" }, element("span", {}, name), rest);
    const box = element("input", {
      type: "checkbox", role: "switch", checked: !this.#store.hidden.has(name), "data-name": name,
    });
    box.addEventListener("change", () => this.#store.toggleCategory(name));
    const swatch = element("span", { className: "swatch" });
    swatch.style.background = cssColor(classColor(this.#store, drawn[0]));
    const rescued = drawn.filter((segment) => segment.rescued).length;
    const row = element("li", {}, element("label", {}, box, swatch,
      element("span", { className: "name" }, name, drawn.length > 1 ? ` × ${drawn.length}` : ""),
      rescued ? element("span", { className: "rescued" }, rescued > 1 ? `★ ${rescued} rescued` : "★ rescued") : null,
      element("small", {}, percent(area / pixels)), rest));
    row.addEventListener("pointerenter", () => this.#onHighlight(drawn[0].id));
    row.addEventListener("pointerleave", () => this.#onHighlight(0));
    return row;
  }
}

function notDrawnNote(count, drawn) {
  const title = "Instances with scores below 0.3, and duplicates of better ones. A score threshold in Thresholds replaces 0.3.";
  return element("small", { className: "not-drawn", title }, `${drawn ? "+" : ""}${count} not drawn`);
}
