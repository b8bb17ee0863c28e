//! Lets the tests find the libtorch they were linked against. The program itself has no such path: whoever starts it
//! names the one libtorch folder to use.

fn main() {
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    if let Ok(libtorch) = std::env::var("LIBTORCH") {
        println!("cargo::rustc-link-arg-tests=-Wl,-rpath,{libtorch}/lib");
    }
}
