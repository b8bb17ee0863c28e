//! Facts about what a `sh` step sees and what becomes of its outputs, with real processes.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::{Running, Step, names, runner, wait_until};
use mlp_model::{
    ArtifactKind, Call, CallClass, Digest, ErrorClass, Input, InputFile, Named, Options, ReportType, Runner, Type,
    Value,
};
use mlp_process::{Means, ProcessRunner, Workshop};

fn list(names: &[&str]) -> Value {
    Value::List(names.iter().map(|name| Value::Str((*name).to_owned())).collect())
}

fn record(fields: &[(&str, &str)]) -> Value {
    Value::Record(fields.iter().map(|(name, text)| ((*name).to_owned(), Value::Str((*text).to_owned()))).collect())
}

#[test]
fn files_and_folders_are_delivered_with_plain_modes_and_nothing_else() {
    let step = Step::new(
        "sort {words} > {sorted}; chmod 600 {sorted}; echo kept > scrap
         mkdir -p {parts}/deep; echo 1 > {parts}/one; cp {words} {parts}/deep/run; chmod 711 {parts}/deep/run
         chmod 000 {parts}/one",
        &["sorted", "parts/"],
    )
    .with_file("words", "b\na\n");
    let outcome = step.run().unwrap();
    assert_eq!(outcome.outputs["sorted"].kind, ArtifactKind::File);
    assert_eq!(outcome.outputs["parts"].kind, ArtifactKind::Folder);
    assert_eq!(outcome.outputs.len(), 2);
    let parts = &outcome.outputs["parts"].path;
    for (path, text, mode) in [
        (&outcome.outputs["sorted"].path, "a\nb\n", 0o644),
        (&parts.join("one"), "1\n", 0o644),
        (&parts.join("deep/run"), "b\na\n", 0o755),
    ] {
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode, "{}", path.display());
        assert!(path.starts_with(&step.start.work_dir));
    }
    assert_eq!(names(&step.start.work_dir.join("outputs")), [PathBuf::from("parts"), PathBuf::from("sorted")]);
}

#[test]
fn the_memory_of_all_programs_of_a_step_is_measured_together() {
    // `tail` holds what it will say until somebody listens.
    let held = "head -c 50M /dev/zero | tail -c 50M | (sleep 1; cat > /dev/null)";
    let all = Means::default();
    for means in [all, Means { cgroups: false, ..all }] {
        let step = Step::new(&format!("{held} & {held}; wait; touch {{o}}"), &["o"]);
        let outcome = step.run_with(&runner().with_means(means)).0.unwrap();
        let peak = outcome.peak_mem_bytes.unwrap();
        assert!((100 << 20..200 << 20).contains(&peak), "{peak}");
    }
}

#[test]
fn an_output_that_was_not_made_is_named_with_what_was_made_instead() {
    let error = Step::new("echo x > {plot}.png; echo y > out/notes", &["plot"]).error();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "P2011"));
    assert_eq!(error.message, "the command succeeded, but did not make its output `plot`");
    assert_eq!(error.detail, ["made: out/notes", "made: out/plot.png"]);
    assert!(error.help.unwrap().contains("`out/plot`"));
}

#[test]
fn outputs_that_are_no_files_and_folders_of_the_step_are_refused() {
    let cases = [
        ("echo x > y; ln -s ../y {o}", "o", "output `o` is a link; an output must hold its own bytes"),
        ("ln -s /nowhere {o}", "o", "output `o` is a link; an output must hold its own bytes"),
        ("mkdir f; ln -s ../f {o}", "o/", "output `o` is a link; an output must hold its own bytes"),
        ("mkfifo {o}", "o", "output `o` is a named pipe; an output consists of files and folders"),
        ("mkdir -p {o}/a; ln -s /etc/passwd {o}/a/b", "o/", "`out/o/a/b` is a link; an output must hold its own bytes"),
        ("mkdir {o}; mkfifo {o}/p", "o/", "`out/o/p` is a named pipe; an output consists of files and folders"),
        ("mkdir {o}", "o", "output `o` is declared as a file, but the command made a folder"),
        ("echo > {o}", "o/", "output `o` is declared as a folder, but the command made a file"),
        ("rm -r out; ln -s /etc out", "passwd", "the command removed or replaced its own folder `out`"),
        ("rm -r ../sh; ln -s / ../sh", "o", "the command removed or replaced its own folder `.`"),
        ("mkdir {o}; touch {o}/$(printf '\\377')", "o/", "the name of `out/o/\u{fffd}` is not UTF-8"),
    ];
    for (command, output, message) in cases {
        // A confined step cannot even try some of it.
        let error = Step::new(command, &[output]).with_param("confine", Value::Str("off".to_owned())).error();
        assert_eq!((error.class, error.message.as_str()), (ErrorClass::Step, message), "{command}");
    }
}

