// Keeps the results of both sides up to date: one request per side at a time, and the latest settings win.

import { decodeIdMap } from "./id-map.js";

export class Results {
  #store;
  #report;
  #running = { A: false, B: false };
  #requested = { A: null, B: null }; // {image, request}: what was requested last
  #stale = { A: false, B: false };
  #open = 0; // number of requests without a response

  /** `report({busy, error})` is called when a request starts, ends or fails; `busy`: some request is open. */
  constructor(store, report) {
    this.#store = store;
    this.#report = report;
  }

  /** Requests a new result for each side that is shown and whose request has changed. */
  refresh() {
    const { image, classes, settings } = this.#store;
    for (const side of this.#store.activeSides()) {
      const request = JSON.stringify(requestOf(classes, settings[side]));
      const last = this.#requested[side];
      if (last?.image === image && last.request === request) continue;
      this.#requested[side] = { image, request };
      this.#refreshSide(side);
    }
  }

  async #refreshSide(side) {
    this.#stale[side] = true;
    if (this.#running[side]) return; // the running request looks again when it is done
    this.#running[side] = true;
    try {
      while (this.#stale[side]) {
        this.#stale[side] = false;
        await this.#request(side);
      }
    } finally {
      this.#running[side] = false;
    }
  }

  async #request(side) {
    const { image, classes, settings } = this.#store;
    if (!image || !classes.length) {
      this.#store.setAnswer(side, null);
      this.#report({ busy: this.#open > 0 });
      return;
    }
    this.#open++;
    this.#report({ busy: true });
    let failure = null;
    try {
      const answer = await image.segment(requestOf(classes, settings[side]));
      const map = await decodeIdMap(answer.id_map);
      // if another image was opened meanwhile, it requests its own answer
      if (image === this.#store.image) this.#store.setAnswer(side, { ...answer, map });
    } catch (error) {
      this.#requested[side] = null; // the same request may be tried again
      if (image === this.#store.image) failure = error;
    }
    this.#open--;
    this.#report({ busy: this.#open > 0, error: failure });
  }
}

/** Returns the body of a request to segment or explain. */
export function requestOf(classes, settings) {
  const request = {
    vocabulary: classes.map(({ name, synonyms, isThing }) => ({ name, synonyms, is_thing: isThing })),
    task: settings.task,
    trust: settings.adaptive ? "adaptive" : settings.trust,
    background: backgroundOf(settings),
  };
  if (settings.task === "panoptic") {
    request.object_mask_threshold = settings.objectMaskThreshold;
    request.overlap_threshold = settings.overlapThreshold;
  } else if (settings.task === "instance") {
    request.score_threshold = settings.scoreThreshold;
  }
  return request;
}

function backgroundOf({ background, ownBackground }) {
  if (background !== "own") return background;
  const names = ownBackground.split(";").map((name) => name.trim());
  const given = names.filter((name) => name !== "");
  return given.length ? given : "none";
}
