//! A full disk: told as such, nothing lost, and work goes on once there is space. Runs in user and mount namespaces of
//! its own, where an ordinary user may mount a small tmpfs.

mod support;

use std::process::Command;

use support::{Ran, small_pipeline};

#[test]
fn a_full_disk_is_told_and_work_goes_on_after_space_is_freed() {
    let workspace = small_pipeline();
    // A table of 6 MB does not fit beside what the store itself needs in 12 MB; later it does.
    let mut csv = String::from("id,tenure,plan,left\n");
    for i in 0..200_000 {
        csv.push_str(&format!("customer-{i:08},{},basic,Yes\n", i % 72));
    }
    workspace.write("data/customers.csv", csv);
    let script = r#"
        set -eu
        mkdir .mlp && mount -t tmpfs -o size=12m tmpfs .mlp
        code=0; "$MLP" run small.mlp || code=$?
        echo "first exit $code"
        mount -o remount,size=256m .mlp
        "$MLP" run small.mlp --json | tail -n 1
        "$MLP" run small.mlp --json | tail -n 1
    "#;
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", script])
        .env("MLP", env!("CARGO_BIN_EXE_mlp"))
        .env("NO_COLOR", "1")
        .current_dir(&workspace.root)
        .output()
        .expect("`unshare` of util-linux is needed");
    let ran = Ran::of(&["run", "small.mlp"], output).exits(0).says(&["first exit 3", "disk is full"]);
    let finished: Vec<serde_json::Value> =
        ran.stdout.lines().filter(|l| l.contains("run_finished")).map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!(finished.len(), 2, "{ran}");
    assert_eq!(finished[0]["status"], "succeeded", "{ran}");
    assert_eq!(finished[1]["steps"]["executed"], 0, "{ran}");
}
