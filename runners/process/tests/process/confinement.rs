//! Facts about what a confined step can reach, and what it is told when it reaches for more.

use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::common::{Step, runner};
use mlp_model::{Digest, ErrorClass, InputFile, Type, Value};
use mlp_process::Means;

/// A step in a workspace with `data/x.csv`, a program `tools/fit` and other things that it does not declare.
fn step(command: &str) -> Step {
    let step = Step::new(&command.replace("DATA", "../../../data"), &["o"]);
    let root = root(&step);
    for folder in ["data", "data/deep", "tools"] {
        std::fs::create_dir(root.join(folder)).unwrap();
    }
    std::fs::write(root.join("data/x.csv"), "b\na\n").unwrap();
    std::fs::write(root.join("data/deep/y 2.csv"), "c\n").unwrap();
    std::fs::write(root.join("tools/fit"), "#!/bin/sh\necho fitted\n").unwrap();
    std::fs::set_permissions(root.join("tools/fit"), PermissionsExt::from_mode(0o755)).unwrap();
    symlink("data/x.csv", root.join("link.csv")).unwrap();
    step
}

fn root(step: &Step) -> PathBuf {
    step.place.path().canonicalize().unwrap()
}

fn with(mut step: Step, name: &str, value: Value) -> Step {
    step.start.params.insert(name.to_owned(), value);
    step
}

fn unconfined(command: &str) -> Step {
    with(step(command), "confine", Value::Str("off".to_owned()))
}

#[test]
fn an_undeclared_file_is_named_with_what_makes_it_an_input() {
    let cases = [
        ("cat DATA/x.csv > {o}", "read", "data/x.csv", "x: file"),
        ("cd DATA; cat x.csv > $OLDPWD/{o}", "read", "data/x.csv", "x: file"),
        ("ln -s $PWD/DATA/x.csv here; cat here > {o}", "read", "data/x.csv", "x: file"),
        ("cat ../../../link.csv > {o}", "read", "data/x.csv", "x: file"),
        ("cat DATA/deep/y* 2> /dev/null > {o} || true", "list the folder", "data/deep", "deep: folder"),
        // As the pipeline would name it; there is no such file in the step's folder.
        ("cat data/x.csv | sort > {o}", "read", "data/x.csv", "x: file"),
        ("cat ./data/deep/y* 2> /dev/null > {o} || true", "list the folder", "data/deep", "deep: folder"),
        ("tools/fit > {o}", "execute", "tools/fit", "fit: file"),
        ("cat 'DATA/deep/y 2.csv' > {o}", "read", "data/deep/y 2.csv", "y_2: file"),
        ("perl -e 'opendir(D, \"DATA\") or die' > {o}", "list the folder", "data", "data: folder"),
        ("../../../tools/fit > {o}", "execute", "tools/fit", "fit: file"),
        ("sh ../../../tools/fit > {o}", "read", "tools/fit", "fit: file"),
        // Nobody hears of the failure of the first command of a pipe.
        ("cat DATA/x.csv | sort > {o}", "read", "data/x.csv", "x: file"),
        ("cat DATA/x.csv > {o} 2> /dev/null || echo none > {o}", "read", "data/x.csv", "x: file"),
        // What is written to is read, too.
        ("perl -e 'open(F, \"+<\", \"DATA/x.csv\") or exit; print F 1'; exit 1", "write", "data/x.csv", ""),
    ];
    for (command, does, name, help) in cases {
        let error = step(command).error();
        assert_eq!((error.class, error.code.as_str()), (ErrorClass::Step, "P2015"), "{command}: {error:?}");
        let does = format!("the command tried to {does} `{name}`, which is ");
        assert!(error.message.starts_with(&does), "{command}: {}", error.message);
        if !help.is_empty() {
            assert_eq!(error.message, format!("{does}not an input of this step"));
            let argument = help.split(':').next().unwrap();
            let expected = format!(
                "add `{help}(\"{name}\")` to `inputs`, and write `{{{argument}}}` in the command where its path belongs"
            );
            assert_eq!(error.help.as_deref(), Some(expected.as_str()), "{command}");
        }
    }
}

#[test]
fn settings_that_a_tool_does_without_are_no_inputs() {
    let step = step("cat setup.cfg .env data/none.csv 2> /dev/null || echo none > {o}");
    std::fs::write(root(&step).join("setup.cfg"), "").unwrap();
    std::fs::write(root(&step).join(".env"), "").unwrap();
    assert_eq!(step.output("o"), "none\n");
}

