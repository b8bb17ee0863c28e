use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::atomic::AtomicBool;

use mlp_model::{ArtifactKind, ErrorClass, Runner, SmallFiles, Type};
use tempfile::TempDir;

use super::support::Fixture;
use crate::TabularRunner;

#[test]
fn a_file_passes_without_what_the_store_keeps_behind_it() {
    let bytes = vec![7; 9 << 20];
    let fixture = Fixture::new("file").file("path", "data/a.bin", &bytes);
    let outcome = fixture.run().unwrap();
    assert_eq!(outcome.outputs["out"].kind, ArtifactKind::File);
    assert!(fs::read(&outcome.outputs["out"].path).unwrap() == bytes);
}

#[test]
fn in_memory_a_file_is_the_same_and_one_that_is_gone_or_too_short_is_named() {
    let mut fixture = Fixture::new("file").file("path", "data/a.txt", b"one\ntwo\n");
    let expected = fixture.run().unwrap();
    let (runner, files) = (TabularRunner::new(1), SmallFiles::default());
    fixture.step.work_dir = "/dev/null/out".into();
    let execute = |fixture: &Fixture| runner.execute(&fixture.step, &files, &AtomicBool::new(false));
    let made = execute(&fixture).unwrap();
    assert_eq!((made.facts, made.outputs["out"].kind), (expected.facts, ArtifactKind::File));
    assert_eq!(files.get(&made.outputs["out"].path).as_deref(), Some(&b"one\ntwo\n"[..]));
    let path = fixture.step.inputs["path"].path.clone();
    for is_gone in [false, true] {
        if is_gone {
            fs::remove_file(&path).unwrap();
        } else {
            fs::write(&path, "one").unwrap();
        }
        let error = execute(&fixture).unwrap_err();
        assert_eq!(error.class, ErrorClass::Environment);
        assert!(error.message.contains("`data/a.txt`"), "{}", error.message);
    }
}

#[test]
fn a_folder_passes_with_the_executable_bit_and_nothing_else_of_its_modes() {
    let source = TempDir::new().unwrap();
    fs::create_dir(source.path().join("bin")).unwrap();
    fs::write(source.path().join("bin/run.sh"), "echo").unwrap();
    fs::set_permissions(source.path().join("bin/run.sh"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(source.path().join("a.txt"), "a").unwrap();
    fs::set_permissions(source.path().join("a.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut fixture = Fixture::new("folder");
    fixture.input("path", "data/kit", source.path().to_owned(), Type::Folder, 0);
    let outcome = fixture.run().unwrap();
    assert_eq!((outcome.facts["files"], outcome.facts["bytes"]), (2.0, 5.0));
    assert_eq!(outcome.outputs["out"].kind, ArtifactKind::Folder);
    let mode = |path: &str| fs::metadata(fixture.out().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bin/run.sh"), mode("a.txt")), (0o755, 0o644));
}

#[test]
fn a_folder_with_links_is_refused() {
    let source = TempDir::new().unwrap();
    symlink("/etc/passwd", source.path().join("link")).unwrap();
    let mut fixture = Fixture::new("folder");
    fixture.input("path", "data/kit", source.path().to_owned(), Type::Folder, 0);
    let error = fixture.error();
    assert_eq!((error.class, error.message.as_str()), (ErrorClass::User, "`data/kit/link` is a symbolic link"));
}
