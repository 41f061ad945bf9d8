//! The `bivouac` program. Everything it does lives in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    bivouac::cli::main()
}
