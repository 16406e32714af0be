// The list of the pages without a framework. A dot shows nothing until it is known.

import { friends, root } from "./page.js";

const dots = new Map();
const list = document.createElement("ul");
for (const id of friends) {
  const item = document.createElement("li");
  const dot = document.createElement("span");
  dot.dataset.status = "unknown";
  item.append(dot, ` ${id}`);
  list.append(item);
  dots.set(id, dot);
}
root.append(list);

export function show(id, status) {
  const dot = dots.get(id);
  if (dot && dot.dataset.status !== status) dot.dataset.status = status;
}
