import { join } from "node:path";
import type { NextConfig } from "next";

const nextConfig: NextConfig = {
  // `presenced` is a link to clients/js in this repository. Without one, this is not needed.
  turbopack: { root: join(import.meta.dirname, "../..") },
};

export default nextConfig;
