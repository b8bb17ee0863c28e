//! Only what changed runs: by content, never by time stamps, names or places.

mod support;

use std::time::SystemTime;

use support::{Workspace, small_pipeline};

const ALL: [&str; 5] = ["counted", "exported", "parts", "raw", "stayed"];

#[test]
fn a_second_run_executes_nothing_and_gives_the_same_artifacts() {
    let workspace = small_pipeline();
    let first = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(first.executed(), ALL);
    let second = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(second.steps(), (0, 5, 0, 0));
    assert_eq!(second.digests(), first.digests());
}

#[test]
fn touching_renaming_reformatting_commenting_and_moving_execute_nothing() {
    let workspace = small_pipeline();
    workspace.run("small.mlp", &[]).exits(0);

    let data = std::fs::File::options().write(true).open(workspace.path("data/customers.csv")).unwrap();
    data.set_modified(SystemTime::now()).unwrap();
    assert_eq!(workspace.run("small.mlp", &[]).steps().0, 0, "touched");

    workspace.edit("small.mlp", "step exported", "// a comment\nstep written").edit(
        "small.mlp",
        "rows: exported",
        "rows: written",
    );
    assert_eq!(workspace.run("small.mlp", &[]).steps().0, 0, "renamed and commented");

    workspace.edit("small.mlp", "select id, tenure", "select  id,\\n  tenure").edit(
        "small.mlp",
        "every: 5, at: 4",
        "every:5,\n     at : 4",
    );
    assert_eq!(workspace.run("small.mlp", &[]).steps().0, 0, "reformatted");

    std::fs::create_dir(workspace.path("moved")).unwrap();
    std::fs::rename(workspace.path("data"), workspace.path("moved/data")).unwrap();
    std::fs::rename(workspace.path("small.mlp"), workspace.path("moved/other.mlp")).unwrap();
    assert_eq!(workspace.run("moved/other.mlp", &[]).steps().0, 0, "moved");
}

#[test]
fn a_changed_value_runs_what_depends_on_it_and_a_blank_line_is_cut_off_after_reading() {
    let workspace = small_pipeline();
    workspace.run("small.mlp", &[]).exits(0);

    let mut csv = workspace.read("data/customers.csv");
    csv.push('\n');
    workspace.write("data/customers.csv", &csv);
    let ran = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(ran.executed(), ["raw"]);
    let cut_off = |ran: &support::Ran| {
        ran.events().iter().filter(|e| e["event"] == "step_reused" && e["early_cutoff"] == true).count()
    };
    assert!(cut_off(&ran) >= 1, "{ran}");

    // Row 4 of the query's result goes to the test part: everything runs. Row 1 goes to train: the export is cut off.
    workspace.edit("data/customers.csv", "c004,4,", "c004,5,");
    let ran = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(ran.executed(), ["parts", "raw", "stayed"], "{ran}");
}

#[test]
fn a_parameter_runs_only_the_steps_that_read_it() {
    let workspace = small_pipeline();
    workspace.edit("small.mlp", "every: 5, at: 4", "every: 5, at: least");
    workspace.run("small.mlp", &[]).exits(0);
    let ran = workspace.run("small.mlp", &["--param", "least=2"]).exits(0);
    assert_eq!(ran.executed(), ["counted", "exported", "parts"], "{ran}");
}

#[test]
fn a_same_size_edit_with_its_time_stamp_restored_runs() {
    let workspace = small_pipeline();
    workspace.run("small.mlp", &[]).exits(0);
    let path = workspace.path("data/customers.csv");
    let stamp = path.metadata().unwrap().modified().unwrap();
    workspace.edit("data/customers.csv", "c100,28,", "c100,29,");
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(stamp).unwrap();
    assert_eq!(path.metadata().unwrap().modified().unwrap(), stamp);
    assert!(workspace.run("small.mlp", &[]).exits(0).executed().contains(&"raw".to_owned()));
}

#[test]
fn a_deleted_index_is_rebuilt_and_nothing_runs() {
    let workspace = small_pipeline();
    workspace.run("small.mlp", &[]).exits(0);
    // The kept answer needs no index; without it, the journal gives a new one.
    std::fs::remove_dir_all(workspace.path(".mlp/snapshot")).unwrap();
    let index = std::fs::read_dir(workspace.path(".mlp"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.to_string_lossy().ends_with(".sled"))
        .expect("an index folder");
    wait_for_owner_to_leave(&workspace);
    std::fs::remove_dir_all(&index).unwrap();
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 5, 0, 0));
    assert!(index.exists());
}

#[test]
fn a_corrupted_object_makes_its_step_alone_run() {
    let workspace = small_pipeline();
    let first = workspace.run("small.mlp", &[]).exits(0);
    let digest = &first.digests()["stayed.out"];
    let object = workspace.path(&format!(".mlp/objects/{}/{}", &digest[..2], &digest[2..]));
    let mut bytes = std::fs::read(&object).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    make_writable(&object);
    std::fs::write(&object, bytes).unwrap();
    let second = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(second.executed(), ["stayed"], "{second}");
    assert_eq!(second.digests(), first.digests());
    assert_eq!(workspace.run("small.mlp", &[]).steps().0, 0);
}

#[test]
fn force_executes_a_step_and_equal_bytes_stop_there() {
    let workspace = small_pipeline();
    workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(workspace.run("small.mlp", &["--force", "stayed"]).exits(0).executed(), ["stayed"]);
}

#[test]
fn targets_run_only_what_they_need() {
    let workspace = small_pipeline();
    assert_eq!(workspace.run("small.mlp", &["parts"]).exits(0).executed(), ["parts", "raw", "stayed"]);
}

#[test]
fn two_workspaces_and_two_job_counts_give_equal_artifacts() {
    let one = small_pipeline().run("small.mlp", &["--jobs", "1"]).exits(0).digests();
    let two = small_pipeline().run("small.mlp", &["--jobs", "4"]).exits(0).digests();
    assert_eq!(one, two);
    assert_eq!(one.len(), 6);
}

#[test]
fn why_answers_from_stored_keys_after_the_source_is_gone() {
    let workspace = small_pipeline();
    workspace.edit("small.mlp", "every: 5, at: 4", "every: 5, at: least");
    workspace.run("small.mlp", &[]).exits(0);
    workspace.run("small.mlp", &["--param", "least=2"]).exits(0);
    std::fs::remove_file(workspace.path("data/customers.csv")).unwrap();
    std::fs::remove_file(workspace.path("small.mlp")).unwrap();
    let ran = workspace.mlp(&["why", "small.mlp", "parts"]).exits(0);
    assert!(ran.stdout.contains("at") && ran.stdout.contains('3') && ran.stdout.contains('2'), "{ran}");
}

fn wait_for_owner_to_leave(workspace: &Workspace) {
    let socket = workspace.path(".mlp/sock");
    for _ in 0..200 {
        if !socket.exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(25));
    }
    panic!("the owner process is still there");
}

fn make_writable(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
}
