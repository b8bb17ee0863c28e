//! The settings of a workspace: what stands in its `mlp.yaml`, and what in it is wrong. Whether values fit the parameters
//! they are for is the compiler's business.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::Range;
use std::path::{Path, PathBuf};

use mlp_dsl::{SourceText, Written, did_you_mean};

use crate::quantities;
use crate::yaml::{self, Key, Kind, Problem, Yaml};

/// The settings file, at the workspace's root.
pub const SETTINGS_FILE: &str = "mlp.yaml";

/// `mlp.yaml`. Unknown keys are refused.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Steps that may run at once.
    pub jobs: Option<NonZeroUsize>,
    /// Seconds after which the store's owner process leaves when nobody needs it.
    pub owner_idle_seconds: Option<u64>,
    /// What runs may use of the machine, where that is not all there is.
    pub resources: Resources,
    /// The profile that counts if none is asked for.
    pub profile: Option<String>,
    pub profiles: BTreeMap<String, Profile>,
    /// Where the values of secrets come from that the environment does not have.
    pub secrets: BTreeMap<String, SecretFrom>,
    /// How the store encrypts, if it does.
    pub encryption: Option<EncryptionSettings>,
    /// The file itself, for places in it.
    pub source: Option<SourceText>,
}

#[derive(Debug, Clone, Default)]
pub struct Resources {
    /// Memory that steps may ask for together, in bytes.
    pub mem_bytes: Option<u64>,
    /// Named tokens, and how many steps may have one at once.
    pub tokens: BTreeMap<String, NonZeroU32>,
    /// UUIDs of the GPUs that steps may use; all of them if not given.
    pub gpus: Option<Vec<String>>,
}

/// Values for parameters that go together.
#[derive(Debug, Clone, Default)]
pub struct Profile {
    /// For every pipeline that has such a parameter.
    pub params: Vec<Entry>,
    /// For one pipeline: its name, where that stands, and the values.
    pub pipelines: Vec<(String, Range<usize>, Vec<Entry>)>,
}

/// Where the value of a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretFrom {
    /// A file; relative to the workspace's root.
    File(PathBuf),
    /// What a command of the shell prints.
    Command(String),
}

/// What everything that is computed in the workspace belongs to, and where keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncryptionSettings {
    pub partition: String,
    pub keys: KeysFrom,
}

/// Where the keys of partitions are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeysFrom {
    /// A folder with a file for each, `PARTITION.key`; relative to the workspace's root.
    Folder(PathBuf),
    /// Commands of the shell: what one of them prints is the key, the other one destroys it.
    Command { tell: String, destroy: Option<String> },
}

/// A value for a parameter.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub name_place: Range<usize>,
    pub written: Written,
    pub place: Range<usize>,
}

#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("cannot read `{path}`: {message}")]
    Unreadable { path: PathBuf, message: String },
    #[error("{}", told(.path, .text, .problems))]
    Wrong { path: PathBuf, text: String, problems: Vec<Problem> },
}

/// Tells each problem on a line of its own, with its place.
fn told(path: &Path, text: &str, problems: &[Problem]) -> String {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let line = |problem: &Problem| {
        let (line, column) = place_of(text, problem.place.start);
        format!("{file}:{line}:{column}: {}", problem.message)
    };
    match problems {
        [only] => line(only),
        many => {
            let lines: Vec<_> = many.iter().map(|problem| format!("\n  {}", line(problem))).collect();
            format!("`{file}` has {} mistakes{}", many.len(), lines.concat())
        }
    }
}

/// Returns line and column of a byte, both from 1, the column in characters.
pub fn place_of(text: &str, at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.trim_start_matches('\u{feff}').chars().count() + 1)
}

