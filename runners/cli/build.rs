//! How the program is linked.

fn main() {
    // The addresses in its tables take a hundredth of the space, and of the time at the start. Linkers that do not know the
    // option say so and go on.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    println!("cargo:rerun-if-changed=runners/cli/build.rs");
}
