/** The environment of a page, as far as it exists: the same code runs in Node and in workers, where there is less. */
import type { Host } from "./host.js";
/** The environment of a page. A host of your own replaces parts of it, and may call them. */
export declare const webHost: Host;
