/**
 * The trace of a user: the last minute as a line, drawn while they were online. A reload that nobody notices is
 * a line without a gap, and a grace is the part of it that goes on after the loss.
 */

/** @typedef {import("./presence.js").Span} Span */

/** What the width of a trace stands for. */
export const WINDOW_MS = 60_000;

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1200;

/** @returns {SVGSVGElement} */
export function makeTrace() {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "trace");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} 10`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true"); // the text beside it says what counts
  return svg;
}

/**
 * Draw `spans` as of `now`, the right edge.
 *
 * @param {SVGSVGElement} svg
 * @param {readonly Span[]} spans
 * @param {number} now
 */
export function drawTrace(svg, spans, now) {
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
    // At least a hair's width: somebody who was there for a moment was there.
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