#[test]
fn a_file_is_named_as_the_pipeline_would_name_it() {
    let mut step = step("cat DATA/deep/y* ../../../data/x.csv > {o}; exit 3");
    let root = root(&step);
    std::fs::create_dir(root.join("data/raw")).unwrap();
    std::fs::write(root.join("data/raw/z.csv"), "").unwrap();
    // The pipeline's file is in `data`.
    let input = InputFile {
        digest: Digest::of(b""),
        ty: Type::File,
        path: root.join("data/raw/z.csv"),
        size_bytes: 0,
        shown: "raw/z.csv".to_owned(),
    };
    step.start.inputs.insert("inputs.z".to_owned(), input);
    let error = step.error();
    assert_eq!(error.message, "the command tried to read `x.csv`, which is not an input of this step");
    assert_eq!(error.detail[0], "also refused: to list deep");
    assert_eq!(error.argument.as_deref(), Some("inputs"));
}

#[test]
fn nothing_outside_the_folder_is_changed() {
    let cases = [
        "echo more >> DATA/x.csv",
        "echo new > DATA/new.csv",
        "rm DATA/x.csv",
        "mkdir DATA/new",
        "mv DATA/x.csv .",
        "ln DATA/x.csv x.csv",
        "echo x > in.csv; mv in.csv DATA",
        "truncate -s 0 DATA/x.csv",
        "perl -e 'truncate(\"DATA/x.csv\", 0) or die'",
        "ln -s x DATA/link",
        "echo > ../escaped",
        "rm -r ../../work",
        "echo > /tmp/mlp-test-of-confinement",
        "mkfifo DATA/pipe",
    ];
    for command in cases {
        let step = step(&format!("{command}\necho done > {{o}}"));
        let error = step.error();
        assert!(["P2006", "P2015"].contains(&error.code.as_str()), "{command}: {error:?}");
        let data = root(&step).join("data");
        assert_eq!(std::fs::read_to_string(data.join("x.csv")).unwrap(), "b\na\n", "{command}");
        assert_eq!(std::fs::read_dir(&data).unwrap().count(), 2, "{command}");
        assert!(!step.start.work_dir.join("escaped").exists());
        assert!(!Path::new("/tmp/mlp-test-of-confinement").exists());
    }
    let error = step("echo x > DATA/../result.csv").error();
    assert_eq!(error.message, "the command tried to write `result.csv`, which is outside its folder");
}

#[test]
fn what_programs_need_of_a_system_is_there() {
    let cases = [
        "ls /usr /lib > {o}; cat /etc/passwd /proc/cpuinfo > /dev/null; head -c 8 /dev/urandom > /dev/null",
        "bash -c 'cat <(echo 1) /dev/fd/0 > >(cat)' > {o} < /dev/null; echo x > /dev/stderr; echo y | cat /dev/stdin",
        "f=$(mktemp); echo x > $f; seq 1 200000 | sort -r -S 1M | tail -1 > {o}; mkdir -p a/b; mv a/b c; rm -r a c $f",
        "perl -MFcntl -e 'print join q(,), map {{ -e $_ }} @INC' > {o}; awk 'BEGIN {{ print 1 }}' | tee x > y; cmp x y",
        "mkfifo p; (echo through > p &); cat p > {o}; (sleep 1 & kill $!; ! wait $!); nproc",
        "echo $$ > /dev/shm/mlp-test-$$; cat /dev/shm/mlp-test-$$ > {o}; rm /dev/shm/mlp-test-$$",
        "perl -MSocket -e 'socketpair(A, B, AF_UNIX, SOCK_STREAM, 0) or die $!' > {o}",
        r#"perl -MSocket -e 'socket(S, AF_UNIX, SOCK_STREAM, 0); bind(S, pack_sockaddr_un("s")); listen(S, 1);
           socket(C, AF_UNIX, SOCK_STREAM, 0); connect(C, pack_sockaddr_un("s")) or die $!' > {o}"#,
        "seq 1 300 | xargs -P 8 -n 1 sh -c 'cat ../sh/in/../in/* /etc/passwd 2> /dev/null | wc -c' > {o} || true",
    ];
    for command in cases {
        let (result, lines) = Step::new(command, &["o"]).run_with(&runner());
        assert!(result.is_ok(), "{command}: {result:?} {lines:?}");
    }
}

#[test]
fn a_python_on_the_path_finds_its_library() {
    let is_there = std::process::Command::new("python3").arg("--version").output();
    if !is_there.is_ok_and(|output| output.status.success()) {
        return;
    }
    let program = "import json, tempfile, subprocess, multiprocessing as m, sqlite3, zlib\n\
                   with m.Pool(2) as pool: print(sum(pool.map(abs, [-1, -2])), tempfile.mkdtemp() is not None)";
    let mut step = Step::new("python3 {code} > {o}", &["o"]).with_file("code", program);
    step.start.environment.insert("file.code".to_owned(), "code.py".to_owned());
    assert_eq!(step.output("o"), "3 True\n");
}

