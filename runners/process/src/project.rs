//! Inputs, outputs and small texts that stand where a program expects them, instead of in `in/` and `out/`: the step's
//! folder then looks like a project. Unaware of where inputs come from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use mlp_model::{ErrorClass, Named, StepError, Value};

/// Where things stand in the folder of a step, as its parameters `at` and `texts` say.
#[derive(Default)]
pub struct Project<'a> {
    at: BTreeMap<&'a str, &'a str>,
    /// By path.
    pub texts: BTreeMap<&'a str, &'a str>,
}

impl<'a> Project<'a> {
    pub fn read(params: &'a Named<Value>) -> Result<Self, StepError> {
        let (at, texts) = (strings(params, "at")?, strings(params, "texts")?);
        for (argument, path) in at.values().map(|path| ("at", *path)).chain(texts.keys().map(|path| ("texts", *path))) {
            let is_inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
            if path.is_empty() || !is_inside || path.contains('\0') {
                let message = format!("`{path}` is no place in the folder of a step");
                let error = StepError::new(ErrorClass::User, "P2002", message).with_argument(argument);
                return Err(error.with_help("write a path such as `data/raw.csv`, without `..`"));
            }
        }
        Ok(Self { at, texts })
    }

    /// Whether nothing stands elsewhere than usual.
    pub fn is_usual(&self) -> bool {
        self.at.is_empty() && self.texts.is_empty()
    }

    /// Returns where an input or output stands; `None` if nothing is said of it.
    pub fn place(&self, name: &str) -> Option<&'a str> {
        self.at.get(name).copied()
    }
}

fn strings<'a>(params: &'a Named<Value>, name: &str) -> Result<BTreeMap<&'a str, &'a str>, StepError> {
    let Some(value) = params.get(name) else { return Ok(BTreeMap::new()) };
    let texts = value.as_record().and_then(|fields| {
        fields.iter().map(|(name, text)| Some((name, text.as_str()?))).collect::<Option<BTreeMap<_, _>>>()
    });
    texts.ok_or_else(|| {
        StepError::new(ErrorClass::Bug, "P2001", format!("`{name}` of a `sh` step is not what its signature says"))
            .with_argument(name)
    })
}

/// Makes the folders above a place. What has been placed there before may be a file: then the error says so.
pub fn make_parents(folder: &Path, place: &str) -> io::Result<()> {
    Path::new(place).parent().map_or(Ok(()), |parent| fs::create_dir_all(folder.join(parent)))
}

/// Returns the folders between a step's folder and a place in it, outermost first. Each could have been replaced by a
/// link that leads out.
pub fn folders_above(folder: &Path, place: &Path) -> Vec<PathBuf> {
    let mut above: Vec<PathBuf> =
        place.ancestors().skip(1).take_while(|path| *path != folder).map(Path::to_owned).collect();
    above.reverse();
    above
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_outside_the_folder_is_refused() {
        for path in ["", "/etc/passwd", "../x", "a/../../x", "./x"] {
            let at = Value::Record([("raw".to_owned(), Value::Str(path.to_owned()))].into());
            let params = Named::from([("at", at)]);
            let is_refused = Project::read(&params).is_err_and(|error| error.message.contains("no place"));
            assert!(is_refused, "{path}");
        }
    }

    #[test]
    fn folders_above_are_told_from_the_outside() {
        let folder = Path::new("/w/sh");
        let expected = [PathBuf::from("/w/sh/a"), PathBuf::from("/w/sh/a/b")];
        assert_eq!(folders_above(folder, Path::new("/w/sh/a/b/c")), expected);
        assert!(folders_above(folder, Path::new("/w/sh/c")).is_empty());
    }
}
