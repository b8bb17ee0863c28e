use std::collections::BTreeMap;
use std::ffi::OsString;

use clap::Parser;

use super::question::Asked;
use crate::args::{Cli, Command};

fn asked(args: &[&str]) -> Option<Asked> {
    Asked::parse(args.iter().map(OsString::from))
}

/// As clap reads the same arguments, if they are a run with none but the known options.
fn parsed(args: &[&str]) -> Option<Asked> {
    let cli = Cli::try_parse_from(std::iter::once(&"mlp").chain(args)).ok()?;
    let Command::Run(run) = cli.command else { return None };
    let mut params = BTreeMap::new();
    for param in &run.pipeline.values.params {
        let (name, value) = param.split_once('=')?;
        if params.insert(name.trim().to_owned(), value.to_owned()).is_some() {
            return None;
        }
    }
    let colour = args.iter().any(|arg| arg.starts_with("--color")).then_some(cli.color);
    let file = run.pipeline.file.to_str()?.to_owned();
    let (profile, as_of) = (run.pipeline.values.profile, run.pipeline.values.as_of);
    Some(Asked { file, targets: run.work.targets, params, profile, as_of, json: cli.json, colour })
}

#[test]
fn what_is_read_here_is_what_the_parser_reads() {
    let known: &[&[&str]] = &[
        &["run", "a.mlp"],
        &["run", "a.mlp", "--json"],
        &["run", "--json", "a.mlp", "fit", "report"],
        &["run", "a.mlp", "--param", "lr=1e-3", "--param=cut= 5", "-j", "2", "-k"],
        &["run", "a.mlp", "--jobs=3", "--keep-going", "--color", "never"],
        &["run", "--color=always", "a.mlp", "--param", "x="],
        &["run", "a.mlp", "--profile", "prod", "--param", "x=1"],
        &["run", "--profile=", "a.mlp"],
        &["run", "a.mlp", "--as-of", "2026-09-01"],
    ];
    for args in known {
        assert!(asked(args).is_some(), "{args:?}");
        assert_eq!(asked(args), parsed(args), "{args:?}");
    }
}

#[test]
fn what_is_not_known_here_is_left_to_the_parser() {
    let unknown: &[&[&str]] = &[
        &[],
        &["run"],
        &["plan", "a.mlp"],
        &["--json", "run", "a.mlp"],
        &["run", "a.mlp", "--force", "fit"],
        &["run", "a.mlp", "--help"],
        &["run", "a.mlp", "--json", "--json"],
        &["run", "a.mlp", "--json=yes"],
        &["run", "a.mlp", "-j", "0"],
        &["run", "a.mlp", "-j2"],
        &["run", "a.mlp", "-j"],
        &["run", "a.mlp", "-j", "2", "--jobs", "2"],
        &["run", "a.mlp", "--param", "x"],
        &["run", "a.mlp", "--param", "--json"],
        &["run", "a.mlp", "--param", "x=1", "--param", "x=2"],
        &["run", "a.mlp", "--color", "red"],
        &["run", "a.mlp", "--profile"],
        &["run", "a.mlp", "--profile", "dev", "--profile", "prod"],
        &["run", "a.mlp", "--", "fit"],
        &["run", "a.mlp", "-"],
    ];
    for args in unknown {
        assert_eq!(asked(args), None, "{args:?}");
    }
}

/// Whatever the two make of random arguments, they never read different questions.
#[test]
fn random_arguments_are_never_read_differently() {
    let words = [
        "run",
        "a.mlp",
        "fit",
        "--json",
        "--param",
        "x=1",
        "--param=y=2",
        "-j",
        "2",
        "--jobs=1",
        "-k",
        "--color",
        "auto",
        "--force",
        "-",
        "--profile",
        "--profile=dev",
        "--as-of=2026-09-01",
    ];
    let mut state = 7_u64;
    let mut n_known = 0;
    for _ in 0..20_000 {
        let mut args = vec!["run"];
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let mut rest = state >> 20;
        for _ in 0..rest % 7 {
            rest /= 7;
            args.push(words[rest as usize % words.len()]);
            rest /= 3;
        }
        if let Some(asked) = asked(&args) {
            n_known += 1;
            assert_eq!(Some(asked), parsed(&args), "{args:?}");
        }
    }
    assert!(n_known > 1000, "only {n_known} of them meant something");
}
