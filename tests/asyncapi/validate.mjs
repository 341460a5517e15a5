// Reads an AsyncAPI document with the parser of its makers, and prints what it has to say against it, a line each.
import { readFile } from "node:fs/promises";
import { Parser } from "@asyncapi/parser";

const [source] = process.argv.slice(2);
const { document, diagnostics } = await new Parser().parse(await readFile(source, "utf8"), { source });
for (const { severity, message, path } of diagnostics) {
  console.log(`${["error", "warning", "information", "hint"][severity]} at ${path.join(".")}: ${message}`);
}
if (document === undefined) process.exit(1);
console.error(`${document.messages().all().length} messages`);
