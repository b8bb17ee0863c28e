//! `mlp models`: what is released, the way back, and lifting a hold.

use mlp_engine::{Registry, RegistryError, VersionName};

use super::runs::when;
use crate::args::ModelsAction;
use crate::compile::open_workspace;
use crate::exit::Exit;
use crate::output::{Failure, Output};
use crate::wiring::{self, store_failure};

pub fn models(action: Option<ModelsAction>, output: &Output) -> Result<Exit, Failure> {
    let workspace = open_workspace(&super::here()?)?;
    let engine = wiring::engine(wiring::open_store(&workspace)?)?;
    match action {
        None => {
            let releases = engine.releases().map_err(store_failure)?;
            if output.json {
                output.print_json(&releases);
            } else if releases.is_empty() {
                output.note(
                    "Nothing is released in this workspace yet. A pipeline with a `release` does it on `mlp run`.",
                );
            } else {
                releases.iter().for_each(|release| output.print(text(release)));
            }
        }
        Some(ModelsAction::Rollback { name, to, reason }) => {
            let done = engine.rollback(&name, to.as_ref(), &reason).map_err(registry_failure)?;
            let (from, to) = (done.from.name(), done.to.name());
            if output.json {
                output.print_json(&serde_json::json!({
                    "release": name,
                    "from": done.from.version,
                    "to": done.to.version,
                    "held": done.from.version,
                }));
            } else {
                output.print(format!(
                    "{name}: v{from} -> v{to}. The whole bundle moved: {} -> {}.\n\
                     v{from} is held: `mlp run` will not release it again until `mlp models unhold {name}@{from}`.",
                    done.from.bundle.short(),
                    done.to.bundle.short(),
                ));
            }
        }
        Some(ModelsAction::Unhold { version }) => {
            let (name, version) = parse_model(&version);
            let version = version.ok_or_else(|| {
                Failure::usage(format!("`{name}` names no version")).with_help(format!("write {name}@N"))
            })?;
            engine.unhold(name, &version).map_err(registry_failure)?;
            if output.json {
                output.print_json(&serde_json::json!({ "release": name, "version": version.number, "held": false }));
            } else {
                output.print(format!("{name} v{version} is no longer held: a run may release it again."));
            }
        }
    }
    Ok(Exit::Done)
}

fn text(release: &Registry) -> String {
    let live = release
        .live_version()
        .map_or_else(|| "nothing live".to_owned(), |version| format!("v{} is live", version.name()));
    let mut lines = vec![format!("{}: {live}", release.release)];
    for version in release.versions.iter().rev() {
        let mark = if release.is_live(version) { "*" } else { " " };
        let held = match (&version.held, &version.held_because) {
            (true, Some(reason)) if !reason.is_empty() => format!("   held: {reason}"),
            (true, _) => "   held".to_owned(),
            _ => String::new(),
        };
        lines.push(format!(
            "  {mark} v{:<4} {}   released {}   run {}{held}",
            version.name().to_string(),
            version.bundle.short(),
            when(version.released_at),
            version.run
        ));
    }
    lines.join("\n")
}

/// Splits `churn@2` (or `churn@v2`) into the release's name and the version.
pub fn parse_model(text: &str) -> (&str, Option<VersionName>) {
    match text.split_once('@') {
        Some((name, version)) => match version.parse() {
            Ok(version) => (name, Some(version)),
            Err(_) => (text, None),
        },
        None => (text, None),
    }
}

pub fn registry_failure(error: RegistryError) -> Failure {
    let help = error.help();
    let mut failure = match error {
        RegistryError::Store(error) => store_failure(error),
        other => Failure::usage(other.to_string()),
    };
    failure.help = help.or(failure.help);
    failure
}

#[cfg(test)]
mod tests {
    use super::parse_model;

    #[test]
    fn a_version_may_be_written_with_or_without_v() {
        for (text, expected) in [("churn", None), ("churn@2", Some(2)), ("churn@v12", Some(12))] {
            assert_eq!(parse_model(text), ("churn", expected.map(super::VersionName::from)));
        }
        assert_eq!(parse_model("churn@x"), ("churn@x", None));
    }
}