#[test]
fn an_output_never_shares_its_bytes_with_another_name() {
    let step = Step::new("echo made > kept; ln kept {o}; mkdir {f}; ln kept {f}/x; ln kept ../outside", &["o", "f/"])
        .with_param("confine", Value::Str("off".to_owned()));
    let outcome = step.run().unwrap();
    std::fs::write(step.start.work_dir.join("outside"), "changed later").unwrap();
    for path in [&outcome.outputs["o"].path, &outcome.outputs["f"].path.join("x")] {
        assert_eq!(std::fs::read_to_string(path).unwrap(), "made\n");
    }
}

#[test]
fn a_step_cannot_change_what_it_reads() {
    let step = Step::new("chmod u+w {raw}; echo more >> {raw}; cat {raw} > {o}", &["o"]).with_file("raw", "a,b\n");
    let object = &step.start.inputs["inputs.raw"].path;
    let before = std::fs::read(object).unwrap();
    assert_eq!(step.output("o"), "a,b\nmore\n", "the payload alone is seen");
    assert_eq!(std::fs::read(object).unwrap(), before);
}

#[test]
fn no_object_of_the_store_is_a_hard_link_of_what_a_step_can_write() {
    for confine in ["on", "off"] {
        let mut step = Step::new("stat -c %i {raw} {code}/fit.py; cp {raw} {o}", &["o"])
            .with_file("raw", "a,b\n")
            .with_param("confine", Value::Str(confine.to_owned()));
        let code = step.place.path().join("code");
        std::fs::create_dir(&code).unwrap();
        std::fs::write(code.join("fit.py"), "print(1)").unwrap();
        let object = step.start.inputs["inputs.raw"].path.clone();
        let input = InputFile {
            digest: Digest::of(b""),
            ty: Type::Folder,
            path: code.clone(),
            size_bytes: 0,
            shown: "code".to_owned(),
        };
        step.start.inputs.insert("inputs.code".to_owned(), input);
        let (result, lines) = step.run_with(&runner());
        let made = result.unwrap().outputs["o"].path.clone();
        for path in [&object, &code.join("fit.py")] {
            let found = path.metadata().unwrap();
            assert_eq!(found.nlink(), 1, "{}", path.display());
            assert!(!lines.contains(&found.ino().to_string()));
        }
        assert_eq!(made.metadata().unwrap().nlink(), 1);
    }
}

#[test]
fn bits_that_lend_rights_are_dropped() {
    let step = Step::new(
        "cp /bin/true {o}; chmod 6755 {o}; mkdir {f}; cp /bin/true {f}/x; chmod 6711 {f}/x; chmod 3777 {f}",
        &["o", "f/"],
    );
    let outcome = step.run().unwrap();
    let folder = outcome.outputs["f"].path.clone();
    for (path, mode) in [(outcome.outputs["o"].path.clone(), 0o755), (folder.join("x"), 0o755), (folder, 0o755)] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, mode, "{}", path.display());
    }
}

#[test]
fn sockets_and_devices_are_refused_as_outputs() {
    let socket =
        r#"perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("out/o")) or die $!'"#;
    let error = Step::new(socket, &["o"]).error();
    assert_eq!(error.message, "output `o` is a socket; an output consists of files and folders");
    if rustix::process::geteuid().is_root() {
        let step = Step::new("mknod {o} c 1 3", &["o"]).with_param("confine", Value::Str("off".to_owned()));
        assert_eq!(step.error().message, "output `o` is a device; an output consists of files and folders");
        assert!(Step::new("mknod {o} c 1 3", &["o"]).error().message.contains("exit code"), "confined, none is made");
    }
}

