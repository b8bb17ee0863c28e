//! Where a worker keeps what it builds, and where it looks for the compiler of Python transforms.
//!
//! The only module that reads environment variables.

use std::env;
use std::path::PathBuf;

use mlp_model::StepError;

use crate::engine::Limits;
use crate::{fail, kit};

/// What a worker needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The user's own cache folder of mlp; made when it is missing.
    pub cache: PathBuf,
    /// Where componentize-py may be; the first file that exists is taken.
    pub tools: Vec<PathBuf>,
    pub limits: Limits,
}

impl Settings {
    /// Reads `XDG_CACHE_HOME`, `XDG_DATA_HOME`, `HOME`, `MLP_COMPONENTIZE_PY` and `PATH`.
    pub fn from_env() -> Result<Self, StepError> {
        let home = absolute("HOME");
        let below_home = |folder: &str| home.as_ref().map(|home| home.join(folder));
        let cache = absolute("XDG_CACHE_HOME").or_else(|| below_home(".cache")).ok_or_else(fail::no_home)?;
        let share = absolute("XDG_DATA_HOME").or_else(|| below_home(".local/share"));

        let mut tools = Vec::new();
        if let Some(named) = env::var_os("MLP_COMPONENTIZE_PY").filter(|value| !value.is_empty()) {
            // Whoever names one wants this one.
            tools.push(PathBuf::from(named));
        } else {
            let of_setup = format!("mlp/componentize-py-{}/bin/componentize-py", kit::COMPONENTIZE_PY);
            tools.extend(share.map(|share| share.join(of_setup)));
            let path = env::var_os("PATH").unwrap_or_default();
            tools.extend(env::split_paths(&path).filter(|p| p.is_absolute()).map(|p| p.join("componentize-py")));
        }
        Ok(Self { cache: cache.join("mlp"), tools, limits: Limits::default() })
    }
}

fn absolute(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}
