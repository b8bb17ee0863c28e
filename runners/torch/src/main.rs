//! The torch worker: serves steps to the `mlp` that started it.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    match (args.next(), args.next()) {
        (None, _) => mlp_worker::serve("mlp-torch", |step, reporter| mlp_torch::execute(&step, reporter)),
        (Some(arg), None) if arg == "--describe" => {
            println!("{}", mlp_torch::device::describe());
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("mlp-torch is started by mlp; by hand it only takes `--describe`");
            ExitCode::from(2)
        }
    }
}
