// What is known about a segment: beside the pointer, and below the image if it is pinned. Also: reasons.

import { classColor, segmentAt } from "./answers.js";
import { byId, cssColor, element, percent } from "./dom.js";
import { requestOf } from "./results.js";
import { watch } from "./store.js";

const MOST_MASKS = 6;

export function setUpTooltip(store) {
  const tooltip = byId("tooltip");
  watch(store, ["hovered", "answers"], () => {
    const { hovered } = store;
    const answer = hovered ? store.answers[hovered.side] : null;
    const isShown = Boolean(answer && hovered.pointer);
    tooltip.hidden = !isShown;
    if (!isShown) return;
    const sides = store.activeSides().filter((side) => store.answers[side]);
    tooltip.replaceChildren(...sides.map((side) => {
      const segment = segmentAt(store.answers[side], hovered);
      const head = sides.length > 1 ? element("b", { className: "side" }, side) : null;
      return element("div", {}, head, segment ? facts(store, segment) : element("p", {}, "void: click to see why"));
    }));
    const { innerWidth, innerHeight } = window;
    const { offsetWidth, offsetHeight } = tooltip;
    const { x, y } = hovered.pointer;
    tooltip.style.left = `${x + 16 + offsetWidth > innerWidth ? Math.max(4, x - offsetWidth - 16) : x + 16}px`;
    tooltip.style.top = `${Math.max(4, Math.min(y + 16, innerHeight - offsetHeight - 4))}px`;
  });
}

/** Returns the function that reacts to a click into a view. */
export function setUpDetails(store) {
  const root = byId("details");
  let latest = 0;

  function show(...children) {
    const close = element("button", { type: "button", className: "quiet close", "aria-label": "Close" }, "×");
    close.addEventListener("click", () => {
      root.hidden = true;
      store.update({ pinned: null });
    });
    root.replaceChildren(close, ...children);
    root.hidden = false;
    // below a tall image, or on a small screen, the answer to a click would be out of sight
    const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
    root.scrollIntoView({ block: "nearest", behavior: isStill ? "auto" : "smooth" });
  }

  async function explain(side, point, before = []) {
    const settings = store.settings[side];
    const title = element("h3", {}, `Why? Pixel ${point.x}, ${point.y}${store.compare ? ` in ${side}` : ""}`);
    if (settings.task !== "panoptic") {
      show(...before, title, element("p", {}, "Reasons exist for the panoptic task only. Change the task to see them."));
      return;
    }
    const request = ++latest;
    show(...before, title, element("p", {}, "Looking for the reasons…"));
    try {
      const body = { ...requestOf(store.classes, settings), masks: "none", point: [point.x, point.y] };
      const { point: found } = await store.image.explain(body);
      if (request === latest) show(...before, title, ...reasons(found));
    } catch (error) {
      if (request === latest) show(...before, title, element("p", { className: "error" }, error.message));
    }
  }

  watch(store, ["image", "classes", "settings"], () => {
    latest++; // what is shown, or on its way, is about another result
    root.hidden = true;
  });

  return (side, point) => {
    const answer = store.answers[side];
    if (!answer) return;
    const segment = segmentAt(answer, point);
    store.update({ pinned: segment && { side, id: segment.id } });
    if (!segment) {
      explain(side, point);
      return;
    }
    const card = element("div", { className: "pinned" }, facts(store, segment));
    const why = element("button", { type: "button" }, "Why is this here?");
    why.addEventListener("click", () => explain(side, point, [card]));
    latest++;
    show(card, why);
  };
}

function facts(store, segment) {
  const swatch = element("span", { className: "swatch" });
  swatch.style.background = cssColor(classColor(store, segment));
  const [before, after] = [segment.objectness_before, segment.objectness].map((value) => value.toFixed(2));
  return element("div", { className: "facts" },
    element("p", { className: "title" }, swatch, element("b", {}, segment.category), ` ${segment.is_thing ? "thing" : "stuff"}`,
      segment.rescued ? element("span", { className: "rescued" }, "★ rescued by COAT") : null),
    element("dl", {},
      element("dt", {}, "Score"), element("dd", {}, segment.score.toFixed(2)),
      element("dt", {}, "Objectness"), element("dd", {}, `${before} → ${after}`),
      element("dt", {}, "CLIP confidence"), element("dd", {}, segment.clip_confidence.toFixed(2))),
    element("ol", { className: "ranking" }, ...segment.top.map(({ category, score }) => bar(category, score))));
}

function bar(name, share) {
  const fill = element("span", { className: "fill" });
  fill.style.width = `${100 * share}%`;
  return element("li", {}, element("span", { className: "name" }, name), element("span", { className: "bar" }, fill), percent(share));
}

function reasons(found) {
  const masks = found.masks.slice(0, MOST_MASKS);
  const more = found.masks.length - masks.length;
  return [
    element("p", { className: "summary" }, capital(found.summary), "."),
    element("ul", { className: "reasons" }, ...masks.map((mask) => element("li", {},
      element("b", {}, mask.category ?? "no category"), ` ${mask.score.toFixed(2)}: ${mask.reason}.`))),
    ...(more > 0 ? [element("p", { className: "small" }, `And ${more} more with lower scores.`)] : []),
  ];
}

function capital(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