impl Settings {
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(SettingsError::Unreadable { path: path.to_owned(), message: e.to_string() }),
        };
        match Self::parse(&text) {
            Ok(settings) => Ok(Self { source: Some(SourceText { path: path.to_owned(), text }), ..settings }),
            Err(mut problems) => {
                problems.sort_by_key(|problem| problem.place.start);
                Err(SettingsError::Wrong { path: path.to_owned(), text, problems })
            }
        }
    }

    fn parse(text: &str) -> Result<Self, Vec<Problem>> {
        let root = yaml::parse(text).map_err(|problem| vec![problem])?;
        let mut reader = Reader { problems: Vec::new() };
        let settings = root.map(|root| reader.settings(&root)).unwrap_or_default();
        if reader.problems.is_empty() { Ok(settings) } else { Err(reader.problems) }
    }
}

/// Reads settings and collects what is wrong with them.
struct Reader {
    problems: Vec<Problem>,
}

impl Reader {
    fn settings(&mut self, root: &Yaml) -> Settings {
        let mut settings = Settings::default();
        let mut profile = None;
        for (key, value) in self.map(root, "the settings") {
            match key.text.as_str() {
                "jobs" => settings.jobs = self.number(value, "jobs", "a number from 1"),
                "owner_idle_seconds" => {
                    settings.owner_idle_seconds = self.number(value, "owner_idle_seconds", "a number of seconds");
                }
                "resources" => settings.resources = self.resources(value),
                "profile" => profile = self.text(value, "profile", "the name of a profile").map(|name| (name, value)),
                "profiles" => {
                    for (name, value) in self.map(value, "`profiles`") {
                        let profile = self.profile(&name.text, value);
                        settings.profiles.insert(name.text.clone(), profile);
                    }
                }
                "secrets" => {
                    for (name, value) in self.map(value, "`secrets`") {
                        let from = self.secret(name, value);
                        settings.secrets.extend(from.map(|from| (name.text.clone(), from)));
                    }
                }
                "encryption" => settings.encryption = self.encryption(key, value),
                _ => self.unknown(key, "is not a setting", SETTINGS),
            }
        }
        if let Some((name, value)) = profile {
            if !settings.profiles.contains_key(&name) {
                let message = format!("there is no profile `{name}`{}", did(&name, settings.profiles.keys()));
                self.problems.push(Problem::new(&value.place, message));
            }
            settings.profile = Some(name);
        }
        settings
    }

    fn resources(&mut self, value: &Yaml) -> Resources {
        let mut resources = Resources::default();
        for (key, value) in self.map(value, "`resources`") {
            match key.text.as_str() {
                "mem" => {
                    let mem = self.text(value, "resources.mem", "an amount of memory such as `8 GiB`");
                    resources.mem_bytes = mem.and_then(|text| {
                        let bytes = quantities::size(&text).ok().filter(|bytes| *bytes > 0);
                        if bytes.is_none() {
                            let message = format!("`{text}` is no amount of memory; write `8 GiB`, for example");
                            self.problems.push(Problem::new(&value.place, message));
                        }
                        bytes
                    });
                }
                "tokens" => {
                    for (name, value) in self.map(value, "`resources.tokens`") {
                        let what = format!("resources.tokens.{}", name.text);
                        let n = self.number(value, &what, "a number from 1");
                        resources.tokens.extend(n.map(|n| (name.text.clone(), n)));
                    }
                }
                "gpus" => match &value.kind {
                    Kind::List(items) => {
                        let gpus = items.iter().filter_map(|item| self.text(item, "resources.gpus", "a list of UUIDs"));
                        resources.gpus = Some(gpus.collect());
                    }
                    _ => self.wrong(value, "resources.gpus", "a list of UUIDs"),
                },
                _ => self.unknown(key, "is not a setting of `resources`", &["mem", "tokens", "gpus"]),
            }
        }
        resources
    }

