import { readdirSync } from "node:fs";
import { basename, resolve } from "node:path";
import { defineConfig } from "vite";

const source = resolve(import.meta.dirname, "src/pages");
const rooms = readdirSync(source)
  .filter((name) => name.endsWith(".ts"))
  .map((name) => [basename(name, ".ts"), resolve(source, name)] as const);

export default defineConfig({
  // Chunks are found beside the page's own script, whatever the base URL of the hub is.
  base: "./",
  publicDir: false,
  build: {
    target: "es2022",
    outDir: resolve(import.meta.dirname, "../sardonyx_hub/pages/static/ui"),
    emptyOutDir: true,
    modulePreload: { polyfill: false },
    rollupOptions: {
      input: Object.fromEntries(rooms),
      output: {
        entryFileNames: "[name].js",
        // AssetHandler lets browsers keep for ever what is in this folder: the names have a hash of the content.
        chunkFileNames: "chunks/[name]-[hash].js",
      },
    },
  },
});
