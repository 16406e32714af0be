import type { Plugin } from "vite";

export const documented: Plugin;
