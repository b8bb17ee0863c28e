//! Encryption at rest and erasure through the binary: what stands on the disk, and what is left when the key is gone.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use support::{Workspace, small_pipeline};

/// Stands in the customers' table, and nowhere else.
const PLANTED: &str = "zq7-planted-customer";

/// The small pipeline with a report, a release, a folder, a planted customer, and encryption.
fn encrypted() -> Workspace {
    let workspace = small_pipeline();
    let rows: String = (0..400).map(|n| format!("{PLANTED}-{n},{},plus,No\n", n % 70 + 1)).collect();
    workspace.write("data/customers.csv", format!("id,tenure,plan,left\n{rows}"));
    let text = workspace.read("small.mlp");
    workspace.write(
        "small.mlp",
        format!(
            "{text}step packed   = sh(\"mkdir {{d}}; cp {{rows}} {{d}}/$(sed -n 2p {{rows}} | cut -d, -f1).csv\", inputs: {{ rows: exported }}, outputs: {{ d: folder }})\n\n\
             release small = bundle {{ exported, packed }}\n"
        ),
    );
    let settings = "owner_idle_seconds: 0\nencryption: { partition: customers, keys: { folder: keys } }\n";
    workspace.write("mlp.yaml", settings);
    give_key(&workspace, "5a");
    workspace
}

fn key_file(workspace: &Workspace) -> PathBuf {
    workspace.path("keys/customers.key")
}

fn give_key(workspace: &Workspace, byte: &str) {
    workspace.write("keys/customers.key", byte.repeat(32) + "\n");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(key_file(workspace), mode).expect("rights");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(files_below(&path)),
            Ok(kind) if kind.is_file() => files.push(path),
            _ => {}
        }
    }
    files
}

/// Returns the files of the store that hold the bytes.
fn holding(workspace: &Workspace, wanted: &[u8]) -> Vec<PathBuf> {
    let holds = |path: &PathBuf| {
        std::fs::read(path).is_ok_and(|bytes| bytes.windows(wanted.len()).any(|window| window == wanted))
    };
    files_below(&workspace.path(".mlp")).into_iter().filter(holds).collect()
}

/// Returns where the workspace's plain bytes stand while somebody works.
fn plain_folder(workspace: &Workspace) -> PathBuf {
    let uid = std::fs::metadata(&workspace.root).expect("a folder").uid();
    let all = PathBuf::from(format!("/dev/shm/mlp-{uid}"));
    let root = workspace.path(".mlp");
    let name = mlp_model::Digest::of(root.as_os_str().as_encoded_bytes()).short();
    all.join(name)
}

fn object(workspace: &Workspace, digest: &str) -> PathBuf {
    workspace.path(&format!(".mlp/objects/{}/{}", &digest[..2], &digest[2..]))
}

#[test]
fn nothing_that_was_computed_stands_on_the_disk_in_plain_and_reuse_is_as_before() {
    let (plain, workspace) = (small_pipeline(), encrypted());
    let ran = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(holding(&workspace, PLANTED.as_bytes()), [] as [PathBuf; 0]);
    let key = [0x5a_u8; 32];
    assert_eq!((holding(&workspace, &key), holding(&workspace, "5a".repeat(32).as_bytes())), (vec![], vec![]));
    assert!(!ran.stdout.contains(&"5a".repeat(8)) && !ran.stderr.contains(&"5a".repeat(8)));
    // It was worked in, and is empty again, or gone with the last who worked there. Nobody else may look into it.
    assert_eq!(files_below(&plain_folder(&workspace)), [] as [PathBuf; 0]);
    let plain_bytes = plain_folder(&workspace).display().to_string();
    let looks = format!("test $(stat -c %a {plain_bytes}) = 700 && wc -l < {{rows}} > {{seen}}");
    let step = format!("sh(\"{looks}\", inputs: {{ rows: file(\"data/customers.csv\") }}, outputs: {{ seen: file }}");
    workspace.write("look.mlp", format!("pipeline look\nstep seen = {step}, confine: off)\n"));
    workspace.run("look.mlp", &[]).exits(0);
    // Digests are those of the plain bytes.
    plain.write("data/customers.csv", workspace.read("data/customers.csv"));
    plain.write("small.mlp", workspace.read("small.mlp"));
    assert_eq!(plain.run("small.mlp", &[]).exits(0).digests(), ran.digests());
    assert!(!holding(&plain, PLANTED.as_bytes()).is_empty());

    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 6, 0, 0));
    workspace.mlp(&["verify", "small.mlp"]).exits(0).says(&["executed again"]);
    workspace.mlp(&["store", "verify"]).exits(0).says(&["The store is sound"]);
    workspace.mlp(&["lineage", "small"]).exits(0).says(&["present and whole."]);
    workspace.edit("small.mlp", "tenure >= 3", "tenure >= 4");
    workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(holding(&workspace, PLANTED.as_bytes()), [] as [PathBuf; 0]);
    assert_eq!(files_below(&plain_folder(&workspace)), [] as [PathBuf; 0]);
}