#[test]
fn other_processes_are_out_of_reach() {
    let own = std::process::id();
    let step = Step::new(&format!("! cat /proc/{own}/environ; ! kill -0 {own}; ! cat /proc/{own}/fd/0"), &[]);
    step.run().unwrap();
    let step = Step::new(&format!("ls /proc/{own}/root/ /proc/{own}/cwd/"), &[]);
    step.error();
}

#[test]
fn the_network_is_there_only_where_it_is_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let command = format!("bash -c 'echo hello > /dev/tcp/127.0.0.1/{port}'");
    let error = Step::new(&command, &[]).error();
    assert_eq!(error.code, "P2006");
    let help = "the command asked for the network, which a step has only with `network: true`";
    assert_eq!(error.help.as_deref(), Some(help));

    Step::new(&command, &[]).with_param("network", Value::Bool(true)).run().unwrap();
    let mut heard = String::new();
    listener.accept().unwrap().0.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "hello\n");

    // A program that can do without the network may try.
    let probe = "perl -MSocket -e 'print socket(S, AF_INET6, SOCK_DGRAM, 0) ? 1 : 0 + $!' > {o}";
    assert_eq!(Step::new(probe, &["o"]).output("o"), libc::EAFNOSUPPORT.to_string());
}

#[test]
fn a_step_without_network_reaches_nobody_who_has_one() {
    let cases = [
        // Raw packets, virtual machines, kernel messages; asking another process.
        ("socket(S, 17, SOCK_RAW, 0)", libc::EAFNOSUPPORT),
        ("socket(S, 40, SOCK_STREAM, 0)", libc::EAFNOSUPPORT),
        ("socket(S, 16, SOCK_RAW, 0)", libc::EAFNOSUPPORT),
        ("socket(S, AF_UNIX, SOCK_STREAM, 0) and connect(S, pack_sockaddr_un(\"../../../s\"))", libc::ECONNREFUSED),
        ("socket(S, AF_UNIX, SOCK_STREAM, 0) and connect(S, pack_sockaddr_un(\"link\"))", libc::ECONNREFUSED),
    ];
    for (call, errno) in cases {
        let step = Step::new(
            &format!("ln -s ../../../s link; perl -MSocket -e 'print +({call}) ? 0 : 0 + $!' > {{o}}"),
            &["o"],
        );
        let _listener = std::os::unix::net::UnixListener::bind(step.place.path().join("s")).unwrap();
        assert_eq!(step.output("o"), errno.to_string(), "{call}");
    }
    let ring = Step::new("perl -e 'syscall(425, 1, 0); print 0 + $!' > {o}", &["o"]);
    assert_eq!(ring.output("o"), libc::ENOSYS.to_string());
}

#[test]
fn an_unconfined_step_sees_everything() {
    assert_eq!(unconfined("cat DATA/x.csv > {o}; echo > DATA/new; kill -0 $PPID").output("o"), "b\na\n");
    let step = unconfined("grep NoNewPrivs /proc/self/status > {o}");
    assert_eq!(step.output("o"), "NoNewPrivs:\t0\n");
}

#[test]
fn lesser_kernels_do_what_they_can_and_say_so_once() {
    let all = Means::default();
    let read = |means| {
        let runner = runner().with_means(means);
        let step = step("cat DATA/x.csv > {o}");
        let (result, lines) = step.run_with(&runner);
        let (_, later) = Step::new("true", &[]).run_with(&runner);
        assert_eq!(later, Vec::<String>::new(), "told once");
        (result.map_err(|error| (error.code, error.help.unwrap_or_default())), lines)
    };
    let (result, lines) = read(all);
    assert_eq!((result.unwrap_err().0.as_str(), lines.len()), ("P2015", 1));

    let (result, lines) = read(Means { asks: false, ..all });
    let (code, help) = result.unwrap_err();
    assert_eq!(code, "P2006");
    assert!(help.contains("declared inputs"), "{help}");
    assert!(lines[0].starts_with("mlp: steps are confined, but what they are refused cannot be named"), "{lines:?}");

    let (result, lines) = read(Means { filters: false, ..all });
    assert_eq!(result.unwrap_err().0, "P2006");
    assert!(lines[0].starts_with("mlp: steps are confined to their files and kept from TCP"), "{lines:?}");

    let (result, lines) = read(Means { landlock: false, ..all });
    assert_eq!(result.unwrap_err().0, "P2015");
    assert!(lines[0].starts_with("mlp: the kernel has no Landlock"), "{lines:?}");

    let (result, lines) = read(Means { landlock: false, asks: false, ..all });
    assert!(result.is_ok());
    assert!(lines[0].starts_with("mlp: steps are not confined"), "{lines:?}");
}
