//! Compiles the library that makes builds of Python transforms repeatable (`sdk/entropy.c` says why).

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed=sdk/entropy.c");
    let Some(out_dir) = env::var_os("OUT_DIR").map(PathBuf::from) else {
        println!("cargo::error=cargo gives no OUT_DIR");
        return ExitCode::FAILURE;
    };
    let mut command = cc::Build::new().get_compiler().to_command();
    command.args(["-shared", "-fPIC", "-O1", "-s", "-o"]).arg(out_dir.join("entropy.so")).arg("sdk/entropy.c");
    match command.status() {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            println!("cargo::error=the C compiler failed on sdk/entropy.c ({status})");
            ExitCode::FAILURE
        }
        Err(error) => {
            println!("cargo::error=cannot start the C compiler: {error}");
            ExitCode::FAILURE
        }
    }
}
