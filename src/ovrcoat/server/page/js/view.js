// One view: the image with its segments on a canvas, pointer and keyboard, legend and downloads.

import { classColor, segmentAt, summaryOf } from "./answers.js";
import { trustControl } from "./controls.js";
import { element } from "./dom.js";
import { downloadButtons } from "./download.js";
import { labelPlaces } from "./id-map.js";
import { drawCursor, drawNames } from "./labels.js";
import { Legend } from "./legend.js";
import { paintSegments } from "./painter.js";
import { watch } from "./store.js";

const CLICK_DISTANCE = 4; // CSS pixels: farther is a drag
const KEY_STEP = 0.02; // of the longer side

export class View {
  #store;
  #viewport;
  #side;
  #onClick;
  #overlay = document.createElement("canvas"); // the segments, at the size of the image
  #places = { answer: null, places: new Map() };
  #isRequested = false;
  #needsPaint = false;
  #highlighted = 0; // id of the segment under the pointer

  /** `onClick(side, point)` is called for a click or the Enter key. */
  constructor(store, viewport, side, onClick) {
    this.#store = store;
    this.#viewport = viewport;
    this.#side = side;
    this.#onClick = onClick;
    this.caption = element("figcaption", {});
    this.canvas = element("canvas", {
      id: `canvas-${side}`, tabIndex: 0, role: "img",
      "aria-label":
        `Segmented image ${side}. ` +
        "Arrow keys move a cursor, Enter explains the place under it, plus and minus zoom.",
    });
    this.legend = new Legend(store, side, (id) => this.#highlight(id));
    this.root = element("figure", { className: "view", id: `view-${side}` },
      this.caption, this.canvas, trustControl(store, side), this.legend.root,
      downloadButtons(store, side, () => this.paintFull()));
    this.#listen();
    const repaint = () => this.#request(true);
    watch(store, ["answers", "hidden", "display", "pinned", "classes"], repaint);
    watch(store, ["image", "compare"], () => this.#resize());
    watch(store, ["hovered"], () => this.#onHovered());
    viewport.addEventListener("change", () => {
      this.canvas.style.touchAction = viewport.zoom > 1 ? "none" : "auto"; // a finger moves the image, or the page
      this.#request(false);
    });
    new ResizeObserver(() => this.#resize()).observe(this.root);
  }

  get answer() {
    return this.#store.answers[this.#side];
  }

  /** Returns a canvas of the size of the image with what is shown, for downloads. */
  paintFull() {
    const { image } = this.#store;
    const canvas = element("canvas", { width: image.width, height: image.height });
    const context = canvas.getContext("2d");
    if (image.bitmap) context.drawImage(image.bitmap, 0, 0, image.width, image.height);
    context.drawImage(this.#overlay, 0, 0);
    const ratio = image.width / this.canvas.clientWidth; // so that names have the size, relative to the image, of the screen
    if (this.#store.display.names) drawNames(context, this.#labels(), (place) => place, ratio);
    return canvas;
  }

  #highlight(id) {
    if (id === this.#highlighted) return;
    this.#highlighted = id;
    this.#request(true);
  }

  #onHovered() {
    const { hovered } = this.#store;
    const segment = hovered && this.answer ? segmentAt(this.answer, hovered) : null;
    this.#highlight(segment?.id ?? 0);
    this.#request(false);
  }

  #resize() {
    const { image, compare } = this.#store;
    this.root.hidden = !image || (this.#side !== "A" && !compare);
    if (this.root.hidden) return;
    const available = this.root.clientWidth;
    const width = image.width || 4;
    const height = image.height || 3;
    const shown = Math.min(available, (0.72 * window.innerHeight * width) / height);
    const ratio = window.devicePixelRatio || 1;
    this.canvas.style.width = `${Math.round(shown)}px`;
    this.canvas.style.height = `${Math.round((shown * height) / width)}px`;
    this.canvas.width = Math.round(shown * ratio);
    this.canvas.height = Math.round((shown * ratio * height) / width);
    this.#request(false);
  }

  /** Draws with the next frame. `needsPaint`: the segments look different. */
  #request(needsPaint) {
    this.#needsPaint ||= needsPaint;
    if (this.#isRequested) return;
    this.#isRequested = true;
    requestAnimationFrame(() => {
      this.#isRequested = false;
      this.#draw();
    });
  }

  #draw() {
    const { image, settings, compare, display, hovered } = this.#store;
    if (!image || this.root.hidden) return;
    if (this.#needsPaint) this.#paint();
    const context = this.canvas.getContext("2d");
    const box = this.#shownBox();
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.imageSmoothingEnabled = this.#viewport.zoom < 4;
    if (image.bitmap) drawPart(context, image.bitmap, box);
    const { answer } = this;
    if (answer) {
      drawPart(context, this.#overlay, box);
      const toCanvas = ({ x, y }) => ({
        x: ((x / answer.width - box.x) / box.width) * this.canvas.width,
        y: ((y / answer.height - box.y) / box.height) * this.canvas.height,
      });
      if (display.names) drawNames(context, this.#labels(), toCanvas);
      if (hovered) drawCursor(context, toCanvas({ x: hovered.x + 0.5, y: hovered.y + 0.5 }));
    }
    this.caption.textContent = summaryOf(compare ? this.#side : "", answer, settings[this.#side]);
  }

  #paint() {
    this.#needsPaint = false;
    const { answer } = this;
    if (!answer) {
      this.#overlay.width = this.#overlay.height = 1;
      delete this.root.dataset.painted;
      return;
    }
    const { display, pinned } = this.#store;
    paintSegments(this.#overlay, answer, {
      colorOf: (segment) => classColor(this.#store, segment),
      isVisible: (segment) => !this.#store.hidden.has(segment.category),
      highlighted: this.#highlighted || (pinned?.side === this.#side ? pinned.id : 0),
      opacity: display.opacity,
      outlines: display.outlines,
    });
    this.root.dataset.painted = answer.trust;
    document.dispatchEvent(new Event("ovrcoat:painted")); // for measurements
  }

  #labels() {
    const { answer } = this;
    if (this.#places.answer !== answer) this.#places = { answer, places: labelPlaces(answer.map) };
    const { places } = this.#places;
    return answer.segments
      .filter(({ id, category }) => places.has(id) && !this.#store.hidden.has(category))
      .map(({ id, area, category, rescued }) => ({ ...places.get(id), area, text: category, rescued }));
  }

  /** The part of the image that is shown, as shares of its width and height. */
  #shownBox() {
    const size = 1 / this.#viewport.zoom;
    return { x: this.#viewport.x - size / 2, y: this.#viewport.y - size / 2, width: size, height: size };
  }

  #shareAt(event) {
    const bounds = this.canvas.getBoundingClientRect();
    const box = this.#shownBox();
    return {
      x: box.x + ((event.clientX - bounds.left) / bounds.width) * box.width,
      y: box.y + ((event.clientY - bounds.top) / bounds.height) * box.height,
    };
  }

  #pixelAt({ x, y }) {
    const { image } = this.#store;
    const clamp = (share, size) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
    return { x: clamp(x, image.width), y: clamp(y, image.height) };
  }

  #listen() {
    const { canvas } = this;
    let drag = null;
    canvas.addEventListener("pointerdown", (event) => {
      drag = { x: event.clientX, y: event.clientY, last: event, moved: false };
      if (this.#viewport.zoom > 1) canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (drag && Math.hypot(event.clientX - drag.x, event.clientY - drag.y) > CLICK_DISTANCE) drag.moved = true;
      if (drag?.moved && this.#viewport.zoom > 1) {
        const { zoom } = this.#viewport;
        this.#viewport.move(
          (drag.last.clientX - event.clientX) / canvas.clientWidth / zoom,
          (drag.last.clientY - event.clientY) / canvas.clientHeight / zoom,
        );
        drag.last = event;
      } else if (event.pointerType !== "touch") {
        this.#hover(this.#pixelAt(this.#shareAt(event)), event);
      }
    });
    canvas.addEventListener("pointerup", (event) => {
      if (drag && !drag.moved) this.#onClick(this.#side, this.#pixelAt(this.#shareAt(event)));
      drag = null;
    });
    for (const name of ["pointercancel", "pointerleave"]) {
      canvas.addEventListener(name, () => {
        drag = null;
        this.#hover(null);
      });
    }
    canvas.addEventListener("wheel", (event) => {
      if (!event.ctrlKey && !event.metaKey && this.#viewport.zoom === 1) return; // the page scrolls
      event.preventDefault();
      const at = this.#shareAt(event);
      if (event.deltaY < 0) this.#viewport.zoomIn(at);
      else this.#viewport.zoomOut(at);
    }, { passive: false });
    canvas.addEventListener("keydown", (event) => this.#onKey(event));
    canvas.addEventListener("blur", () => this.#hover(null));
  }

  #hover(point, event = null) {
    if (!this.#store.image) return;
    const pointer = event && { x: event.clientX, y: event.clientY };
    this.#store.update({ hovered: point && { ...point, side: this.#side, pointer } });
  }

  #onKey(event) {
    const { image, hovered } = this.#store;
    if (!image || event.ctrlKey || event.metaKey) return;
    const step = Math.max(1, Math.round(KEY_STEP * Math.max(image.width, image.height) / this.#viewport.zoom));
    const moves = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step] };
    const at = hovered ?? this.#pixelAt(this.#viewport);
    if (event.key in moves) {
      const [x, y] = moves[event.key];
      this.#hover(this.#pixelAt({ x: (at.x + x + 0.5) / image.width, y: (at.y + y + 0.5) / image.height }));
    } else if (event.key === "Enter" || event.key === " ") this.#onClick(this.#side, { x: at.x, y: at.y });
    else if (event.key === "+" || event.key === "=") this.#viewport.zoomIn({ x: at.x / image.width, y: at.y / image.height });
    else if (event.key === "-") this.#viewport.zoomOut();
    else if (event.key === "0") this.#viewport.fit();
    else if (event.key === "Escape") this.#store.update({ pinned: null });
    else return;
    event.preventDefault();
  }
}

function drawPart(context, source, box) {
  context.drawImage(
    source,
    box.x * source.width, box.y * source.height, box.width * source.width, box.height * source.height,
    0, 0, context.canvas.width, context.canvas.height,
  );
}
