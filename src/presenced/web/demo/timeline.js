/**
 * Timeline of a user: the last minute as a line with gaps while the user was offline. A reload within the grace period
 * leaves no gap.
 */

/** @typedef {import("./presence.js").Span} Span */

/** Time that the full width represents. */
export const WINDOW_MS = 60_000;

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1200;

/** @returns {SVGSVGElement} */
export function makeTimeline() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "timeline");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true"); // the text beside it has the same information
  return svg;
}

/**
 * Draw `spans`, with `now` at the right edge.
 *
 * @param {SVGSVGElement} svg
 * @param {readonly Span[]} spans
 * @param {number} now
 */
export function drawTimeline(svg, spans, now) {
  const visible = spans.filter(({ to }) => to === null || to > now - WINDOW_MS);
  while (svg.childElementCount > visible.length) svg.lastElementChild?.remove();
  while (svg.childElementCount < visible.length) {
    const rect = document.createElementNS(SVG, "rect");
    rect.setAttribute("height", "10");
    svg.append(rect);
  }
  visible.forEach(({ from, to }, i) => {
    const left = place(from, now);
    const rect = svg.children[i];
    rect?.setAttribute("x", String(left));
    // At least 4 of 1,200 units wide, so that short spans are visible.
    rect?.setAttribute("width", String(Math.max(4, place(to ?? now, now) - left)));
  });
}

/**
 * @param {number} at
 * @param {number} now
 */
function place(at, now) {
  return Math.round(WIDTH * Math.min(1, Math.max(0, 1 - (now - at) / WINDOW_MS)));
}
