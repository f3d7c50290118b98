// The part of the image that is shown. Both views share one, so that they zoom and move together.

const MOST = 16;
const STEP = 1.5;

export class Viewport extends EventTarget {
  zoom = 1; // 1: the whole image
  x = 0.5; // middle of what is shown, as a share of the width and height of the image
  y = 0.5;

  zoomIn(at = null) {
    this.#zoomBy(STEP, at);
  }

  zoomOut(at = null) {
    this.#zoomBy(1 / STEP, at);
  }

  fit() {
    this.#set(1, 0.5, 0.5);
  }

  /** Moves what is shown by shares of the image. */
  move(x, y) {
    this.#set(this.zoom, this.x + x, this.y + y);
  }

  /** `at`: {x, y}, the point that stays where it is, as shares of the image. */
  #zoomBy(factor, at) {
    const zoom = Math.min(MOST, Math.max(1, this.zoom * factor));
    const { x, y } = at ?? this;
    const rest = this.zoom / zoom;
    this.#set(zoom, x + (this.x - x) * rest, y + (this.y - y) * rest);
  }

  #set(zoom, x, y) {
    const margin = 0.5 / zoom;
    this.zoom = zoom;
    this.x = Math.min(1 - margin, Math.max(margin, x));
    this.y = Math.min(1 - margin, Math.max(margin, y));
    this.dispatchEvent(new Event("change"));
  }
}
