// Names and the cursor, drawn over the segments at the resolution of the screen.

const FONT_SIZE = 12.5; // CSS pixels
const PADDING = 5;
const MIN_FIT = 0.6; // a name is drawn if the segment is at least this share of its width wide

/**
 * Draws names, those of large segments first; a name that would cover another one is left out.
 *
 * `ratio`: pixels of the canvas per CSS pixel.
 */
export function drawNames(context, labels, toCanvas, ratio = window.devicePixelRatio || 1) {
  const height = (FONT_SIZE + PADDING) * ratio;
  context.font = `600 ${FONT_SIZE * ratio}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  context.textAlign = "center";
  const drawn = [];
  for (const { text, rescued, length, ...place } of labels.toSorted((one, other) => other.area - one.area)) {
    const name = rescued ? `★ ${text}` : text;
    const middle = toCanvas(place);
    if (!isInside(middle, context.canvas)) continue;
    const run = toCanvas({ x: place.x + length, y: place.y }).x - middle.x;
    const width = context.measureText(name).width + 2 * PADDING * ratio;
    const x = clamp(middle.x, width / 2, context.canvas.width - width / 2);
    const y = clamp(middle.y, height / 2, context.canvas.height - height / 2);
    const box = { left: x - width / 2, right: x + width / 2, top: y - height / 2, bottom: y + height / 2 };
    if (run < MIN_FIT * width || drawn.some((other) => overlap(box, other))) continue;
    drawn.push(box);
    context.fillStyle = "rgb(12 18 26 / 78%)";
    context.beginPath();
    context.roundRect(box.left, box.top, width, height, 4 * ratio);
    context.fill();
    context.fillStyle = rescued ? "#ffd76a" : "#ffffff";
    context.fillText(name, x, y + ratio / 2);
  }
}

export function drawCursor(context, { x, y }) {
  const ratio = window.devicePixelRatio || 1;
  for (const [color, width] of [["rgb(0 0 0 / 70%)", 3], ["#ffffff", 1.25]]) {
    context.strokeStyle = color;
    context.lineWidth = width * ratio;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + 3 * dx * ratio, y + 3 * dy * ratio);
      context.lineTo(x + 9 * dx * ratio, y + 9 * dy * ratio);
    }
    context.stroke();
  }
}

function isInside({ x, y }, { width, height }) {
  return x >= 0 && y >= 0 && x <= width && y <= height;
}

function clamp(value, least, most) {
  return Math.max(least, Math.min(most, value));
}

function overlap(one, other) {
  return one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
}
