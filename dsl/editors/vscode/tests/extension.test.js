// What the extension does by itself, and that its parts fit together.

const assert = require("node:assert");
const fs = require("node:fs");
const os = require("node:os");
const path = require("node:path");
const test = require("node:test");
const { serverCommand } = require("../server");

const root = path.join(__dirname, "..");
const manifest = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8"));

test("the program's place is the setting's, with short forms written out", () => {
  assert.deepStrictEqual(serverCommand(undefined, undefined), { command: "mlp", args: ["lsp"], options: {} });
  assert.strictEqual(serverCommand(" ", "/w").command, "mlp");
  assert.strictEqual(serverCommand("~/bin/mlp", undefined).command, path.join(os.homedir(), "bin/mlp"));
  const inFolder = serverCommand("${workspaceFolder}/target/debug/mlp", "/w");
  assert.deepStrictEqual(inFolder, { command: "/w/target/debug/mlp", args: ["lsp"], options: { cwd: "/w" } });
});

test("every file that the manifest names is there", () => {
  const { languages, grammars } = manifest.contributes;
  const files = [manifest.main, ...languages.map((one) => one.configuration), ...grammars.map((one) => one.path)];
  files.forEach((file) => assert.ok(fs.existsSync(path.join(root, file)), file));
  JSON.parse(fs.readFileSync(path.join(root, languages[0].configuration), "utf8"));
});

test("the lock file names no address", () => {
  assert.doesNotMatch(fs.readFileSync(path.join(root, "package-lock.json"), "utf8"), /"resolved"/);
});

test("the words that begin a declaration are those of the language", () => {
  const outline = fs.readFileSync(path.join(root, "../../src/outline.rs"), "utf8");
  const declaring = outline.match(/DECLARING[^=]*=\s*\[([^\]]*)\]/)[1].match(/\w+/g);
  const grammar = fs.readFileSync(path.join(root, "syntaxes/mlp.tmLanguage.json"), "utf8");
  declaring.forEach((word) => assert.match(grammar, new RegExp(`[|(]${word}[|)]`), word));
});
