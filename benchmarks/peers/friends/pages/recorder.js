// Runs before the page: records what its dots show in each frame that is painted, and when that was drawn.

globalThis.frames_ = [];
let drawnAt = 0;
new MutationObserver(() => {
  if (!drawnAt) requestAnimationFrame(record);
  drawnAt = performance.now();
}).observe(document, { attributeFilter: ["data-status"], childList: true, subtree: true });

function record() {
  const shown = [...document.querySelectorAll("[data-status]")].map(({ dataset }) => dataset.status);
  if (shown.length > 0) globalThis.frames_.push([performance.timeOrigin + drawnAt, shown]);
  drawnAt = 0;
}