#[test]
fn folders_come_as_copies_that_keep_what_is_executable() {
    let mut step = Step::new("{code}/bin/hello > {o}; echo evil > {code}/new; rm -rf {code}/data", &["o"]);
    let code = step.place.path().join("code");
    std::fs::create_dir_all(code.join("bin")).unwrap();
    std::fs::create_dir(code.join("data")).unwrap();
    std::fs::write(code.join("data/x"), "x").unwrap();
    std::fs::write(code.join("bin/hello"), "#!/bin/sh\necho hello\n").unwrap();
    std::fs::set_permissions(code.join("bin/hello"), PermissionsExt::from_mode(0o755)).unwrap();
    let input = InputFile {
        digest: Digest::of(b""),
        ty: Type::Folder,
        path: code.clone(),
        size_bytes: 0,
        shown: "code".to_owned(),
    };
    step.start.inputs.insert("inputs.code".to_owned(), input);
    assert_eq!(step.output("o"), "hello\n");
    assert_eq!(names(&code), [PathBuf::from("bin"), PathBuf::from("data")]);
    assert!(code.join("data/x").exists());
}

#[test]
fn the_environment_holds_what_is_declared_and_no_more() {
    let step = Step::new("env | cut -d= -f1 | sort > {o}", &["o"])
        .with_param("env", record(&[("GREETING", "hello"), ("HOME", "elsewhere")]));
    let seen = step.output("o");
    let expected = "CUDA_VISIBLE_DEVICES\nGREETING\nHOME\nLC_CTYPE\nPATH\nPWD\nSOURCE_DATE_EPOCH\nTMPDIR\nTZ\n";
    assert_eq!(seen, expected);

    let step = Step::new(
        "echo $GREETING $LC_CTYPE $TZ > {o}; test $HOME = $PWD; test $TMPDIR = $PWD/tmp; umask >> {o}",
        &["o"],
    )
    .with_param("env", record(&[("GREETING", "two  words")]));
    assert_eq!(step.output("o"), "two words C.UTF-8 UTC\n0022\n");

    let step = Step::new("test ! -t 0; cat > {o}; test ! -e /proc/self/fd/3", &["o"]);
    assert_eq!(step.output("o"), "", "standard input is empty");
}

#[test]
fn passed_variables_and_file_names_stand_in_the_key_and_are_what_the_step_sees() {
    let mut step = Step::new("echo $TOKEN > {o}; ls in >> {o}; cat {raw} >> {o}", &["o"])
        .with_param("pass_env", list(&["TOKEN"]))
        .with_file("raw", "rows\n")
        .with_file("fit", "weights\n");
    let from_path = |shown: &str| Input::Path { path: "/x".into(), shown: shown.to_owned(), folder: false };
    let call = Call {
        class: CallClass::Step,
        op: "sh".into(),
        op_version: 1,
        runner: "process".into(),
        params: step.start.params.clone(),
        inputs: Named::from([
            ("inputs.raw".to_owned(), from_path("data/telco.csv")),
            ("inputs.fit".to_owned(), Input::Output { node: 0, output: "out".into() }),
        ]),
        outputs: Vec::new(),
        options: Options::default(),
        arg_spans: Named::new(),
    };
    let environment = runner().environment(&call).unwrap();
    let expected = [("env.TOKEN", "t-0"), ("file.raw", "raw.csv")];
    assert_eq!(environment, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    // The environment of mlp may change between the two.
    step.start.environment = environment;
    step.start.environment.insert("env.TOKEN".to_owned(), "as in the key".to_owned());
    assert_eq!(step.output("o"), "as in the key\nfit\nraw.csv\nrows\n");

    let missing = Call { params: Step::new("", &[]).with_param("pass_env", list(&["ABSENT"])).start.params, ..call };
    let error = runner().environment(&missing).unwrap_err();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::User, "P2003"));
    assert_eq!(error.message, "`pass_env` names the variable `ABSENT`, which is not set");
}