    fn profile(&mut self, name: &str, value: &Yaml) -> Profile {
        let mut profile = Profile::default();
        for (key, value) in self.map(value, &format!("profile `{name}`")) {
            match key.text.as_str() {
                "params" => profile.params = self.entries(value, "`params`"),
                "pipelines" => {
                    for (name, value) in self.map(value, "`pipelines`") {
                        let entries = self.entries(value, &format!("pipeline `{}`", name.text));
                        profile.pipelines.push((name.text.clone(), name.place.clone(), entries));
                    }
                }
                _ => self.unknown(key, "is not part of a profile", &["params", "pipelines"]),
            }
        }
        profile
    }

    /// Says nothing of what stands in a wrong place: it may be the secret itself.
    fn secret(&mut self, name: &Key, value: &Yaml) -> Option<SecretFrom> {
        let field = match &value.kind {
            Kind::Map(fields) if fields.len() == 1 => fields.first(),
            _ => None,
        };
        let from = field.and_then(|(key, value)| match (key.text.as_str(), &value.kind) {
            ("file", Kind::Scalar(path, _)) if !path.is_empty() => Some(SecretFrom::File(path.into())),
            ("command", Kind::Scalar(command, _)) if !command.is_empty() => Some(SecretFrom::Command(command.clone())),
            _ => None,
        });
        if from.is_none() {
            let message = format!(
                "secret `{}` must say where it comes from: `{{ file: PATH }}` or `{{ command: .. }}`; \
                 its value never stands here",
                name.text
            );
            self.problems.push(Problem::new(&name.place, message));
        }
        from
    }

    fn encryption(&mut self, key: &Key, value: &Yaml) -> Option<EncryptionSettings> {
        let (mut partition, mut keys) = (None, None);
        let fields = self.map(value, "`encryption`");
        for (key, value) in fields {
            match key.text.as_str() {
                "partition" => partition = self.partition(value),
                "keys" => keys = self.keys(key, value),
                _ => self.unknown(key, "is not a setting of `encryption`", &["partition", "keys"]),
            }
        }
        for name in ["partition", "keys"].into_iter().filter(|name| !fields.iter().any(|(key, _)| key.text == *name)) {
            self.problems.push(Problem::new(&key.place, format!("`encryption` does not say `{name}`")));
        }
        Some(EncryptionSettings { partition: partition?, keys: keys? })
    }

    /// A partition's name is part of a file's name.
    fn partition(&mut self, value: &Yaml) -> Option<String> {
        let name = self.text(value, "encryption.partition", "a name")?;
        let is_name = mlp_model::is_partition_name(&name);
        if !is_name {
            let message = format!("`{name}` is no name of a partition: letters, digits, `-`, `_` and `.`, at most 64");
            self.problems.push(Problem::new(&value.place, message));
        }
        is_name.then_some(name)
    }

    /// Says nothing of what stands in a wrong place: it may be a key.
    fn keys(&mut self, name: &Key, value: &Yaml) -> Option<KeysFrom> {
        let fields = match &value.kind {
            Kind::Map(fields) => fields.as_slice(),
            _ => &[],
        };
        let text = |name: &str| {
            let field = fields.iter().find(|(key, _)| key.text == name)?;
            match &field.1.kind {
                Kind::Scalar(text, _) if !text.is_empty() => Some(text.clone()),
                _ => None,
            }
        };
        let from = match (text("folder"), text("command"), text("destroy"), fields.len()) {
            (Some(folder), None, None, 1) => Some(KeysFrom::Folder(folder.into())),
            (None, Some(tell), None, 1) => Some(KeysFrom::Command { tell, destroy: None }),
            (None, Some(tell), Some(destroy), 2) => Some(KeysFrom::Command { tell, destroy: Some(destroy) }),
            _ => None,
        };
        if from.is_none() {
            let message = "`encryption.keys` must say where keys are: `{ folder: PATH }`, or `{ command: .., destroy: .. }`; \
                           a key never stands here";
            self.problems.push(Problem::new(&name.place, message));
        }
        from
    }

