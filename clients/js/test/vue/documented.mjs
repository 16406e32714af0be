/** A plugin of Vite: `documented/App.vue` is the component of this name in `docs/how-to/connect/vue.md`. */

import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { compileScript, parse } from "vue/compiler-sfc";

const PAGE = new URL("../../../../docs/how-to/connect/vue.md", import.meta.url);

export const documented = {
  name: "documented",
  enforce: "pre",
  resolveId: (id) => (id.endsWith(".vue") ? `\0${basename(id)}` : null),
  load(id) {
    if (!id.endsWith(".vue")) return null;
    const name = id.slice(1);
    const source = readFileSync(PAGE, "utf-8").split(`\`\`\`vue\n<!-- ${name} -->\n`)[1]?.split("```")[0];
    if (!source) throw new Error(`the page has no ${name}`);
    const { descriptor, errors } = parse(source, { filename: name });
    if (errors.length) throw errors[0];
    return compileScript(descriptor, { id: name, inlineTemplate: true }).content;
  },
};
