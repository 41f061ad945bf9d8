//! Memory as the program takes it, for a benchmark that serves in a process of its own.

use bivouac::serve;
use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// To be called before anything is served.
pub(super) fn as_the_program_does() {
    serve::take_small_pages();
}