    fn entries(&mut self, value: &Yaml, what: &str) -> Vec<Entry> {
        let entry = |(key, value): &(Key, Yaml)| Entry {
            name: key.text.clone(),
            name_place: key.place.clone(),
            written: written(value),
            place: if value.place.is_empty() { key.place.clone() } else { value.place.clone() },
        };
        self.map(value, what).iter().map(entry).collect()
    }

    /// Returns the fields of a mapping; a key without a value is an empty one.
    fn map<'y>(&mut self, yaml: &'y Yaml, what: &str) -> &'y [(Key, Yaml)] {
        match &yaml.kind {
            Kind::Map(fields) => fields,
            Kind::Scalar(text, true) if text.is_empty() => &[],
            _ => {
                self.problems
                    .push(Problem::new(&yaml.place, format!("{what} must be a mapping, `NAME: ..` on each line")));
                &[]
            }
        }
    }

    fn text(&mut self, yaml: &Yaml, what: &str, wanted: &str) -> Option<String> {
        match &yaml.kind {
            Kind::Scalar(text, _) if !text.is_empty() => Some(text.clone()),
            _ => {
                self.wrong(yaml, what, wanted);
                None
            }
        }
    }

    fn number<T: std::str::FromStr>(&mut self, yaml: &Yaml, what: &str, wanted: &str) -> Option<T> {
        let number = match &yaml.kind {
            Kind::Scalar(text, true) => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.wrong(yaml, what, wanted);
        }
        number
    }

    fn wrong(&mut self, yaml: &Yaml, what: &str, wanted: &str) {
        let got = match &yaml.kind {
            Kind::Scalar(text, _) if text.is_empty() => "nothing".to_owned(),
            _ => format!("`{}`", written(yaml).shown()),
        };
        self.problems.push(Problem::new(&yaml.place, format!("`{what}` must be {wanted}, got {got}")));
    }

    fn unknown(&mut self, key: &Key, is_not: &str, known: &[&str]) {
        let help = match did_you_mean(&key.text, known.iter().copied()) {
            Some(name) => format!("; did you mean `{name}`?"),
            None => format!("; there are {}", known.join(", ")),
        };
        self.problems.push(Problem::new(&key.place, format!("`{}` {is_not}{help}", key.text)));
    }
}

const SETTINGS: &[&str] = &["jobs", "owner_idle_seconds", "resources", "profile", "profiles", "secrets", "encryption"];

/// Returns `; did you mean ..?`, or what there is.
pub fn did<'n>(name: &str, known: impl Iterator<Item = &'n String> + Clone) -> String {
    match did_you_mean(name, known.clone().map(String::as_str)) {
        Some(name) => format!("; did you mean `{name}`?"),
        None => match known.map(|name| format!("`{name}`")).collect::<Vec<_>>() {
            none if none.is_empty() => String::new(),
            known => format!("; there are {}", known.join(", ")),
        },
    }
}

