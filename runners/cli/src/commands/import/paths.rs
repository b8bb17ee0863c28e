//! Paths as DVC writes them, made comparable: relative to the folder of `dvc.yaml`, without `.` and with `..` only in
//! front. Looks at no file.

/// Why a path is none within a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outside {
    Absolute,
    Url,
}

impl Outside {
    pub fn word(self) -> &'static str {
        match self {
            Self::Absolute => "an absolute path",
            Self::Url => "an address",
        }
    }
}

/// Returns `path`, which is relative to `base`, relative to what `base` is relative to. The folder itself is `""`.
pub fn join(base: &str, path: &str) -> Result<String, Outside> {
    if path.contains("://") {
        return Err(Outside::Url);
    }
    if path.starts_with('/') {
        return Err(Outside::Absolute);
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in base.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    Ok(parts.join("/"))
}

/// How many folders above the project's a path leads to.
pub fn n_up(path: &str) -> usize {
    path.split('/').take_while(|part| *part == "..").count()
}

/// Whether `inner` is `outer` or stands within it.
pub fn is_within(inner: &str, outer: &str) -> bool {
    outer.is_empty() && n_up(inner) == 0
        || inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns how one gets from folder `from` to `to`, both relative to the same folder.
pub fn relative(from: &str, to: &str) -> Option<String> {
    let split = |path: &str| path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let (from, to) = (split(from), split(to));
    let n_common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    // Where `..` leads to is not known here.
    if from[n_common..].iter().any(|part| part == "..") {
        return None;
    }
    let up = vec!["..".to_owned(); from.len() - n_common];
    Some(up.into_iter().chain(to[n_common..].iter().cloned()).collect::<Vec<_>>().join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_from_one_folder() {
        let cases = [
            ("", "./data//raw.csv", "data/raw.csv"),
            ("sub", "../data/", "data"),
            ("sub", "../../x", "../x"),
            ("..", "../y", "../../y"),
            ("", ".", ""),
        ];
        for (base, path, expected) in cases {
            assert_eq!(join(base, path).as_deref(), Ok(expected), "{base} {path}");
        }
        assert_eq!(join("", "s3://b/x"), Err(Outside::Url));
        assert_eq!(join("", "/x"), Err(Outside::Absolute));
        assert!(is_within("data/x", "data") && is_within("data", "data") && is_within("x", ""));
        assert!(!is_within("database", "data") && !is_within("data", "data/x") && !is_within("../x", ""));
        assert_eq!(relative("pipelines/a", "data/x").as_deref(), Some("../../data/x"));
        assert_eq!(relative("", "../x").as_deref(), Some("../x"));
        assert_eq!(relative("../b", "x"), None);
    }
}