#[test]
fn a_key_that_is_missing_or_another_one_is_told_and_nothing_runs() {
    let workspace = encrypted();
    let ran = workspace.run("small.mlp", &[]).exits(0);
    let n_objects = files_below(&workspace.path(".mlp/objects")).len();
    std::fs::rename(key_file(&workspace), workspace.path("aside")).expect("moved");
    let missing = workspace.run("small.mlp", &[]).exits(3);
    missing.says(&["the key of partition `customers`", "keys/customers.key", "is not there"]);
    workspace.mlp(&["store", "verify"]).exits(0).says(&["not checked: they are encrypted", "is not there"]);
    give_key(&workspace, "6b");
    let other = workspace.run("small.mlp", &[]).exits(3);
    other.says(&["is another one", "than the one that stored results were encrypted with"]);
    workspace.write("keys/customers.key", "short");
    workspace.run("small.mlp", &[]).exits(3).says(&["is no key", "openssl rand"]);
    std::fs::set_permissions(key_file(&workspace), std::fs::Permissions::from_mode(0o644)).expect("rights");
    workspace.run("small.mlp", &[]).exits(3).says(&["can be read by other users", "chmod 600"]);
    assert_eq!(files_below(&workspace.path(".mlp/objects")).len(), n_objects);
    std::fs::rename(workspace.path("aside"), key_file(&workspace)).expect("moved");
    let again = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!((again.steps(), again.digests()), ((0, 6, 0, 0), ran.digests()));
    // Without the setting, too.
    workspace.write("mlp.yaml", "owner_idle_seconds: 0\n");
    workspace.run("small.mlp", &[]).exits(3).says(&["the key of partition `customers`", "`encryption`"]);
}

#[test]
fn a_command_tells_the_key_and_another_one_destroys_it() {
    let workspace = encrypted();
    workspace.write(
        "mlp.yaml",
        "owner_idle_seconds: 0\nencryption:\n  partition: customers\n  \
         keys: { command: \"cat keys/$MLP_PARTITION.key\", destroy: \"rm keys/$MLP_PARTITION.key\" }\n",
    );
    workspace.run("small.mlp", &[]).exits(0);
    // One that destroys nothing does not pass for it, and erasing again completes it.
    workspace.edit("mlp.yaml", "destroy: \"rm keys", "destroy: \"true keys");
    workspace.mlp(&["erase", "customers", "--yes"]).exits(3).says(&["is still told, although it was destroyed"]);
    workspace.edit("mlp.yaml", "destroy: \"true keys", "destroy: \"rm keys");
    workspace.mlp(&["erase", "customers", "--yes"]).exits(0).says(&["is erased: its key is destroyed"]);
    assert!(!key_file(&workspace).exists());
}

#[test]
fn what_was_changed_on_the_disk_is_noticed_and_made_again() {
    let workspace = encrypted();
    let ran = workspace.run("small.mlp", &[]).exits(0);
    let path = object(&workspace, &ran.digests()["stayed.out"]);
    let mut bytes = std::fs::read(&path).expect("an object");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::remove_file(&path).expect("removed");
    std::fs::write(&path, bytes).expect("written");
    workspace.mlp(&["store", "verify"]).exits(1).says(&["1 DAMAGED"]);
    let again = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!((again.executed(), again.digests()), (vec!["stayed".to_owned()], ran.digests()));
    workspace.mlp(&["store", "verify"]).exits(0);
}