#[test]
fn inputs_have_the_extension_of_their_kind() {
    let mut step = Step::new("ls in > {o}", &["o"]).with_file("quality", "{}");
    step.start.inputs.get_mut("inputs.quality").unwrap().ty = Type::Report(ReportType::default().into());
    assert_eq!(step.output("o"), "quality.json\n");
}

#[test]
fn what_is_placed_stands_where_a_program_looks_for_it() {
    let mut step = Step::new(
        "find . -mindepth 1 | sort > list; ./run.sh < data/raw.csv > models/a/m.bin
         grep -v tmp list > notes; cat params.yaml >> notes; mkdir plots; echo 1 > plots/one; echo {model} {raw} >> notes",
        &["model", "notes", "plots/"],
    )
    .with_file("raw", "b\na\n")
    .with_file("script", "#!/bin/sh\nsort\n")
    .with_param(
        "at",
        record(&[
            ("raw", "data/raw.csv"),
            ("script", "run.sh"),
            ("code", "data"),
            ("model", "models/a/m.bin"),
            ("notes", "notes"),
            ("plots", "plots"),
        ]),
    )
    .with_param("texts", record(&[("params.yaml", "seed: 7\n")]));
    let code = step.place.path().join("code");
    std::fs::create_dir(&code).unwrap();
    std::fs::write(code.join("extra"), "x").unwrap();
    let input =
        InputFile { digest: Digest::of(b""), ty: Type::Folder, path: code, size_bytes: 0, shown: "code".to_owned() };
    step.start.inputs.insert("inputs.code".to_owned(), input);
    let outcome = step.run().unwrap();
    let read = |name: &str| std::fs::read_to_string(&outcome.outputs[name].path).unwrap();
    assert_eq!(read("model"), "a\nb\n");
    let seen = "./data\n./data/extra\n./data/raw.csv\n./list\n./models\n./models/a\n./params.yaml\n./run.sh\n";
    assert_eq!(read("notes"), format!("{seen}seed: 7\nmodels/a/m.bin data/raw.csv\n"));
    assert_eq!(names(&outcome.outputs["plots"].path), [PathBuf::from("one")]);
}

#[test]
fn outputs_that_may_be_left_out_are_taken_if_they_are_there() {
    let kinds = record(&[("model", "file"), ("notes", "file?"), ("plots", "folder?"), ("deep", "file?")]);
    let step = |command: &str| {
        let step = Step::new(command, &["model", "notes", "plots/", "deep"]).with_param("outputs", kinds.clone());
        step.with_param("at", record(&[("deep", "a/b/deep")]))
    };
    let taken = |command: &str| step(command).run().unwrap().outputs.into_keys().collect::<Vec<_>>();
    assert_eq!(taken("echo > {model}; rm -r a"), ["model"]);
    assert_eq!(
        taken("echo > {model}; echo > {notes}; mkdir {plots}; echo > {deep}"),
        ["deep", "model", "notes", "plots"]
    );
    // One that must be there, or is something else, is refused as ever.
    assert_eq!(step("echo > {notes}").error().code, "P2011");
    assert_eq!(step("echo > {model}; mkdir {notes}").error().code, "P2012");
    assert_eq!(step("echo > {model}; ln -s nowhere {notes}").error().class, ErrorClass::Step);
}

#[test]
fn a_placed_output_that_was_not_made_or_leads_out_is_refused() {
    let placed = |command: &str| {
        let step = Step::new(command, &["o"]).with_param("at", record(&[("o", "models/a/m.bin")]));
        step.with_param("confine", Value::Str("off".to_owned())).error()
    };
    let error = placed("echo x > models/a/n.bin");
    assert_eq!(
        (error.code.as_str(), error.detail.as_slice()),
        ("P2011", ["made: models/a/n.bin".to_owned()].as_slice())
    );
    assert!(error.help.unwrap().contains("`models/a/m.bin`"));
    let error = placed("rm -r models");
    assert_eq!(error.message, "the command succeeded, but did not make its output `o`");
    for command in ["rm -r models; ln -s /etc models", "rm -r models/a; ln -s /etc models/a"] {
        let error = placed(command);
        assert!(error.message.starts_with("the command removed or replaced its own folder `models"), "{error:?}");
    }
}

