// Reading an answer of the server: {segments, categories, background, issues, map, …}.

import { idAt } from "./id-map.js";

export function segmentAt(answer, { x, y }) {
  const id = idAt(answer.map, x, y);
  return id ? answer.segments.find((segment) => segment.id === id) ?? null : null;
}

/** Returns the color of a segment: of its class if a person chose one, else the server's. */
export function classColor(store, segment) {
  const chosen = store.classes.find((one) => one.color && one.name === segment.category)?.color;
  return chosen ? [1, 3, 5].map((start) => parseInt(chosen.slice(start, start + 2), 16)) : segment.color;
}

/** Returns one sentence about a result. */
export function summaryOf(name, answer, settings) {
  const trust = settings.adaptive ? "adaptive" : settings.trust.toFixed(2);
  const head = `${name ? `${name} · ` : ""}γ ${trust} · ${settings.task}`;
  if (!answer) return head;
  const segments = drawnSegments(answer);
  const rescued = segments.filter((segment) => segment.rescued).length;
  const count = segments.length === 1 ? "1 segment" : `${segments.length} segments`;
  return `${head} · ${count}${rescued ? `, ${rescued} rescued by COAT` : ""}`;
}

/** Returns the segments that have pixels: weak instances and duplicates are in the answer, but not in the map. */
export function drawnSegments({ segments, map }) {
  return segments.filter(({ id }) => map.areas.has(id));
}

/** Groups the segments of an answer by category, the largest group first. `area`: pixels that are drawn. */
export function categoriesOf(answer) {
  const groups = new Map();
  for (const segment of answer.segments) {
    const group = groups.get(segment.category) ?? { name: segment.category, area: 0, drawn: [], notDrawn: 0 };
    const area = answer.map.areas.get(segment.id) ?? 0; // a mask may be larger: better instances cover parts of it
    group.area += area;
    if (area) group.drawn.push(segment);
    else group.notDrawn++;
    groups.set(segment.category, group);
  }
  return [...groups.values()].sort((one, other) => other.area - one.area);
}
