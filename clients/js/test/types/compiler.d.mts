export function check(application: string): string;
export function emit(module: "esnext" | "commonjs"): Record<string, string>;
