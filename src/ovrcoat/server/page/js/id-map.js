// Id maps: COCO panoptic PNGs as one number per pixel.

let canvas = null;

/** Returns {width, height, words, areas}: `words[i] & 0xffffff` is an id, 0 is void, and `areas` maps ids to pixels. */
export async function decodeIdMap(base64) {
  const bitmap = await createImageBitmap(pngBlob(base64), {
    colorSpaceConversion: "none",
    premultiplyAlpha: "none",
  });
  const { width, height } = bitmap;
  canvas ??= document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  const { data } = context.getImageData(0, 0, width, height);
  // bytes R, G, B, A: a little-endian word is A·2²⁴ + B·2¹⁶ + G·2⁸ + R
  const words = new Uint32Array(data.buffer);
  return { width, height, words, areas: areasOf(words) };
}

/** Returns the number of pixels of each id. */
function areasOf(words) {
  const areas = new Map();
  let start = 0;
  for (let index = 1; index <= words.length; index++) {
    if (words[index] === words[start]) continue;
    const id = words[start] & 0xffffff;
    areas.set(id, (areas.get(id) ?? 0) + index - start);
    start = index;
  }
  areas.delete(0);
  return areas;
}

export function pngBlob(base64) {
  const text = atob(base64);
  const bytes = Uint8Array.from(text, (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

export function idAt(map, x, y) {
  return x >= 0 && y >= 0 && x < map.width && y < map.height ? map.words[y * map.width + x] & 0xffffff : 0;
}

/** Returns for each id the middle of its longest horizontal run of pixels: where a name fits best. */
export function labelPlaces(map) {
  const { width, height, words } = map;
  const places = new Map();
  const step = Math.max(1, Math.floor(height / 120)); // every few rows are enough for a label
  for (let y = Math.floor(step / 2); y < height; y += step) {
    let start = 0;
    for (let x = 1; x <= width; x++) {
      const index = y * width + x;
      if (x < width && words[index] === words[index - 1]) continue;
      const id = words[index - 1] & 0xffffff;
      if (id && x - start > (places.get(id)?.length ?? 0)) {
        places.set(id, { x: (start + x) / 2, y: y + 0.5, length: x - start });
      }
      start = x;
    }
  }
  return places;
}