#[test]
fn an_erased_partition_is_gone_for_good_and_everything_tells_so() {
    let workspace = encrypted();
    let ran = workspace.run("small.mlp", &[]).exits(0);
    let run = ran.finished()["run"].as_str().expect("an id").to_owned();
    let stayed = ran.digests()["stayed.out"].clone();
    workspace.mlp(&["erase", "customers"]).exits(0).says(&[
        "released: small@1, live would be unreadable",
        "made by small.stayed",
        "Nothing was erased yet",
    ]);
    assert!(key_file(&workspace).exists());
    workspace.mlp(&["erase", "costumers"]).exits(2).says(&["nothing is encrypted for partition `costumers`"]);
    let copy = std::fs::read(key_file(&workspace)).expect("a key");

    let erased = workspace.mlp(&["erase", "customers", "--yes"]).exits(0);
    let erased = erased.says(&["released: small@1, live is unreadable", "cannot be decrypted", "none can be read"]);
    assert!(!erased.stdout.contains("CAN STILL"), "{erased}");
    assert!(!key_file(&workspace).exists());
    workspace.mlp(&["store", "verify"]).exits(0).says(&["erased: their keys were destroyed", "The store is sound"]);
    workspace.mlp(&["lineage", &stayed]).exits(0).says(&["erased with partition `customers`", "data/customers.csv"]);
    workspace.mlp(&["lineage", "small"]).exits(0).says(&["erased"]);
    workspace.mlp(&["why", "small.mlp", "stayed"]).exits(0);
    workspace.mlp(&["runs"]).exits(0).says(&[&run]);
    workspace.mlp(&["log", &run]).exits(2).says(&["is not here"]);
    workspace.mlp(&["gc", "--dry-run"]).exits(0);

    // The key that was erased is refused, also if somebody had a copy.
    std::fs::write(key_file(&workspace), copy).expect("written");
    std::fs::set_permissions(key_file(&workspace), std::fs::Permissions::from_mode(0o600)).expect("rights");
    workspace.run("small.mlp", &[]).exits(3).says(&["was erased, and must not be used again"]);
    give_key(&workspace, "7c");
    let again = workspace.run("small.mlp", &[]).exits(0);
    assert_eq!((again.steps(), again.digests()), ((6, 0, 0, 0), ran.digests()));
    assert!(again.stdout.contains("was erased with partition `customers`"), "{again}");
    assert_eq!(workspace.run("small.mlp", &[]).exits(0).steps(), (0, 6, 0, 0));
    workspace.mlp(&["store", "verify"]).exits(0).says(&["The store is sound"]);
    assert_eq!(holding(&workspace, PLANTED.as_bytes()), [] as [PathBuf; 0]);
}

