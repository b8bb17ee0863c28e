// How `mlp lsp` is started. Knows nothing of the editor, so that it can be tested without one.

const os = require("node:os");
const path = require("node:path");

/** Returns the command of the setting `mlp.path`, which is a name or a path. */
function serverCommand(setting, folder) {
  let command = (setting ?? "").trim() || "mlp";
  if (command === "~" || command.startsWith("~/")) {
    command = path.join(os.homedir(), command.slice(1));
  }
  if (folder !== undefined) {
    command = command.replaceAll("${workspaceFolder}", folder);
  }
  return { command, args: ["lsp"], options: folder === undefined ? {} : { cwd: folder } };
}

module.exports = { serverCommand };