#[test]
fn a_file_that_stands_in_the_way_of_a_placed_one_is_named() {
    let mut step =
        Step::new("true", &[]).with_file("raw", "x").with_param("at", record(&[("raw", "code/a"), ("code", "code")]));
    let code = step.place.path().join("code");
    std::fs::create_dir(&code).unwrap();
    std::fs::write(code.join("a"), "x").unwrap();
    let input =
        InputFile { digest: Digest::of(b""), ty: Type::Folder, path: code, size_bytes: 0, shown: "code".to_owned() };
    step.start.inputs.insert("inputs.code".to_owned(), input);
    let error = step.error();
    assert_eq!((error.class, error.code.as_str()), (ErrorClass::User, "P2002"));
    assert_eq!(error.message, "`raw` has no place at `code/a`: another input stands there");
}

#[test]
fn names_with_meaning_to_the_shell_are_only_names() {
    let odd = ["a b", "$(touch pwned)", "`touch pwned`", "'", "\"", "-rf", "x;y", "é*?[", "new\nline", "back\\slash"];
    for name in odd {
        let step = Step::new(&format!("test $(ls | wc -l) = 3; cat {{{name}}} > {{o}}; test ! -e pwned"), &["o"])
            .with_file(name, "seen");
        assert_eq!(step.output("o"), "seen", "{name}");
        let step = Step::new(&format!("echo made > {{{name}}}"), &[name]);
        assert_eq!(step.output(name), "made\n", "{name}");
    }
    for name in ["../up", "a/b", "..", ""] {
        let error = Step::new("true", &[name]).error();
        assert_eq!(error.message, format!("`{name}` cannot be the name of a file"));
    }
}

#[test]
fn the_first_failing_command_ends_the_step() {
    let step = Step::new("echo first; false; echo second > {o}", &["o"]);
    let (result, lines) = step.run_with(&runner());
    assert_eq!(result.unwrap_err().message, "command failed with exit code 1");
    assert_eq!(lines, ["first"]);
}

#[test]
fn a_failure_tells_how_it_ended() {
    let cases = [
        ("exit 3", "command failed with exit code 3"),
        ("exit 255", "command failed with exit code 255"),
        ("no-such-program", "command failed with exit code 127"),
        ("kill -SEGV $$", "the command was killed by SIGSEGV (invalid memory access)"),
        (
            "sh -c 'kill -KILL $$'; true",
            "command failed with exit code 137: a program in it was killed by SIGKILL (killed)",
        ),
    ];
    for (command, message) in cases {
        let error = Step::new(command, &[]).error();
        assert_eq!((error.class, error.code.as_str(), error.message.as_str()), (ErrorClass::Step, "P2006", message));
        assert!(error.help.is_some());
    }
    let unreadable = Step::new("echo a\0b", &[]).error();
    assert_eq!((unreadable.class, unreadable.code.as_str()), (ErrorClass::User, "P2002"));
}

#[test]
fn a_failure_shows_the_last_20_lines() {
    let step = Step::new("i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i >&2; done; exit 1", &[]);
    let (result, lines) = step.run_with(&runner());
    let numbered = |from: usize| (from..=50).map(|number| format!("line {number}")).collect::<Vec<_>>();
    assert_eq!(result.unwrap_err().detail, numbered(31));
    assert_eq!(lines, numbered(1));
}

#[test]
fn any_bytes_can_be_printed() {
    let step =
        Step::new(r"printf 'caf\351\n\000\n10 %%\r99 %%\nno end'; head -c 100000 /dev/zero | tr '\0' x >&2", &[]);
    let (result, mut lines) = step.run_with(&runner());
    result.unwrap();
    let long = lines.remove(lines.iter().position(|line| line.starts_with("xxx")).unwrap());
    assert!(long.len() < 10_000 && long.ends_with(".."));
    assert_eq!(lines, ["caf\u{fffd}", "\0", "99 %", "no end"]);
}

