export function check(project: string): string;
export function emit(module: "esnext" | "commonjs"): Record<string, string>;
