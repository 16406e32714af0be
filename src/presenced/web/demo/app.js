/** The page: a demonstration for everybody, and a folded part for people who connect programs. */

import { Demonstration } from "./demonstration.js";
import { byId } from "./dom.js";
import { loadForTab, saveForTab } from "./browser-storage.js";
import { Workbench } from "./workbench.js";

const UNFOLDED_KEY = "presenced.unfolded";

const parts = ["workbench", "programs"].map((id) => byId(id, HTMLDetailsElement));
const unfolded = loadForTab(UNFOLDED_KEY);
for (const part of parts) {
  part.open = unfolded.includes(part.id);
  part.addEventListener("toggle", () => saveForTab(UNFOLDED_KEY, parts.filter(({ open }) => open).map(({ id }) => id)));
}

new Workbench(new Demonstration()).start();