#[test]
fn much_output_neither_blocks_nor_gets_lost() {
    let step = Step::new("seq 1 200000; seq 1 200000 >&2", &[]);
    let (result, lines) = Running::start(&runner(), &step).finish();
    result.unwrap();
    assert_eq!(lines.len(), 400_000);
}

/// A runner with a place for the folders of steps, which are never removed while the test looks at them.
fn runner_with_workshop(place: &Path) -> ProcessRunner {
    let (place, n_made) = (place.to_owned(), AtomicUsize::new(0));
    let make = move || {
        let folder = place.join(n_made.fetch_add(1, Ordering::Relaxed).to_string());
        std::fs::create_dir(&folder).map(|()| folder)
    };
    let remove = |folder: &Path| _ = std::fs::remove_dir_all(folder);
    runner().with_workshop(Workshop { make: Arc::new(make), remove: Arc::new(remove) })
}

#[test]
fn a_step_finds_nothing_of_the_step_that_ran_in_its_folder_before() {
    let place = tempfile::tempdir().unwrap();
    let runner = runner_with_workshop(place.path());
    let litter = "echo made > {o}; echo x | tee left tmp/left out/left > /dev/null; mkdir -p .cache/deep out/deep; chmod 700 . tmp";
    let look = "touch {o}; find . | sort > {o}; stat -c %a . in out tmp >> {o}; cat {raw} >> {o}";
    for round in 0..3 {
        let step = Step::new(litter, &["o"]).with_file("raw", "rows\n");
        let made = step.run_with(&runner).0.unwrap().outputs["o"].path.clone();
        assert_eq!(std::fs::read_to_string(made).unwrap(), "made\n", "round {round}");
        let step = Step::new(look, &["o"]).with_file("raw", "others\n");
        let made = step.run_with(&runner).0.unwrap().outputs["o"].path.clone();
        let seen = std::fs::read_to_string(&made).unwrap();
        assert_eq!(seen, ".\n./in\n./in/raw\n./out\n./out/o\n./tmp\n755\n755\n755\n755\nothers\n", "round {round}");
        assert!(made.starts_with(&step.start.work_dir));
    }
    assert_eq!(names(place.path()).len(), 1, "one folder has served all");
    drop(runner);
    wait_until("the folder goes with its runner", || names(place.path()).is_empty());
}

#[test]
fn a_folder_in_which_a_step_failed_or_that_it_changed_does_not_serve_again() {
    let place = tempfile::tempdir().unwrap();
    let runner = runner_with_workshop(place.path());
    let mut seen = Vec::new();
    for command in [
        "echo > {o}",
        "exit 1",
        "echo > {o}; mv tmp gone; mkdir tmp",
        "echo > {o}; rmdir in",
        "echo > {o}; rmdir in; ln -s tmp in",
    ] {
        _ = Step::new(command, &["o"]).run_with(&runner);
        let step = Step::new("pwd > {o}; ls -A in tmp >> {o}", &["o"]);
        let made = step.run_with(&runner).0.unwrap().outputs["o"].path.clone();
        let (folder, rest) =
            std::fs::read_to_string(made).unwrap().split_once('\n').map(|(f, r)| (f.to_owned(), r.to_owned())).unwrap();
        assert_eq!(rest, "in:\n\ntmp:\n", "after {command}");
        seen.push(folder);
    }
    let n_changes = seen.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(n_changes, 4, "{seen:?}");
}

#[test]
fn a_folder_that_outlives_its_step_is_out_of_reach_of_what_the_step_left_behind() {
    let place = tempfile::tempdir().unwrap();
    let runner = runner_with_workshop(place.path());
    let hides = "echo > {o}; (setsid sh -c 'while :; do echo > tmp/late; done' < /dev/null > /dev/null 2>&1 &)";
    for _ in 0..5 {
        Step::new(hides, &["o"]).run_with(&runner).0.unwrap();
        let step = Step::new("sleep 0.02; ls -A tmp > {o}", &["o"]);
        let made = step.run_with(&runner).0.unwrap().outputs["o"].path.clone();
        assert_eq!(std::fs::read_to_string(made).unwrap(), "");
    }
}
