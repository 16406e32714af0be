// The parts that all pages have in common, to know how much of a bundle they are.

import { show } from "./list.js";
import { authUrl, friends, me, url } from "./page.js";

for (const id of friends) show(id, `${me} ${url} ${authUrl}`);
