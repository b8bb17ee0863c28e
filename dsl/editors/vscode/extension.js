// Starts `mlp lsp` and connects it with the editor. All knowledge of the language is in that program.

const { commands, window, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");
const { serverCommand } = require("./server");

let client;

async function activate(context) {
  context.subscriptions.push(commands.registerCommand("mlp.restart", restart));
  context.subscriptions.push(
    workspace.onDidChangeConfiguration((change) => {
      if (change.affectsConfiguration("mlp.path")) {
        restart();
      }
    }),
  );
  await start();
}

async function start() {
  const folder = workspace.workspaceFolders?.[0]?.uri.fsPath;
  const run = serverCommand(workspace.getConfiguration("mlp").get("path"), folder);
  client = new LanguageClient("mlp", "mlp", { run, debug: run }, { documentSelector: [{ language: "mlp" }] });
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    const answer = await window.showErrorMessage(
      `\`${run.command} lsp\` does not start: ${error.message}. Install mlp, or say in the settings where it is.`,
      "Open the settings",
    );
    if (answer) {
      await commands.executeCommand("workbench.action.openSettings", "mlp.path");
    }
  }
}

async function restart() {
  await deactivate();
  await start();
}

async function deactivate() {
  const running = client;
  client = undefined;
  await running?.stop();
}

module.exports = { activate, deactivate };
