// Builds the page into the Python package. The same sources and lock file give the same bytes, which a test relies on.
//
//   node build.mjs [FOLDER]

import { cp, mkdir, readFile, writeFile } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const folder = resolve(process.argv[2] ?? join(here, "../layers/hephaestus/hephaestus/console/static"));

await mkdir(folder, { recursive: true });
const built = await build({
  absWorkingDir: here,
  entryPoints: { app: "src/main.tsx" },
  outdir: folder,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome111", "firefox115", "safari16.4"],
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none", // licenses.txt has them in full
  metafile: true,
  logLevel: "warning",
});
for (const name of ["index.html", "app.css", "icon.svg"]) {
  await cp(join(here, "src", name), join(folder, name));
}

// Whoever passes the page on passes on what its parts ask for: their names and licences.
const packages = [
  ...new Set(
    Object.keys(built.metafile.inputs)
      .map((path) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1])
      .filter(Boolean),
  ),
].sort();
const notices = [];
for (const name of packages) {
  const home = join(here, "node_modules", name);
  const { version, license } = JSON.parse(await readFile(join(home, "package.json"), "utf8"));
  const text = (await readFile(join(home, "LICENSE"), "utf8")).trim();
  notices.push(`${name} ${version} (${license})\n\n${text}\n`);
}
await writeFile(join(folder, "licenses.txt"), notices.join(`\n${"-".repeat(72)}\n\n`));
