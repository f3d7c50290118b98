// Painting the segments of an id map into a canvas of the size of the image.

const RESCUED = word([255, 190, 0], 255); // gold: no fill is fully opaque, so it stands out
const HIGHLIGHT = 0.15; // added to the opacity of the segment under the pointer

/**
 * Paints all visible segments.
 *
 * `answer`: see results.js. `colorOf(segment)`: [red, green, blue]. `isVisible(segment)`. `highlighted`: id or 0.
 */
export function paintSegments(canvas, answer, { colorOf, isVisible, highlighted, opacity, outlines }) {
  const { map, segments } = answer;
  const { width, height } = map;
  const largest = segments.reduce((most, segment) => Math.max(most, segment.id), 0);
  const fills = new Uint32Array(largest + 1);
  const edges = new Uint32Array(largest + 1);
  const rescued = new Uint8Array(largest + 1);
  for (const segment of segments) {
    if (!isVisible(segment)) continue;
    const color = colorOf(segment);
    const alpha = segment.id === highlighted ? Math.min(1, opacity + HIGHLIGHT) : opacity;
    fills[segment.id] = word(color, Math.round(255 * alpha));
    edges[segment.id] = word(color, 255);
    if (segment.rescued) rescued[segment.id] = 1;
  }
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  const pixels = new Uint32Array(image.data.buffer);
  for (let index = 0; index < pixels.length; index++) pixels[index] = fills[map.words[index] & 0xffffff];
  if (outlines) drawEdges(pixels, map, edges, 1, () => true);
  const thickness = Math.max(2, Math.round(width / 250));
  drawEdges(pixels, map, edges.map((edge) => edge && RESCUED), thickness, (id) => rescued[id]);
  context.putImageData(image, 0, 0);
}

/** Colors the pixels of a segment that are at most `thickness` pixels from another one. */
function drawEdges(pixels, { width, height, words }, edges, thickness, isDrawn) {
  const drawn = Uint8Array.from(edges, (edge, id) => (edge && isDrawn(id) ? 1 : 0));
  if (!drawn.includes(1)) return;
  for (let y = 0, index = 0; y < height; y++) {
    for (let x = 0; x < width; x++, index++) {
      const id = words[index] & 0xffffff;
      if (!drawn[id]) continue;
      for (let away = 1; away <= thickness; away++) {
        if (
          (x + away < width && words[index + away] !== words[index]) ||
          (x >= away && words[index - away] !== words[index]) ||
          (y + away < height && words[index + away * width] !== words[index]) ||
          (y >= away && words[index - away * width] !== words[index])
        ) {
          pixels[index] = edges[id];
          break;
        }
      }
    }
  }
}

/** Returns a pixel of image data as a little-endian word: bytes R, G, B, A. */
function word([red, green, blue], alpha) {
  return ((alpha << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}