#[test]
fn a_killed_run_leaves_nothing_in_plain() {
    let workspace = encrypted();
    for delay in [20, 60, 120, 240, 400] {
        let mut command =
            workspace.command(&["run", "small.mlp", "--json", "--param", &format!("least={}", delay % 70)]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mlp starts");
        std::thread::sleep(Duration::from_millis(delay));
        _ = child.kill();
        child.wait().expect("a child");
        assert_eq!(holding(&workspace, PLANTED.as_bytes()), [] as [PathBuf; 0], "after {delay} ms");
        workspace.mlp(&["store", "verify"]).exits(0);
    }
    workspace.run("small.mlp", &[]).exits(0);
    assert_eq!(files_below(&plain_folder(&workspace)), [] as [PathBuf; 0]);
    assert_eq!(holding(&workspace, PLANTED.as_bytes()), [] as [PathBuf; 0]);
}

#[test]
fn a_merge_reads_what_is_encrypted_there_with_the_key_that_is_here() {
    let (there, here, keyless) = (encrypted(), encrypted(), small_pipeline());
    let ran = there.run("small.mlp", &[]).exits(0);
    let name = there.root.to_str().expect("a name");
    here.mlp(&["store", "merge", name]).exits(0);
    assert_eq!(holding(&here, PLANTED.as_bytes()), [] as [PathBuf; 0]);
    let again = here.run("small.mlp", &[]).exits(0);
    assert_eq!((again.steps(), again.digests()), ((0, 6, 0, 0), ran.digests()));
    keyless.mlp(&["store", "merge", name]).exits(1).says(&["it is encrypted there with a key that is not here"]);
}

/// Two regions with partitions of their own, and what is made of both.
fn regions() -> Workspace {
    let workspace = Workspace::new();
    let settings = "owner_idle_seconds: 0\nencryption: { partition: rest, keys: { folder: keys } }\n";
    workspace.write("mlp.yaml", settings);
    for (partition, byte) in [("rest", "11"), ("eu", "22"), ("us", "33")] {
        let path = format!("keys/{partition}.key");
        workspace.write(&path, byte.repeat(32) + "\n");
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(workspace.path(&path), mode).expect("rights");
        workspace.write(&format!("data/{partition}.csv"), format!("id\n{partition}-1\n{partition}-2\n"));
    }
    workspace.write(
        "regions.mlp",
        r#"pipeline regions
schema Row { id: str key }
for region in ["eu", "us"] as by_region {
  source raw = csv.read("data/" + region + ".csv", schema: Row) with { partition: region }
  step kept  = csv.write(raw)
}
source rest = csv.read("data/rest.csv", schema: Row)
step both   = sh("cat {f_eu} {f_us} > {all}", inputs: { f: by_region.kept }, outputs: { all: file })
step fixed  = csv.write(rest)
"#,
    );
    workspace
}

#[test]
fn what_is_made_of_a_partition_belongs_to_it_and_goes_with_its_key_alone() {
    let workspace = regions();
    let ran = workspace.run("regions.mlp", &[]).exits(0);
    let n_steps = ran.steps().0;
    let forgotten = workspace.mlp(&["erase", "eu", "--yes"]).exits(0);
    forgotten.says(&["is erased: its key is destroyed", "by_region[eu].kept", "both"]);
    let told = workspace.mlp(&["erase", "us"]).exits(0);
    assert!(told.stdout.contains("by_region[us].kept") && !told.stdout.contains("by_region[eu].kept"), "{told}");
    // What was made of both needs both keys.
    for (step, is_there) in
        [("by_region[us].kept", true), ("fixed", true), ("by_region[eu].kept", false), ("both", false)]
    {
        let name = ran.digests().into_iter().find(|(name, _)| name.starts_with(&format!("{step}."))).expect(step).1;
        let lineage = workspace.mlp(&["lineage", &name]).exits(0);
        assert_eq!(lineage.stdout.contains("erased"), !is_there, "{step}: {lineage}");
    }
    // Nobody may write with the erased key; with a new one, only what is gone runs again.
    let refused = workspace.mlp(&["run", "regions.mlp"]).exits(3);
    refused.says(&["the key of partition `eu` (`keys/eu.key`) is not there", "regions.mlp:4"]);
    workspace.write("keys/eu.key", "44".repeat(32) + "\n");
    let mode = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(workspace.path("keys/eu.key"), mode).expect("rights");
    let again = workspace.run("regions.mlp", &[]).exits(0);
    assert_eq!(again.executed(), ["both", "by_region[eu].kept", "by_region[eu].raw"]);
    assert_eq!(again.steps().0 + again.steps().1, n_steps);
    assert_eq!(again.digests(), ran.digests());
    workspace.mlp(&["store", "verify"]).exits(0);
}

#[test]
fn a_partition_without_a_key_or_without_encryption_is_told_before_anything_runs() {
    let workspace = regions();
    std::fs::remove_file(workspace.path("keys/us.key")).expect("removed");
    let told = ["step `by_region[us].raw`: its outputs cannot be kept", "`keys/us.key`) is not there", "regions.mlp:4"];
    workspace.mlp(&["run", "regions.mlp"]).exits(3).says(&told);
    assert_eq!(workspace.json(&["runs"]), serde_json::json!([]));
    workspace.write("mlp.yaml", "owner_idle_seconds: 0\n");
    let refused = workspace.mlp(&["run", "regions.mlp"]).exits(3);
    refused.says(&["the key of partition `eu`", "say in mlp.yaml where keys are", "regions.mlp:4"]);
}