fn written(yaml: &Yaml) -> Written {
    match &yaml.kind {
        Kind::Scalar(text, true) if ["", "~", "null"].contains(&text.as_str()) => Written::Nothing,
        Kind::Scalar(text, true) => Written::Text(text.clone()),
        Kind::Scalar(text, false) => Written::Quoted(text.clone()),
        Kind::List(items) => Written::List(items.iter().map(written).collect()),
        Kind::Map(_) => Written::Other("a mapping"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns what is told about a file of this text.
    fn error(text: &str) -> String {
        let problems = Settings::parse(text).expect_err(text);
        SettingsError::Wrong { path: "ws/mlp.yaml".into(), text: text.to_owned(), problems }.to_string()
    }

    #[test]
    fn resources_are_read_strictly() {
        let text = "resources:\n  mem: 64 GiB\n  tokens: { licence: 2 }\n  gpus: [GPU-a, GPU-b]\n";
        let resources = Settings::parse(text).unwrap().resources;
        assert_eq!(resources.mem_bytes, Some(64 << 30));
        assert_eq!(resources.tokens["licence"].get(), 2);
        assert_eq!(resources.gpus, Some(vec!["GPU-a".to_owned(), "GPU-b".to_owned()]));
        for (text, said) in [
            ("resources: { mem: 64 gigs }", "mlp.yaml:1:19: `64 gigs` is no amount of memory"),
            ("resources: { mem: 64 }", "`64` is no amount of memory"),
            ("resources: { mem: [64] }", "`resources.mem` must be an amount of memory such as `8 GiB`, got `[64]`"),
            ("resources: { tokens: { licence: 0 } }", "`resources.tokens.licence` must be a number from 1, got `0`"),
            ("resources: { token: { licence: 1 } }", "`token` is not a setting of `resources`; did you mean `tokens`?"),
            ("resources: 3", "`resources` must be a mapping"),
            ("- jobs", "the settings must be a mapping"),
        ] {
            let error = error(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn mistakes_are_all_told_at_once_with_their_places() {
        let text = "job: 3\njobs: \"4\"\nprofile: prd\nprofiles:\n  prod: { parms: { lr: 1 } }\n";
        assert_eq!(
            error(text),
            "`mlp.yaml` has 4 mistakes\n  \
             mlp.yaml:1:1: `job` is not a setting; did you mean `jobs`?\n  \
             mlp.yaml:2:7: `jobs` must be a number from 1, got `\"4\"`\n  \
             mlp.yaml:5:11: `parms` is not part of a profile; did you mean `params`?\n  \
             mlp.yaml:3:10: there is no profile `prd`; did you mean `prod`?"
        );
    }

    #[test]
    fn encryption_names_its_partition_and_where_keys_are_and_never_shows_a_key() {
        let read = |text: &str| Settings::parse(text).unwrap().encryption.unwrap();
        let folder = read("encryption: { partition: eu-1, keys: { folder: ../keys } }");
        assert_eq!((folder.partition.as_str(), folder.keys), ("eu-1", KeysFrom::Folder("../keys".into())));
        let command = read("encryption: { partition: eu, keys: { command: tell, destroy: drop } }");
        assert_eq!(command.keys, KeysFrom::Command { tell: "tell".into(), destroy: Some("drop".into()) });
        for (text, said) in [
            ("encryption:\n  partition: eu\n", "mlp.yaml:1:1: `encryption` does not say `keys`"),
            ("encryption: { keys: { folder: k } }", "`encryption` does not say `partition`"),
            ("encryption: { partition: ../eu, keys: { folder: k } }", "`../eu` is no name of a partition"),
            ("encryption: { partition: eu, key: { folder: k } }", "did you mean `keys`?"),
            ("encryption: { partition: eu, keys: 5f5f5f5f }", "a key never stands here"),
            ("encryption: { partition: eu, keys: { folder: k, command: c } }", "a key never stands here"),
            ("encryption: { partition: eu, keys: { destroy: c } }", "a key never stands here"),
        ] {
            let error = error(text);
            assert!(error.contains(said) && !error.contains("5f5f"), "{text}: {error}");
        }
    }

    #[test]
    fn a_profile_has_values_for_all_pipelines_and_for_one() {
        let text = "profiles:\n  prod:\n    params: { lr: 0.01, name: \"x\", cap: null }\n    pipelines:\n      churn: { sizes: [64, 32] }\n  dev:\n";
        let settings = Settings::parse(text).unwrap();
        let prod = &settings.profiles["prod"];
        let shown: Vec<_> = prod.params.iter().map(|entry| (entry.name.as_str(), entry.written.shown())).collect();
        assert_eq!(shown, [("lr", "0.01".into()), ("name", "\"x\"".into()), ("cap", "none".into())]);
        let (pipeline, place, entries) = &prod.pipelines[0];
        assert_eq!(
            (pipeline.as_str(), &text[place.clone()], entries[0].written.shown()),
            ("churn", "churn", "[64, 32]".into())
        );
        assert!(settings.profiles["dev"].params.is_empty());
    }
}
