// Runs before the page: measures when all users are shown and, while it is on, the time between frames and long tasks.

globalThis.meter = { frames: [], longTasks: [], isOn: false, shownAt: 0 };
const users = Number(new URLSearchParams(location.search).get("users"));
let last = 0;
requestAnimationFrame(function frame(now) {
  if (meter.isOn && last) meter.frames.push(now - last);
  last = meter.isOn ? now : 0;
  if (!meter.shownAt && document.querySelectorAll("[data-status]").length >= users) meter.shownAt = now;
  requestAnimationFrame(frame);
});
new PerformanceObserver((list) => {
  for (const { duration } of list.getEntries()) if (meter.isOn) meter.longTasks.push(duration);
}).observe({ type: "longtask" });
